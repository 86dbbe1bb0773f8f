"""The networks of `refluence evaluate --model NAME[:WIDTH][:NORM] …`, and the tables of what they reach."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import stdev

from rich.table import Table

from refluence.commands.flags import Evaluate
from refluence.commands.session import relative
from refluence.files import Json
from refluence.models import ModelSpec, another
from refluence.run.progress import print_table


def the_networks(flags: Evaluate, own: ModelSpec) -> list[ModelSpec]:
    """Those of `--model --width --norm`, each once; without a name the run's own with that width and norm."""
    found = [another(own, name, flags.width, flags.norm) for name in flags.model or (None,)]
    return list(dict.fromkeys(found))


def show_networks(entries: Iterable[Json]) -> None:
    """Print a line for each evaluation: mean and standard deviation (n - 1) over its networks."""
    table = Table(header_style="bold")
    for name in ("model", "width", "norm", "protocol", "split", "accuracy %", "networks"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("width", "networks") else "left")
    for e in entries:
        spread = f" ± {stdev(e['accuracies']):.1f}" if e["nets"] > 1 else ""
        accuracy = f"{e['accuracy']:.1f}{spread}"
        table.add_row(e["model"], str(e["width"]), e["norm"], e["protocol"], e["split"], accuracy, str(e["nets"]))
    print_table(table, 110)


def show_robust(entry: Json, path: Path) -> None:
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


def show_quality(found: Json, path: Path) -> None:
    """A line a number of what was measured beside real images."""
    redundancy = "not measured" if found["redundancy"] is None else f"{found['redundancy']:.1f} %"
    print(f"beside {found['real']:,} real images, in the features of {found['network']}:")
    print(f"Fréchet distance {found['frechet']:.3f}   Wasserstein distance {found['wasserstein']:.3f}")
    print(f"coverage {found['coverage']:.1f} % within {found['threshold']:.3f} ({found['own']} images of its own left out)")
    print(f"mean influence energy {found['influence']:.4f} (lower trains more as its class does)   redundancy {redundancy}")
    print(f"numbers: {relative(path)}")
