"""Train one network on a small set, exactly as a protocol says: min_theta mean loss(theta; S), the last iterate.

A set of stages (PDD, arXiv 2310.06982) is learned in order: in stage s the images of stages 0 … s, the optimiser's state
carried from one stage to the next, the schedule from its start again.

Networks are trained one after the other: side by side (`torch.func.vmap` over stacked parameters) was no faster on the CPU at
any size that benchmarks/judging.py measures, since the backward pass of a grouped convolution is slow there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from refluence.errors import RunError
from refluence.evaluate.augment import Pixels, augmenter
from refluence.evaluate.protocol import Protocol
from refluence.models import ModelSpec, build
from refluence.randomness import seeded
from refluence.seeds import Rng
from refluence.training import mixing, optimisers
from refluence.training.loop import Batch, Seen, fit
from refluence.training.objectives import BatchLoss, FromTeacher, Objective

EPOCHS_PER_NET = 1_000_003  # a prime above any number of epochs: each (network, epoch) has a random stream of its own
CHECK_EVERY = 25  # epochs between looks at the loss: a look waits for the device
Compiled = Callable[[nn.Module], nn.Module]
"""A network to the same network as it is called: compiled, perhaps. It shares the parameters."""
Teacher = Callable[[Tensor], Tensor]
"""Images `(B, C, H, W)`, normalised and augmented, to logits `(B, classes)`."""


def train(
    images: Tensor,
    labels: Tensor,
    spec: ModelSpec,
    protocol: Protocol,
    rng: Rng,
    net_index: int,
    device: str | torch.device = "cpu",
    *,
    stage: Tensor | None = None,
    teacher: Teacher | None = None,
    pixels: Pixels | None = None,
    compiled: Compiled = lambda net: net,
) -> tuple[nn.Module, Tensor]:
    """A fresh network trained on `images` `(M, C, H, W)`, normalised float.

    `labels` are `(M,)` int64 or `(M, classes)` probabilities; a `teacher`, where the protocol's loss is `kl`, takes their
    place. `stage` `(M,)` int64 counts for protocols with stages, `pixels` is the mean and std that the images were normalised
    by, `compiled` makes what is called of the network. `rng(purpose, index)` gives CPU generators: "evaluation-network" for
    the weights and what the network itself draws, "evaluation-epoch" for the order, augmentation and mixing of each epoch, so
    that network `net_index` is the same whichever others are trained. Returns the network (training mode) and the mean loss of
    every epoch `(epochs,)` on the CPU. Raises `RunError` at a loss that is not finite.
    """
    protocol = protocol.resolve(len(images), spec.classes)
    images, labels = images.detach().to(device), labels.to(device)
    start = rng("evaluation-network", net_index)
    net = build(spec, start, device)
    called = compiled(net)
    augment = augmenter(protocol.strategy(spec), protocol.mode, pixels)
    loss = _loss(protocol, teacher)
    parts = members(stage, len(images)) if protocol.staged else [torch.arange(len(images))]
    curve = torch.zeros(len(parts) * protocol.epochs, device=device)
    average = optimisers.Average(net, protocol.ema) if protocol.ema else None
    update = None if average is None else partial(average.update, net)
    optimiser, lower = protocol.new_optimiser(net, protocol.lr), protocol.drops() if protocol.rebuild else set()

    def batches(order: Sequence[Tensor], generator: torch.Generator) -> Iterator[Batch[Tensor]]:
        for rows in order:
            x = augment(images[rows], generator)
            x, partner, share = mixing.mix(protocol.mix, protocol.mix_p, protocol.mix_alpha, x, generator)
            if isinstance(loss, FromTeacher):  # the teacher gives the targets of the images as they are mixed
                yield Batch(x, x)
            else:
                yield Batch(x, labels[rows], partner=partner, share=share)

    with seeded(start, device):
        for k, part in enumerate(parts):
            for e, lr in enumerate(protocol.rates(k)):
                if e in lower:
                    optimiser = protocol.new_optimiser(net, lr)
                optimisers.set_rate(optimiser, lr)
                epoch = k * protocol.epochs + e
                generator = rng("evaluation-epoch", net_index * EPOCHS_PER_NET + epoch)
                order = part[torch.randperm(len(part), generator=generator)]
                used = order.to(device).split(protocol.batch)[: 1 if protocol.one_batch else None]
                record = _recorder(curve, epoch, sum(len(rows) for rows in used))
                fit(called, optimiser, batches(used, generator), loss, seen=record, stepped=update)
                if (epoch + 1) % CHECK_EVERY == 0 or epoch + 1 == len(curve):
                    _check(curve, net_index, protocol)
    if average is not None:
        average.put(net)
    return net, curve.cpu()


def members(stage: Tensor | None, count: int) -> list[Tensor]:
    """Positions of the images of every union of stages, in order; all images once where there are no stages."""
    if stage is None:
        return [torch.arange(count)]
    return [(stage.cpu() <= last).nonzero().flatten() for last in stage.unique().tolist()]


def _loss(protocol: Protocol, teacher: Teacher | None) -> BatchLoss[Tensor]:
    """The protocol's loss; a teacher takes the place of labels where the loss is `kl`."""
    if teacher is not None and protocol.taught:
        return FromTeacher(teacher, protocol.temperature)
    return Objective(protocol.loss, protocol.temperature)


def _recorder(curve: Tensor, epoch: int, images: int) -> Seen[Tensor]:
    """Adds the loss of each batch to that of its epoch, by its share of the images of the epoch."""

    def record(batch: Batch[Tensor], _: Tensor, value: Tensor) -> None:
        curve[epoch] += value * (len(batch.x) / images)

    return record


def _check(curve: Tensor, net_index: int, protocol: Protocol) -> None:
    bad = (~curve.isfinite()).nonzero().flatten()
    if len(bad):
        raise RunError(
            f"evaluation network {net_index} diverged: its loss is not finite in epoch {int(bad[0]) + 1} of "
            f"{len(curve)} (protocol {protocol.name}, learning rate {protocol.lr:g}); a smaller learning rate, or "
            "distilled images with smaller values, would help"
        )
