"""What one machine with a GPU has to say, in 8 minutes: does everything run there, does it agree, what does it cost.

    python benchmarks/on_gpu.py [--minutes 8] [--device auto] [--data SOURCE] [--out docs/results/raw/on_gpu.jsonl] [--tiny]

checks          every engine, method, curvature and selection on the device, held against the CPU within stated tolerances
                (gpu/checks.py); float32, and bf16 where there is one
compiled        engines and methods once more, compiled
cost            seconds and peak memory of DC, DM and IDC steps, of scores and of judging at the published size (width 128, 32
                pixels, DC and DM with 256 real images a class), beside the literal loop and per-sample gradients (gpu/cost.py)
compiled-cost   the same, compiled
idc             IDC at 10 images a class on SOURCE (else random images in the shape of CIFAR-10) until the end

The clock begins with the script. Each part has a share of the time, begins nothing after it, and what it did not reach is a
skipped row; `--parts` names those that are wanted. A check that fails is a failed row, and the next one begins. Rows go to the
end of `--out` at once, each with the machine's description. TF32 is off throughout: fp32 means fp32. `--tiny` is the size of a
test on the CPU, where nothing is compiled unless `--parts` says so. Exit status 1: a check failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch
from gpu import checks, cost
from gpu.rows import Clock, Numbers, Rows
from gpu.sizes import PUBLISHED, TINY, Size
from influence_scores import processor

from refluence.data import load
from refluence.data.dataset import Dataset
from refluence.errors import InputError
from refluence.run import device as machine

SHARES = {"checks": 0.2, "compiled": 0.25, "cost": 0.15, "compiled-cost": 0.2, "idc": 0.2}  # of the time, part by part


def describe(device: torch.device) -> Numbers:
    """The machine, torch and the day."""
    module = torch.get_device_module(device)
    name = module.get_device_name(device) if hasattr(module, "get_device_name") else processor()
    toolkit = torch.version.hip or torch.version.cuda or "none"
    facts: Numbers = {"device": device.type, "device_name": name, "toolkit": toolkit, "tf32": "off"}
    facts.update({**machine.describe(), "date": date.today().isoformat()})
    return facts


def exact() -> None:
    """Float32 products with all of their digits."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def measure(
    rows: Rows,
    size: Size,
    device: torch.device,
    data: Dataset | None = None,
    parts: Sequence[str] = tuple(SHARES),
    methods: Sequence[str] | None = None,
) -> None:
    """The parts in their order, with the time shared out among them. `methods`: only these, in the checks."""
    whole, end = sum(SHARES[part] for part in parts), 0.0
    for part in [part for part in SHARES if part in parts]:
        end += SHARES[part] / whole
        if part in ("checks", "compiled"):
            checks.engines(rows, size, device, part == "compiled", end)
            checks.methods(rows, size, device, part == "compiled", end, methods)
            if part == "checks":
                checks.curvatures(rows, size, device, end)
                checks.selections(rows, size, device, end, methods)
        elif part in ("cost", "compiled-cost"):
            for measured in (cost.steps, cost.scores, cost.judging):
                measured(rows, size, device, part == "compiled-cost", end)
        else:
            cost.until_the_end(rows, size, device, data)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="in all")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data", help="a source of the command line, such as a folder; default: random images")
    parser.add_argument("--out", type=Path, help="rows are added to the end of this file")
    parser.add_argument("--tiny", action="store_true", help="the size of a test on the CPU")
    parser.add_argument("--parts", nargs="+", choices=list(SHARES), help="only these; they share the time (default: all)")
    parser.add_argument("--methods", nargs="+", help="only these in the checks")
    flags = parser.parse_args(arguments)
    clock = Clock(flags.minutes)
    try:
        device = machine.choose(flags.device)
        data = None if flags.data is None else load(flags.data)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    exact()
    machine.prepare(0)
    facts = describe(device)
    print(facts, flush=True)
    rows = Rows(clock, facts, flags.out)
    parts = flags.parts or [part for part in SHARES if not (flags.tiny and part.startswith("compiled"))]
    measure(rows, TINY if flags.tiny else PUBLISHED, device, data, parts, flags.methods)
    print(f"\n{rows.table()}\n\n{len(rows.rows)} rows, {rows.failed()} failed, {clock.whole - clock.left():.0f} s")
    return 1 if rows.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
