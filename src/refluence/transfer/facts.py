"""What the card of a student says of its weights, and the table of scores beside it."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from refluence.data.dataset import Dataset
from refluence.data.run_scores import Shown, extremes, highest
from refluence.data.scores import ScoreTable
from refluence.data.truth import wrong
from refluence.files import Json
from refluence.transfer.job import Teacher
from refluence.transfer.weights import InstanceWeights


def table_of(dataset: Dataset, weights: InstanceWeights, facts: Json) -> ScoreTable:
    """The last scores of the training instances and their weights."""
    visits = weights.scored
    return ScoreTable.of(dataset, weights.value, weights.omega, weights.loss, visits=visits, facts=facts)


def shown(dataset: Dataset, weights: InstanceWeights) -> Shown:
    """The instances that a page shows beside the table: the highest of all, and both ends of each class."""
    score, visits = weights.value, weights.scored
    return Shown(dataset, torch.cat([extremes(dataset, score, visits), highest(score, visits)]).unique())


def weights_by_truth(dataset: Dataset, weights: InstanceWeights) -> Json | None:
    """The mean weight of clean and of noisy instances, and how well weights tell them apart; None where nothing is known.

    Weights are the link's own values, whose mean over all is not 1: the two means are compared with each other.

    `auc`: the probability that a noisy instance weighs less than a clean one, ties by half; None where all are of one sort.
    """
    from sklearn.metrics import roc_auc_score

    noisy, omega = wrong(dataset.train), weights.omega
    if noisy is None:
        return None
    both = bool(noisy.any()) and not bool(noisy.all())
    return {
        "clean": _mean(omega[~noisy]),
        "noisy": _mean(omega[noisy]),
        "auc": float(roc_auc_score(noisy.numpy(), -omega.numpy())) if both else None,
    }


def teacher_facts(teacher: Teacher, net: nn.Module, accuracy: float) -> Json:
    """What a card says of a teacher as it came. `accuracy`: percent on the watching half."""
    return {
        "model": teacher.model.label,
        "parameters": sum(p.numel() for p in net.parameters()),
        "sha256": sha256_of(net) if teacher.loaded is None else teacher.loaded.sha256,
        "accuracy": accuracy,
    }


def sha256_of(net: nn.Module) -> str:
    """A digest of the names and numbers of a network's state."""
    whole = hashlib.sha256()
    for name, t in net.state_dict().items():
        whole.update(name.encode())
        whole.update(t.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def _mean(omega: Tensor) -> float | None:
    return float(omega.mean()) if len(omega) else None
