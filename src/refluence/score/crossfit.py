"""The influence of every training instance on held-out risk, each seen by networks that were not trained on it:

    M(w)  = E_theta0 sum_t  R_val(theta_t(w))  +  sum_j w_j r_j(theta_t) / sum_j w_j      r_j at a network that did not see j
    I_j   = N dM/dw_j  =  phi_j  +  r_j - mean r,        phi_j = -< H^-1 grad R_val, grad l_j >         (KD-AIF for phi)
            implicit: what training on j does to the validation split      explicit: its own held-out risk

Cross-fitting: the rows are dealt into folds, class by class; the networks of a fold train on the other folds and score it.
The mean of r is that of the rows scored. r is the risk: by default the expected error 1 - p_y, which is bounded and, unlike
cross-entropy, ranks classifiers alike under symmetric label noise (Ghosh et al. 2017, arXiv 1712.09482): the validation split
may be as noisy as the training rows. l is the training loss, cross-entropy. The joint objective, the cross-fitting of phi and
the defaults are ours; phi alone is `terms="implicit"`, the out-of-fold risk that cleaning tools use is `terms="explicit"`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.models.repeatable import refuse_random_eval
from refluence.randomness import seeded
from refluence.score.instances import FEW, FoldScores, Track, probabilities, score_rows
from refluence.score.settings import CrossFit
from refluence.score.train import train_epochs
from refluence.seeds import Rng


def score_fold(
    dataset: Dataset,
    network: Callable[[torch.Generator], nn.Module],
    fold_of: Tensor,
    fold: int,
    settings: CrossFit,
    rng: Rng,
    device: torch.device | str = "cpu",
    track: Track | None = None,
    *,
    keep: bool = False,
    compile: bool = False,
    precision: str = "fp32",
) -> FoldScores:
    """Train a network of `network(generator)` on every fold but `fold`, and score the rows of `fold`, or all (see the top).

    `fold_of` `(N,)` as `assign` gives it; `rng(purpose, index)` gives CPU generators; `track(items, what, total)` may show
    progress; `keep` the probabilities of the rows of `fold`; `compile` and `precision` as in `Scorer`. Raises `RunError` when
    training diverges, `InputError` before that for a network that is random in eval mode.
    """
    members, held = (fold_of != fold).nonzero().flatten(), (fold_of == fold).nonzero().flatten()
    scored = held if settings.networks == "held-out" else torch.arange(len(fold_of))
    with seeded(start := rng("network", fold), device):
        net = network(start).to(device)
    refuse_random_eval(net, dataset.pixels(dataset.train, members[:FEW], device))
    epochs = train_epochs(net, dataset, members, settings, rng, fold, device)
    first, found = settings.epochs - settings.checkpoints, []
    for epoch in epochs if track is None else track(epochs, "training", settings.epochs):
        if epoch >= first:
            net.eval()
            draws = rng("curvature", fold)
            found.append(
                score_rows(net, dataset, scored, members, settings, draws, device, track, compile=compile, precision=precision)
            )
            net.train()
    held_out = None
    if keep:
        with seeded(rng("curvature", fold), device):
            held_out = probabilities(net.eval(), dataset, held, device)
    score, phi = (torch.stack(each).mean(0) for each in zip(*((f.score, f.phi) for f in found), strict=True))
    return replace(found[-1], score=score, phi=phi, held_out=held_out)


def score_model(
    dataset: Dataset,
    model: nn.Module,
    settings: CrossFit,
    rng: Rng,
    device: torch.device | str = "cpu",
    track: Track | None = None,
    *,
    compile: bool = False,
    precision: str = "fp32",
) -> FoldScores:
    """Scores of all training rows by a network that is trained already, and may have seen them. It is put in eval mode.

    Raises `InputError` where it is random there.
    """
    rows = torch.arange(len(dataset.train))
    model.to(device).eval()
    refuse_random_eval(model, dataset.pixels(dataset.train, rows[:FEW], device))
    return score_rows(
        model, dataset, rows, rows, settings, rng("curvature", 0), device, track, compile=compile, precision=precision
    )
