"""A small set judged: fresh networks trained on it under each protocol, written to evaluation.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from refluence.commands.session import Session
from refluence.data.distilled import DistilledSet, count_test_use, load_distilled
from refluence.data.formation import decode, repeat
from refluence.errors import RunError
from refluence.evaluate.evaluation import evaluate
from refluence.evaluate.protocols import Protocol
from refluence.files import write_json
from refluence.models import ModelSpec
from refluence.run.seeds import streams

if TYPE_CHECKING:
    from refluence.commands.unit import Unit


def judge(unit: Unit, session: Session, folder: Path) -> None:
    """Train fresh networks on the unit's set under every protocol and write evaluation.json."""
    small, rng = load_distilled(folder / "distilled"), streams(unit.seed)
    found = []
    for protocol in unit.protocols:
        what = f"{unit.what}: {protocol.name}"
        if unit.split == "test":  # before: a kill must not lose a use
            count_test_use(folder / "distilled")
        found.append(judge_once(small, unit.model, protocol, unit.split, rng, unit.nets, session, what))
    write_json(folder / "evaluation.json", {"evaluations": found})


def judge_once(
    small: DistilledSet,
    model: ModelSpec,
    protocol: Protocol,
    split: str,
    rng,
    nets: int,
    session: Session,
    what: str,
    keep: Callable[[int, torch.nn.Module], None] = lambda index, net: None,
) -> dict[str, Any]:
    """One evaluation as plain values, under a progress bar. `keep(index, network)` sees each network when it is trained."""
    held_out = session.dataset.test if split == "test" else session.dataset.val
    with session.reporter.bar(what, nets) as advance:

        def progress(index, scores, net):
            keep(index, net)
            advance()

        facts, device = (small.mean, small.std), session.compute.device
        try:
            images, labels = decode(small.images, small.factor), repeat(small.labels, small.factor)
            result = evaluate(images, labels, model, protocol, held_out, *facts, rng, nets, device, progress)
        except RunError as error:
            raise RunError(f"{what}: {error}") from None
    return {**result.to_dict(), "split": split}
