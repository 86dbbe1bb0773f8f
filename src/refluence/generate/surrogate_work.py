"""The training of a surrogate and the choice of its checkpoints as a work (work.py):

theta_0 … theta_E   plain SGD on the source, a checkpoint after every epoch; a step is a block of at most 100 of SGD's
g_c(theta_e)        then one checkpoint a step: class-mean gradients, by which it is kept or not
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import RunError
from refluence.generate.checkpoints import SIMILARITIES, look, regular
from refluence.generate.class_gradients import chosen, class_gradients
from refluence.generate.surrogate import Surrogate, SurrogateSettings, within
from refluence.models import ModelSpec, build
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Objective
from refluence.training.optimisers import Descent
from refluence.work import Result

BLOCK = 100  # steps of SGD between two checkpoints of the work, at most


@dataclass(frozen=True)
class SurrogateStep:
    """Some steps of training, with their mean loss, or a look at a checkpoint: its similarity with the last kept one.

    `epoch`: the epoch that is trained, from 1 on, or after which the checkpoint was taken.
    """

    step: int
    epoch: int
    loss: float | None = None
    similarity: float | None = None
    kept: bool | None = None


class SurrogateWork:
    """A surrogate on its way. All checkpoints are in its state, those that are kept in its artifact."""

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "A smaller lr may help, in a new run"

    def __init__(
        self,
        settings: SurrogateSettings,
        model: ModelSpec,
        dataset: Dataset,
        rng: Rng,
        compute: Compute,
        weights: Tensor | None = None,
    ):
        """`weights (N,)`: of the training instances in the mean gradient of their class; None: all alike.

        Raises:
            InputError: a class with fewer images than `settings.real`, or none.
        """
        self.settings, self.model, self.dataset, self.rng, self.compute = settings, model, dataset, rng, compute
        self.weights, self.positions = weights, chosen(dataset, settings.real, rng)
        self.size = min(settings.batch, len(dataset.train))
        self.per_epoch = len(dataset.train) // self.size
        self.blocks = -(-self.per_epoch // BLOCK)
        self.ahead = list(range(settings.epochs + 1))  # checkpoints to look at
        if settings.regular is not None:
            self.ahead = regular(settings.epochs, settings.regular)
        self.trained = settings.epochs * self.blocks
        self.total, self.step = self.trained + len(self.ahead), 0
        self.net = build(model, rng("surrogate-network", 0), compute.device)
        self.checkpoints = [_state(self.net)]
        self.kept: dict[int, Tensor] = {}
        """Class-mean gradients `(C, P)` of the checkpoints that are kept, by epoch."""

    def steps(self) -> Iterator[SurrogateStep]:
        """What is left; `RunError` where training diverges."""
        while self.step < self.total:
            event = self._train() if self.step < self.trained else self._look()
            self.step += 1
            yield event

    def _train(self) -> SurrogateStep:
        epoch, block = divmod(self.step, self.blocks)
        first, last = block * BLOCK, min((block + 1) * BLOCK, self.per_epoch)
        order = torch.randperm(len(self.dataset.train), generator=self.rng("surrogate-order", epoch))
        losses = list[Tensor]()

        def batches() -> Iterator[Batch[Tensor]]:
            split, device = self.dataset.train, self.compute.device
            for rows in order[first * self.size : last * self.size].split(self.size):
                yield Batch(self.dataset.pixels(split, rows, device), split.labels[rows].to(device), rows=rows)

        self.net.train()
        with self.compute.autocast():
            fit(
                self.compute.compiled(self.net),
                Descent(self.net, self.settings.lr),
                batches(),
                Objective(),
                generator=self.rng("surrogate-training", self.step),
                device=self.compute.device,
                seen=lambda batch, logits, value: losses.append(value),
            )
        if not all(bool(p.isfinite().all()) for p in self.net.parameters()):
            raise RunError(f"training of the surrogate diverged in epoch {epoch + 1}")
        if last == self.per_epoch:
            self.checkpoints.append(_state(self.net))
        return SurrogateStep(self.step, epoch + 1, loss=float(torch.stack(losses).double().mean()))

    def _look(self) -> SurrogateStep:
        epoch = self.ahead[self.step - self.trained]
        self.net.load_state_dict(self.checkpoints[epoch])
        found = class_gradients(self.net, self.dataset, self.positions, self.weights, self.compute.device)
        if not bool(found.isfinite().all()):
            raise RunError(f"the class-mean gradients of the surrogate after epoch {epoch} are not finite")
        last = self.kept[max(self.kept)] if self.kept else None
        similarity, keeps = look(found, last, self.settings.threshold, SIMILARITIES[self.settings.similarity])
        keeps = keeps or self.settings.regular is not None
        if keeps:
            self.kept[epoch] = found
        return SurrogateStep(self.step, epoch, similarity=similarity, kept=keeps)

    def state(self) -> dict[str, Tensor]:
        """The network, all checkpoints so far, and the gradients of those that are kept."""
        own = {"step": torch.tensor(self.step), **{f"net.{name}": t for name, t in _state(self.net).items()}}
        for epoch, checkpoint in enumerate(self.checkpoints):
            own |= {f"checkpoint.{epoch}.{name}": t for name, t in checkpoint.items()}
        return own | {f"kept.{epoch}": gradients for epoch, gradients in self.kept.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the step at which `state` was taken."""
        self.step = int(state["step"])
        self.net.load_state_dict(within(state, "net."))
        count = min(self.step, self.trained) // self.blocks + 1
        self.checkpoints = [within(state, f"checkpoint.{epoch}.") for epoch in range(count)]
        self.kept = {int(epoch): t for epoch, t in sorted(within(state, "kept.").items(), key=lambda pair: int(pair[0]))}

    def artifact(self) -> Surrogate:
        """What is kept so far."""
        epochs = tuple(self.kept)
        return Surrogate(
            self.model,
            tuple(self.checkpoints[epoch] for epoch in epochs),
            tuple(self.kept[epoch] for epoch in epochs),
            epochs,
            tuple(self.settings.lr for _ in epochs),
            self.dataset.mean,
            self.dataset.std,
        )

    def result(self) -> Result:
        """The surrogate; its card says which checkpoints were kept and how."""
        facts = {**asdict(self.settings), "epochs_kept": list(self.kept), "weighted": self.weights is not None}
        return Result(self.artifact(), facts)


def _state(net: nn.Module) -> dict[str, Tensor]:
    """A copy of parameters and buffers on the CPU."""
    return {name: t.detach().cpu().clone() for name, t in net.state_dict().items()}
