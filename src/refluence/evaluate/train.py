"""Train one network on a small set, exactly as a protocol says: min_theta mean CE(theta; S), the last iterate.

Networks are trained one after the other: side by side (`torch.func.vmap` over stacked parameters) was no faster on the CPU at
any size that benchmarks/side_by_side.py measures, since the backward pass of a grouped convolution is slow there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.errors import RunError
from refluence.evaluate.protocols import Protocol
from refluence.matching.augment import parse
from refluence.models import ModelSpec, build

EPOCHS_PER_NET = 1_000_003  # a prime above any number of epochs: each (network, epoch) has a random stream of its own
CHECK_EVERY = 25  # epochs between looks at the loss: a look waits for the device


def train(
    images: Tensor, labels: Tensor, spec: ModelSpec, protocol: Protocol, rng, net_index: int, device: str = "cpu"
) -> tuple[nn.Module, Tensor]:
    """A fresh network trained on `images` `(M, C, H, W)`, normalised float, with `labels` `(M,)` int64.

    `rng(purpose, index)` gives CPU generators: "evaluation-network" for the weights and "evaluation-epoch" for the order
    and the augmentation of each epoch, so that network `net_index` is the same whichever others are trained. Returns the
    network (training mode) and the mean loss of every epoch `(epochs,)` on the CPU. Raises `RunError` at a loss that is
    not finite.
    """
    images, labels = images.detach().to(device), labels.to(device)
    net = build(spec, rng("evaluation-network", net_index), device)
    augmentation = parse(protocol.strategy(images.shape[1]), protocol.mode)
    drops = {int(share * protocol.epochs) for share in protocol.milestones}
    lr = protocol.lr
    optimiser = _optimiser(net, protocol, lr)
    curve = torch.zeros(protocol.epochs, device=device)
    for epoch in range(protocol.epochs):
        if epoch in drops:
            lr *= protocol.factor
            optimiser = _dropped(optimiser, net, protocol, lr)
        generator = rng("evaluation-epoch", net_index * EPOCHS_PER_NET + epoch)
        order = torch.randperm(len(images), generator=generator).to(device)
        for batch in order.split(protocol.batch):
            draw = augmentation.draw(generator, images.shape[-2:], len(batch))
            loss = F.cross_entropy(net(augmentation.apply(draw, images[batch])), labels[batch])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            curve[epoch] += loss.detach() * (len(batch) / len(images))
        if (epoch + 1) % CHECK_EVERY == 0 or epoch + 1 == protocol.epochs:
            _check(curve, net_index, protocol)
    return net, curve.cpu()


def _optimiser(net: nn.Module, protocol: Protocol, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=lr, momentum=protocol.momentum, weight_decay=protocol.weight_decay, fused=True)


def _dropped(optimiser: torch.optim.Optimizer, net: nn.Module, protocol: Protocol, lr: float) -> torch.optim.Optimizer:
    """The optimiser after a milestone: a new one without momentum if the protocol rebuilds it, else the same one."""
    if protocol.rebuild:
        return _optimiser(net, protocol, lr)
    for group in optimiser.param_groups:
        group["lr"] = lr
    return optimiser


def _check(curve: Tensor, net_index: int, protocol: Protocol) -> None:
    bad = (~curve.isfinite()).nonzero().flatten()
    if len(bad):
        raise RunError(
            f"evaluation network {net_index} diverged: its loss is not finite in epoch {int(bad[0]) + 1} of "
            f"{protocol.epochs} (protocol {protocol.name}, learning rate {protocol.lr:g}); a smaller learning rate, or "
            "distilled images with smaller values, would help"
        )
