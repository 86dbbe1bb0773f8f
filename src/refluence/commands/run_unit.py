"""A unit in its folder: made, judged, or read if it is finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refluence.commands.judge import judge
from refluence.commands.make import make_distillation, make_selection
from refluence.commands.session import Session
from refluence.commands.unit import Unit
from refluence.data.distilled import CARD, read_card
from refluence.files import read_json

FINISHED = ("evaluation.json", f"distilled/{CARD}")  # files of a unit that was made and judged


def run_unit(unit: Unit, session: Session, folder: Path) -> list[dict[str, Any]]:
    """Rows of this unit, one per protocol. What is finished is read, not made again."""
    if not (folder / "distilled" / CARD).exists():
        (make_selection if unit.settings is None else make_distillation)(unit, session, folder)
    if not finished(folder):
        judge(unit, session, folder)
    card = read_card(folder / "distilled")
    own = [protocol.name for protocol in unit.protocols]
    entries = read_json(folder / "evaluation.json")["evaluations"][: len(own)]  # `evaluate` appends others
    return [
        {
            "arm": unit.arm.name,
            "seed": unit.seed,
            "protocol": e["protocol"],
            "split": e["split"],
            "accuracy": e["accuracy"],
            "nets": e["accuracies"],
            "balanced_accuracy": e["balanced_accuracy"],
            "macro_f1": e["macro_f1"],
            "imbalance": e.get("imbalance"),
            **{k: card[k] for k in ("seconds", "peak_bytes", "stored_bytes", "ess", "images", "iterations")},
        }
        for e in entries
    ]


def finished(folder: Path) -> bool:
    """Whether the unit was made and judged."""
    return all((folder / name).exists() for name in FINISHED)
