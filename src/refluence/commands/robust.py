"""`refluence evaluate DIR --robust`: label-robust and augmentation-robust scores, to robust.json and as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from refluence.commands.session import relative
from refluence.data import count_test_use
from refluence.data.distilled import DistilledSet
from refluence.evaluate.protocols import Protocol
from refluence.evaluate.robust import Bench, robust, trainings
from refluence.files import read_json, write_json
from refluence.jobs.session import Session
from refluence.models import ModelSpec
from refluence.run.progress import print_table
from refluence.seeds import streams

SHORT = 300_000
"""Images that a network of the full data sees under a `-cpu` protocol, at most (but at least one epoch)."""


def judge_robust(
    flags: Any, small: DistilledSet, model: ModelSpec, protocols: tuple[Protocol, ...], session: Session, source: str
) -> None:
    """Scores under each protocol, appended to robust.json."""
    path = flags.folder / "robust.json"
    found = read_json(path)["robust"] if path.exists() else []
    for protocol in protocols:
        facts = {"split": flags.split, "source": source, "width": model.width, "norm": model.norm, "seed": flags.seed}
        facts |= {"protocol": protocol.name, "model": model.name, "nets": flags.nets}
        if flags.resume and any(all(entry.get(k) == v for k, v in facts.items()) for entry in found):
            print(f"{protocol.name}: scored already, nothing to do")
            continue
        if flags.split == "test":  # before: a kill must not lose a use
            count_test_use(flags.folder / "distilled")
        with session.reporter.bar(f"{protocol.name}: robust", trainings(small, flags.nets)) as advance:
            bench = Bench(
                session.dataset.normalised_as(small.mean, small.std),
                model,
                protocol,
                streams(flags.seed),
                flags.nets,
                flags.split,
                session.compute.device,
                session.compute.compiled,
                SHORT if protocol.name.partition(":")[0].endswith("-cpu") else None,
                advance,
            )
            entry = {**robust(small, bench).to_dict(), **facts}
        found.append(entry)
        write_json(path, {"robust": found})
        show(entry, path)


def show(entry: dict[str, Any], path: Path) -> None:
    """The table, and the scores under it."""
    table = Table(header_style="bold")
    for name in ("trained on", "labels", "augmented"):
        table.add_column(name)
    for name in ("learning rate", "epochs", f"{entry['split']} accuracy"):
        table.add_column(name, justify="right")
    for row in entry["rows"]:
        augmented = "yes" if row["augmented"] else "no"
        table.add_row(row["data"], row["labels"], augmented, f"{row['lr']:g}", f"{row['epochs']}", f"{row['accuracy']:.3f}")
    print_table(table)
    print(f"{entry['protocol']}, {entry['model']} width {entry['width']} {entry['norm']} norm, {entry['nets']} networks a row")
    print(f"hard label recovery {entry['hlr']:+.3f}   improvement over random {entry['ior']:+.3f}   (fractions)")
    print(f"label-robust score {entry['lrs']:.3f}   augmentation-robust score {entry['ars']:.3f}   (0 to 1)")
    print(f"stored: {entry['stored_bytes']:,} bytes, random images {entry['random_bytes']:,}   numbers: {relative(path)}")
