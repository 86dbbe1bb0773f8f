"""A finished set judged again, by other protocols, networks or data: appended to evaluation.json, or to robust.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from refluence.data import DistilledSet, count_test_use
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.robust import Bench, robust, trainings
from refluence.files import Json, read_json, write_json
from refluence.jobs.judge import judge_once
from refluence.jobs.session import Session
from refluence.jobs.source_network import shared_by
from refluence.locks import held
from refluence.models import ModelSpec, OwnSpec
from refluence.seeds import streams

EVALUATIONS, ROBUST = "evaluation.json", "robust.json"
SHORT = 300_000
"""Images that a network of the full data sees under a `-cpu` protocol, at most (but at least one epoch)."""
PATIENCE = 30.0  # seconds to wait for another process that appends
Keep = Callable[[int, torch.nn.Module], None]


@dataclass(frozen=True)
class Again:
    """A set in its folder, the data that judges it, and how: `nets` networks on `split`. `source` is what the data is called.

    `resume`: what was judged like this before is taken from the file.
    """

    folder: Path
    small: DistilledSet
    session: Session
    source: str
    split: str
    nets: int
    seed: int
    resume: bool = False

    def entries(
        self, models: Sequence[ModelSpec], protocols: Sequence[Protocol], keep: Keep = lambda index, net: None
    ) -> Iterator[tuple[str, Json, bool]]:
        """A title, an entry, and whether it is new, of each network under each protocol. `keep` sees the networks."""
        path = self.folder / EVALUATIONS
        found, shared = read_json(path)["evaluations"], shared_by(self.folder)
        for model, protocol in product(models, protocols):
            title = f"{model.name}, {protocol.name}" if len(models) > 1 else protocol.name
            if there := self._there(found, model, protocol):
                yield title, there, False
                continue
            self._use()
            rng = streams(self.seed)
            entry = judge_once(self.small, model, protocol, self.split, rng, self.nets, self.session, title, keep, shared)
            entry |= {"source": self.source, "seed": self.seed}
            append(path, "evaluations", entry)
            yield title, entry, True

    def robust_entries(self, model: ModelSpec, protocols: Sequence[Protocol]) -> Iterator[tuple[str, Json, bool]]:
        """The same for label-robust and augmentation-robust scores (evaluate/robust.py)."""
        path, session = self.folder / ROBUST, self.session
        found = read_json(path)["robust"] if path.exists() else []
        for protocol in protocols:
            if there := self._there(found, model, protocol):
                yield protocol.name, there, False
                continue
            self._use()
            with session.reporter.bar(f"{protocol.name}: robust", trainings(self.small, self.nets)) as advance:
                bench = Bench(
                    session.dataset.normalised_as(self.small.mean, self.small.std),
                    model,
                    protocol,
                    streams(self.seed),
                    self.nets,
                    self.split,
                    session.compute.device,
                    session.compute.compiled,
                    SHORT if protocol.short else None,
                    advance,
                )
                entry = {**robust(self.small, bench).to_dict(), **self._facts(model, protocol)}
            append(path, "robust", entry)
            yield protocol.name, entry, True

    def _facts(self, model: ModelSpec, protocol: Protocol) -> Json:
        """What tells one entry from another."""
        own = {"sha256": model.sha256} if isinstance(model, OwnSpec) else {}
        how = {"split": self.split, "source": self.source, "width": model.width, "norm": model.norm, "seed": self.seed}
        return {**how, "protocol": protocol.name, "model": model.name, "nets": self.nets, **own}

    def _there(self, found: Sequence[Json], model: ModelSpec, protocol: Protocol) -> Json | None:
        """The last entry that was judged like this, with `resume`."""
        asked = self._facts(model, protocol).items()
        like = [dict(entry) for entry in found if all(entry.get(k) == v for k, v in asked)]
        return like[-1] if self.resume and like else None

    def _use(self) -> None:
        """Count a use of the test split, before it is read: a kill must not lose one."""
        if self.split == "test":
            count_test_use(self.folder / "distilled")


def append(path: Path, key: str, entry: Json) -> None:
    """Add an entry to the list `key` of a JSON file; two processes that judge at once lose nothing."""
    with held(path.with_name(f".{path.name}.lock"), str(path), PATIENCE):
        entries = read_json(path)[key] if path.exists() else []
        write_json(path, {key: [*entries, entry]})
