"""Train one network on a small set, exactly as a protocol says: min_theta mean loss(theta; S), the last iterate.

A set of stages (PDD, arXiv 2310.06982) is learned in order: in stage s the images of stages 0 … s, the optimiser's state
carried from one stage to the next, the schedule from its start again.

Networks are trained one after the other: side by side (`torch.func.vmap` over stacked parameters) was no faster on the CPU at
any size that benchmarks/judging.py measures, since the backward pass of a grouped convolution is slow there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from refluence.errors import RunError
from refluence.evaluate import mixing, objectives, optimisers
from refluence.evaluate.augment import Pixels, augmenter
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.schedules import drops, rates
from refluence.models import ModelSpec, build
from refluence.randomness import seeded

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
    rng,
    net_index: int,
    device: str = "cpu",
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
    teacher = teacher if protocol.loss == "kl" else None
    parts = members(stage, len(images)) if protocol.staged else [torch.arange(len(images))]
    curve = torch.zeros(len(parts) * protocol.epochs, device=device)
    average = optimisers.Average(net, protocol.ema) if protocol.ema else None
    optimiser, lower = optimisers.make(net, protocol, protocol.lr), drops(protocol) if protocol.rebuild else set()

    def step(batch: Tensor, generator: torch.Generator) -> Tensor:
        """One update on `batch` `(B,)` int64; its loss."""
        x = augment(images[batch], generator)
        x, partner, share = mixing.mix(protocol.mix, protocol.mix_p, protocol.mix_alpha, x, generator)
        other = None if partner is None else labels[batch[partner]]
        loss = _loss(called, x, labels[batch], other, share, protocol, teacher)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if average is not None:
            average.update(net)
        return loss.detach()

    with seeded(start, device):
        for k, part in enumerate(parts):
            for e, lr in enumerate(rates(protocol, k)):
                if e in lower:
                    optimiser = optimisers.make(net, protocol, lr)
                optimisers.set_rate(optimiser, lr)
                epoch = k * protocol.epochs + e
                generator = rng("evaluation-epoch", net_index * EPOCHS_PER_NET + epoch)
                order = part[torch.randperm(len(part), generator=generator)]
                batches = order.to(device).split(protocol.batch)[: 1 if protocol.one_batch else None]
                seen = sum(len(batch) for batch in batches)
                for batch in batches:
                    curve[epoch] += step(batch, generator) * (len(batch) / seen)
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


def _loss(
    net: nn.Module, x: Tensor, own: Tensor, other: Tensor | None, share: float, protocol: Protocol, teacher: Teacher | None
) -> Tensor:
    """Loss of a batch as it is seen: its own labels and those of the partners in shares, or a teacher's of the mixed images."""
    logits = net(x)
    if teacher is not None:
        with torch.no_grad():
            told = teacher(x)
        return objectives.divergence(logits, told, protocol.temperature)
    loss = objectives.loss(protocol.loss, logits, own, protocol.temperature)
    if other is None:
        return loss
    return share * loss + (1 - share) * objectives.loss(protocol.loss, logits, other, protocol.temperature)


def _check(curve: Tensor, net_index: int, protocol: Protocol) -> None:
    bad = (~curve.isfinite()).nonzero().flatten()
    if len(bad):
        raise RunError(
            f"evaluation network {net_index} diverged: its loss is not finite in epoch {int(bad[0]) + 1} of "
            f"{len(curve)} (protocol {protocol.name}, learning rate {protocol.lr:g}); a smaller learning rate, or "
            "distilled images with smaller values, would help"
        )
