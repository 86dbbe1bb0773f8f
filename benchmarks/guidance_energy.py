"""What the strength of guidance does to the influence energy of a set, beside pools and real images.

    python benchmarks/guidance_energy.py run [--seeds 3] [--out FILE.jsonl]      rows -> docs/results/raw/igd-energy.jsonl
    python benchmarks/guidance_energy.py measure NAME FOLDER                     G_I of sets of a comparison that have none
    python benchmarks/guidance_energy.py tables                                  fills the marks of docs/results/igd.md

Digits, five images a class in one batch, the defaults of size cpu; one denoiser and one surrogate, which measures too. A row
for each way and seed: mean G_I (IGD eq. 7), and the mean cosine with the nearest image of the class. `tables` makes two tables:
that of these rows, between `<!-- energy -->` and `<!-- end -->`, and that of the energies in the rows of comparisons, between
`<!-- energies: NAME NAME -->` and `<!-- end -->`. Differences are paired by seed, with 95 % t-intervals.
`measure` adds mean G_I to rows in docs/results/raw/NAME.jsonl, at the surrogate that guided the other arms of FOLDER.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
from safetensors.torch import load_file
from scipy.stats import t as student

import refluence as rf
from refluence.arm import read_arm
from refluence.compute import Compute
from refluence.evaluate.references import base
from refluence.files import read_json
from refluence.generate.facts import influence_facts, normalised
from refluence.generate.influence import InfluenceEnergy
from refluence.generate.settings import Guidance, Pool, Settings
from refluence.generate.surrogate import CARD, WEIGHTS, Surrogate, surrogate_defaults
from refluence.generate.surrogate_work import SurrogateWork
from refluence.generate.training import DenoiserWork, denoising_defaults
from refluence.generate.trajectory import TrajectoryWork
from refluence.generate.work import SamplingWork
from refluence.models import network, read_spec
from refluence.run.rows import read_rows
from refluence.seeds import streams
from refluence.work import Work

RESULTS = Path(__file__).parents[1] / "docs" / "results"
RAW, DOCUMENT, FILE = RESULTS / "raw", RESULTS / "igd.md", "igd-energy.jsonl"
IPC, NONE = 5, "none"
WAYS = {
    NONE: Settings(),
    **{f"influence, k = {k}": Settings(guidance=Guidance(influence=True, k=float(k))) for k in (5, 20, 50, 100)},
    **{f"pool of 3 times the images, {by}": Settings(pool=Pool(3.0, by)) for by in ("herding", "influence")},
}
MARKED = re.compile(r"(<!-- energy -->\n).*?(?=<!-- end -->)", re.DOTALL)
COMPARED = re.compile(r"(<!-- energies: ([\w.-]+) ([\w.-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
Row = dict[str, object]


def driven(work: Work):
    for _ in work.steps():
        pass
    return work.result()


def rows(seeds: int) -> list[Row]:
    data, compute = rf.load("digits"), Compute()
    config, training = denoising_defaults(data.shape, data.classes)
    denoiser = driven(DenoiserWork(config, training, data, streams(0), compute)).artifact
    spec = network("convnet:32", data.shape, len(data.classes))
    of_surrogate = surrogate_defaults(data, "cpu")
    trajectory = driven(TrajectoryWork(of_surrogate.training, spec, data, streams(0), compute)).artifact
    surrogate = driven(SurrogateWork(of_surrogate, trajectory, data, streams(0), compute)).artifact
    found: list[Row] = []
    for what, settings in WAYS.items():
        for seed in range(seeds):
            counts = (IPC,) * len(data.classes)
            card = driven(SamplingWork(settings, denoiser, surrogate, data, counts, streams(seed), compute)).card
            found.append({"what": what, "seed": seed, "influence": card["influence"]["mean"], "nearest": card["nearest"]})
        print(what, *(f"{row['influence']:.3f}" for row in found[-seeds:]), flush=True)
    return found


def measured(kept: Sequence[Row], folder: Path) -> list[Row]:
    """The rows, each with the mean G_I of its set."""
    (place,) = sorted(folder.glob("shared/surrogate-*/surrogate"))
    surrogate = Surrogate.from_state(read_spec(read_json(place / CARD)["model"]), load_file(place / WEIGHTS))
    energy = InfluenceEnergy(surrogate)
    found: list[Row] = []
    for row in kept:
        if row.get("influence") is None:
            small = rf.DistilledSet.load(folder / "units" / read_arm(str(row["arm"])).folder / str(row["seed"]))
            pixels = small.images * torch.tensor(small.std).view(-1, 1, 1) + torch.tensor(small.mean).view(-1, 1, 1)
            images = normalised(pixels, surrogate.mean, surrogate.std)
            facts = influence_facts(energy, images, small.labels, small.classes, torch.device("cpu"))
            row = {**row, "influence": facts["mean"]}
        found.append(row)
    return found


def interval(differences: Sequence[float]) -> str:
    """Mean difference with its 95 % t-interval."""
    mean = fmean(differences)
    if len(set(differences)) < 2:
        return f"{mean:+.3f}"
    half = student.ppf(0.975, len(differences) - 1) * stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def table(found: Sequence[Row]) -> str:
    by = {what: {row["seed"]: row for row in found if row["what"] == what} for what in dict.fromkeys(r["what"] for r in found)}
    lines = ["| | mean G_I | difference from none | mean cosine with the nearest of its class |", "|---|---|---|---|"]
    for what, own in by.items():
        differences = [row["influence"] - by[NONE][seed]["influence"] for seed, row in own.items()]
        said = "" if what == NONE else interval(differences)
        nearest = fmean(row["nearest"] for row in own.values())
        lines.append(f"| {what} | {fmean(row['influence'] for row in own.values()):.3f} | {said} | {nearest:.2f} |")
    return "\n".join(lines)


def compared(names: Sequence[str]) -> str:
    """The energies of the arms of two comparisons, one image a class and five, and their differences from the plain arm."""
    read = [[row for row in read_rows(RAW / f"{name}.jsonl") if row.get("influence") is not None] for name in names]
    lines = ["| arm | one image a class | difference | five | difference |", "|---|---|---|---|---|"]
    for arm in dict.fromkeys(row["arm"] for row in read[0]):
        cells = []
        for part in read:
            own, plain = ({row["seed"]: row["influence"] for row in part if row["arm"] == name} for name in (arm, base(arm)))
            paired = [own[seed] - plain[seed] for seed in own if seed in plain]
            cells += [f"{fmean(own.values()):.3f}", interval(paired) if paired and "+" in arm else ""]
        lines.append(f"| `{arm}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def filled(text: str) -> str:
    text = COMPARED.sub(lambda found: found[1] + compared((found[2], found[3])) + "\n", text)
    return MARKED.sub(lambda found: found[1] + table(read_rows(RAW / FILE)) + "\n", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    ask = kinds.add_parser("run")
    ask.add_argument("--seeds", type=int, default=3)
    ask.add_argument("--out", type=Path, default=RAW / FILE)
    of = kinds.add_parser("measure")
    of.add_argument("name")
    of.add_argument("folder", type=Path)
    kinds.add_parser("tables")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.what == "run":
        flags.out.write_text("".join(json.dumps(row) + "\n" for row in rows(flags.seeds)), encoding="utf-8")
    elif flags.what == "measure":
        path = RAW / f"{flags.name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in measured(read_rows(path), flags.folder)), encoding="utf-8")
    else:
        DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
