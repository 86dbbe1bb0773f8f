"""How strongly guidance by learnability may push before samples are no longer of their class: where its default comes from.

    python benchmarks/learnability_scale.py run [--out FILE.jsonl]     rows -> docs/results/raw/igd-learnability.jsonl
    python benchmarks/learnability_scale.py tables                     fills the mark of docs/results/igd.md

Digits, ten images a class in five stages, no choice among candidates, the defaults of size cpu, one seed. For each lambda means
over the images after the first stage, each at its own stage: S, both losses of which S is the difference, and the percent that
theta* (the trained surrogate) puts into their class. No accuracy of a set is looked at.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from statistics import fmean

import torch
from torch.nn.functional import cross_entropy

import refluence as rf
from refluence.compute import Compute
from refluence.generate.learnability import LearnabilityEnergy
from refluence.generate.settings import Guidance, Settings
from refluence.generate.surrogate import surrogate_defaults
from refluence.generate.surrogate_work import SurrogateWork
from refluence.generate.training import DenoiserWork, denoising_defaults
from refluence.generate.trajectory import TrajectoryWork
from refluence.generate.work import SamplingWork
from refluence.models import network
from refluence.run.rows import read_rows
from refluence.seeds import streams
from refluence.work import Work

RESULTS = Path(__file__).parents[1] / "docs" / "results"
FILE, DOCUMENT = RESULTS / "raw" / "igd-learnability.jsonl", RESULTS / "igd.md"
MARKED = re.compile(r"(<!-- learnability -->\n).*?(?=<!-- end -->)", re.DOTALL)
SCALES, IPC = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4), 10
Row = dict[str, float]


def driven(work: Work):
    for _ in work.steps():
        pass
    return work.result().artifact


def rows() -> list[Row]:
    data, compute = rf.load("digits"), Compute()
    denoiser = driven(DenoiserWork(*denoising_defaults(data.shape, data.classes), data, streams(0), compute))
    settings, spec = surrogate_defaults(data, "cpu"), network("convnet:32", data.shape, len(data.classes))
    trajectory = driven(TrajectoryWork(settings.training, spec, data, streams(0), compute))
    surrogate = driven(SurrogateWork(settings, trajectory, data, streams(0), compute))
    found: list[Row] = []
    for scale in SCALES:
        guidance = Guidance(deviation=True, learnability=True, learnability_scale=scale, candidates=1)
        counts = (IPC,) * len(data.classes)
        work = SamplingWork(Settings(guidance=guidance), denoiser, surrogate, data, counts, streams(0), compute)
        stages: list[Row] = []
        for event in work.steps():
            part = work.parts[event.step]
            energy = None if work.stages is None or work.stages.current is None else work.stages.current[1]
            if isinstance(energy, LearnabilityEnergy):
                stages.append(look(work, energy, part))
        found.append({"scale": scale, **{name: fmean(stage[name] for stage in stages) for name in stages[0]}})
        print(found[-1], flush=True)
    return found


@torch.no_grad()
def look(work: SamplingWork, energy: LearnabilityEnergy, part: slice) -> Row:
    """The images of a batch, at the networks of its stage."""
    x, y = work.look(work.z[part]), work.labels[part]
    theirs = energy.reference(x)
    return {
        "score": float(energy.score(x, y).mean()),
        "current": float(cross_entropy(energy.current(x), y)),
        "reference": float(cross_entropy(theirs, y)),
        "recognised": 100 * float((theirs.argmax(1) == y).double().mean()),
    }


def table(found: list[Row]) -> str:
    lines = ["| λ | S | loss of θ of the stage | loss of θ* | recognised by θ*, % |", "|---|---|---|---|---|"]
    for row in found:
        numbers = " | ".join(f"{row[name]:.3f}" for name in ("score", "current", "reference"))
        lines.append(f"| {row['scale']:g} | {numbers} | {row['recognised']:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    kinds.add_parser("run").add_argument("--out", type=Path, default=FILE)
    kinds.add_parser("tables")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "run":
        args.out.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
        return
    text, found = DOCUMENT.read_text(encoding="utf-8"), table(read_rows(FILE))
    DOCUMENT.write_text(MARKED.sub(lambda mark: mark[1] + found + "\n", text), encoding="utf-8")


if __name__ == "__main__":
    main()
