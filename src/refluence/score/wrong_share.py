"""How many labels are wrong, from probabilities of networks that did not see the rows that they judge.

First by confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068):

    t_j        = mean of p_n(j) over the rows n labelled j                                 threshold: mean self-confidence
    C_ij       = |{n labelled i : argmax of p_n over J_n is j}|,  J_n = {j : p_n(j) >= t_j} not empty        confident joint
    Q_ij       = N_i / N  C_ij / sum_j C_ij                                  calibrated to the N_i rows that are labelled i
    share      = 1 - sum_i Q_ii                                                          Q estimates P(label i, truth j)

Two rules are those of the authors' library, cleanlab: each C_ii is at least 1, so a class that no row is confident of counts
as right, and 1e-6 is taken off the thresholds. Where several classes pass, theirs is the likeliest of all classes, and ours,
as in the paper, the likeliest of those that pass; theirs rounds Q to whole rows. Else the two are one estimate.

It takes the network's own mistakes for wrong labels, many where the network is weak. There are fewest among the rows that it is
surest of, the anchor points of Liu and Tao 2016 (arXiv 1411.7718) and Patrini et al. 2017 (arXiv 1609.03683). They read the
noise from the network's probability there. Ours, as these rows were held out, is how often their labels say something else:

    A_j        = the twentieth of the n_j rows guessed j for which p_n(j) is highest, and those for which it is as high
    surest     = sum_j n_j / N  |{n in A_j : label is not j}| / |A_j|

`surest` is taken where confident learning says more than its 95 % interval (Agresti and Coull 1998) reaches up to. Where noise
does not depend on the image, both err upwards; where odd images are mislabelled more often, `surest` may say too little. The
rule and the twentieth were fixed on other draws and noise than docs/results/clean.md reports.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refluence.errors import InputError

SLACK = 1e-6  # off the thresholds: where all rows of a class are equally sure, they pass
SUREST = 0.05  # share of the rows guessed as a class


def wrong_share(labels: Tensor, probabilities: Tensor) -> float:
    """The estimated share of labels that are wrong.

    Args:
        labels: `(N,)`, classes.
        probabilities: `(N, K)` of the classes, by networks that were not trained on the row.

    Returns:
        From 0 to 1.

    Raises:
        InputError: shapes that do not fit each other, or labels beyond the classes.

    Example:
        >>> sure = torch.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1]]
        >>> wrong_share(torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]), sure)
        0.125
    """
    confident = confident_share(labels, probabilities)
    surest, highest = surest_share(labels, probabilities)
    return surest if confident > highest else confident


def confident_share(labels: Tensor, probabilities: Tensor) -> float:
    """The share by confident learning."""
    joint = confident_joint(labels, probabilities)
    right = joint.diagonal() / joint.sum(1)
    counts = torch.bincount(labels, minlength=len(joint)).double()
    return float(1 - (counts * right).sum() / len(labels))


def confident_joint(labels: Tensor, probabilities: Tensor) -> Tensor:
    """C `(K, K)` float64: rows by label and by the class that is likeliest of those that are likely enough."""
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise InputError(f"labels {tuple(labels.shape)} and probabilities {tuple(probabilities.shape)}: give (N,) and (N, K)")
    p, count = probabilities.double(), probabilities.shape[1]
    if int(labels.min()) < 0 or int(labels.max()) >= count:
        raise InputError(f"labels are {int(labels.min())} to {int(labels.max())}: there are probabilities of {count} classes")
    own = torch.zeros(count, dtype=torch.float64).index_add(0, labels, p.gather(1, labels[:, None])[:, 0])
    rows = torch.bincount(labels, minlength=count)
    threshold = torch.where(rows > 0, own / rows - SLACK, torch.inf)
    likely = p.where(p >= threshold, -torch.inf)
    sure, guess = likely.max(1)
    passed = sure > -torch.inf
    joint = torch.bincount(labels[passed] * count + guess[passed], minlength=count * count).view(count, count).double()
    joint.diagonal().clamp_(min=1)
    return joint


def surest_share(labels: Tensor, probabilities: Tensor) -> tuple[float, float]:
    """The share among the rows that the networks are surest of, and the upper end of its 95 % interval."""
    sure, guess = probabilities.max(1)
    share, wrong, anchors = 0.0, 0, 0
    for j in guess.unique().tolist():
        rows = (guess == j).nonzero().flatten()
        least = sure[rows].sort(descending=True).values[math.ceil(SUREST * len(rows)) - 1]
        chosen = rows[sure[rows] >= least]
        other = int((labels[chosen] != j).sum())
        share += len(rows) / len(labels) * other / len(chosen)
        wrong, anchors = wrong + other, anchors + len(chosen)
    middle = (wrong + 2) / (anchors + 4)
    return share, middle + 2 * math.sqrt(middle * (1 - middle) / (anchors + 4))
