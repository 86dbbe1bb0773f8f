"""Minimax fine-tuning of a denoiser (arXiv 2311.15529): its samples shall represent the data, and differ from each other.

    L = mean_i |eps_theta(z_i) - eps_i|^2 / d  +  lambda_pos P + lambda_neg N                  (of a flow model its own loss)
    P = 1/|C_b| sum_c mean_{i of c} (1 - min_{r in real_c} cos(z0_i, r))                       representative
    N = 1/|C_b| sum_c mean_{i of c} max_{p in pseudo_c} cos(z0_i, p)                           diverse

C_b are the classes of the batch; real_c and pseudo_c are the last 64 real latents of class c and the last 64 predictions for
it, as they were before the step. Only biases, norms, scales and embeddings of labels move (DiffFit, arXiv 2304.06648).

Unlike the released code: z0 is the predicted clean latent (the code takes the network's output, noise, as it is), the least and
the greatest cosine are those of each image (the code takes one for all of a class in the batch), and the loss has no term for
a learned variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refluence.fields import check, described, setting
from refluence.generate.method import Generator

METHOD = Generator(
    "minimax", "dit, its denoiser fine-tuned to represent the data and to differ", "arXiv 2311.15529", finetuned=True
)

EPOCHS, MOST = 8, 1000  # over the training images, as published; steps at size cpu


@described
@dataclass(frozen=True)
class MinimaxSettings:
    """Numbers of a fine-tuning.

    Raises:
        InputError: a value outside its range.
    """

    iterations: int = setting(1000, "Steps of the optimiser.", least=1)
    batch: int = setting(8, "Images a step, at most all of them.", least=1)
    lr: float = setting(1e-3, "Learning rate of AdamW.", above=0)
    memory: int = setting(64, "Real latents and predictions of each class that are kept.", least=1)
    positive: float = setting(0.002, "lambda_pos: weight of the least cosine with a real latent of the class.", least=0)
    negative: float = setting(0.008, "lambda_neg: weight of the greatest cosine with a prediction of the class.", least=0)
    ema: float = setting(0.9999, "Decay of the average of the weights, which begins where they begin.", least=0, below=1)
    label_drop: float = setting(0.1, "Share of the samples that are trained on as of no class.", least=0, most=1)

    def __post_init__(self) -> None:
        check(self)


def minimax_defaults(size: str, images: int) -> MinimaxSettings:
    """The numbers of a size, for so many images.

    `paper`: 8 epochs in batches of 8, as published. `cpu` (ours): as many epochs, but at most 1000 steps, in batches of 16, and
    an average over about 100 steps.

    Example:
        >>> minimax_defaults("paper", 9469).iterations, minimax_defaults("cpu", 1078).iterations
        (9464, 536)
    """
    if size == "paper":
        return MinimaxSettings(iterations=EPOCHS * max(1, images // 8))
    return MinimaxSettings(iterations=min(MOST, EPOCHS * max(1, images // 16)), batch=16, ema=0.99)


def cosines(z0: Tensor, y: Tensor, real: dict[int, Tensor], pseudo: dict[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """For each image 1 - its least cosine with a real latent of its class, and its greatest with a prediction; and its weight.

    Args:
        z0: predicted clean latents `(B, ...)`.
        y: their classes `(B,)`.
        real: latents `(M, ...)` of each class; of one that is not there, both numbers are 0.
        pseudo: earlier predictions `(M, ...)` of each class, for the same classes.

    Returns:
        Three times `(B,)`. The sum of weight times number is P or N: a class of the batch counts as another, and an image of it
        as another.
    """
    flat, classes = F.normalize(z0.flatten(1), dim=1), y.unique().tolist()
    away, alike, weight = (z0.new_zeros(len(z0)) for _ in range(3))
    with torch.autocast(z0.device.type, enabled=False):
        for label in classes:
            own = (y == label).nonzero().flatten()
            weight[own] = 1 / (len(classes) * len(own))
            if label in real:
                to_real, to_pseudo = (flat[own] @ F.normalize(held[label].flatten(1), dim=1).T for held in (real, pseudo))
                away = away.index_put((own,), 1 - to_real.min(1).values)
                alike = alike.index_put((own,), to_pseudo.max(1).values)
    return away, alike, weight


def mark_difffit(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that DiffFit moves, and no other of the network will: vectors (biases, norms, scales) and embeddings."""
    for module in net.modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(parameter.ndim < 2 or isinstance(module, nn.Embedding))
    return [p for p in net.parameters() if p.requires_grad]
