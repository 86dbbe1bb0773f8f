"""The scores of influence_scores.py by public peers, each through its own public interface and to its own advantage.

Every function takes a `Task` and gives `score(x, y) -> (N,)`, the dot products of the training gradients with the sum or the
mean of the validation gradients (the factor does not matter to a correlation), and the parameters that take part.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.data import DataLoader, TensorDataset

Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """A model in eval mode, validation data x `(M, C, H, W)`, y `(M,)`, and samples a pass."""

    model: nn.Module
    x: Tensor
    y: Tensor
    chunk: int

    def gradient(self) -> dict[str, Tensor]:
        """The mean validation gradient by plain autograd, for peers that leave it to the user."""
        names, parameters = zip(*self.model.named_parameters(), strict=True)
        total = [torch.zeros_like(p) for p in parameters]
        for i in range(0, len(self.x), self.chunk):
            loss = F.cross_entropy(self.model(self.x[i : i + self.chunk]), self.y[i : i + self.chunk], reduction="sum")
            torch._foreach_add_(total, torch.autograd.grad(loss, parameters))
        return {name: t / len(self.x) for name, t in zip(names, total, strict=True)}

    def linear_maps(self) -> dict[str, nn.Module]:
        """The layers that kronfluence, and captum's fast path, cover."""
        return {k: m for k, m in self.model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


def per_sample_gradients(task: Task) -> Score:
    """torch.func: vmap(grad), chunk by chunk, times v."""
    parameters = {k: p.detach() for k, p in task.model.named_parameters()}

    def one(p, x, y):
        return F.cross_entropy(functional_call(task.model, p, (x[None],)), y[None])

    each = vmap(grad(one), (None, 0, 0))

    def score(x: Tensor, y: Tensor) -> Tensor:
        v = task.gradient()
        parts = []
        for i in range(0, len(x), task.chunk):
            gradients = each(parameters, x[i : i + task.chunk], y[i : i + task.chunk])
            parts.append(sum(g.flatten(1) @ v[k].flatten() for k, g in gradients.items()))
        return torch.cat(parts)

    return score


def dattri_tracin(task: Task) -> Score:
    """dattri's TracInAttributor. v enters as a linear target <v, theta>, so that it is not computed again for every training
    batch, as validation samples would be. Its random projection is off: 0.3.0 projects to 512 numbers also where
    `projector_kwargs` is None, which is slower and no longer the same score."""
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask

    def loss(p, data):
        return F.cross_entropy(functional_call(task.model, p, (data[0][None],)), data[1][None])

    def score(x: Tensor, y: Tensor) -> Tensor:
        v = task.gradient()

        def target(p, data):
            return sum((v[k] * p[k]).sum() for k in v) + 0 * data[0].sum()

        attribution = AttributionTask(loss_func=loss, target_func=target, model=task.model, checkpoints=task.model.state_dict())
        attributor = TracInAttributor(attribution, weight_list=torch.ones(1), normalized_grad=False)
        attributor.projector_kwargs = None
        train = DataLoader(TensorDataset(x, y), batch_size=task.chunk)
        one = DataLoader(TensorDataset(torch.zeros(1, 1)), batch_size=1)
        return attributor.attribute(train, one)[:, 0]

    return score


def _captum(task: Task, fast: bool) -> Score:
    from captum.influence import TracInCP

    model = copy.deepcopy(task.model)

    def score(x: Tensor, y: Tensor) -> Tensor:
        tracin = TracInCP(
            model,
            DataLoader(TensorDataset(x, y), batch_size=task.chunk),
            checkpoints=["as it is"],
            checkpoints_load_func=lambda model, checkpoint: 1.0,
            layers=list(task.linear_maps()) if fast else None,
            loss_fn=nn.CrossEntropyLoss(reduction="sum" if fast else "none"),
            sample_wise_grads_per_batch=fast,
        )
        validation = DataLoader(TensorDataset(task.x, task.y), batch_size=task.chunk)
        return tracin.influence(validation, aggregate=True)[0]

    return score


def captum_tracin(task: Task) -> Score:
    """captum's TracInCP at one checkpoint, all parameters."""
    return _captum(task, fast=False)


def captum_tracin_per_batch(task: Task) -> Score:
    """The same with sample_wise_grads_per_batch: Linear and Conv2d alone."""
    return _captum(task, fast=True)


def kronfluence_identity(task: Task) -> Score:
    """kronfluence's pairwise scores, strategy identity, query gradients aggregated: Linear and Conv2d alone."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task as Interface

    logging.disable(logging.WARNING)

    class Classification(Interface):
        def compute_train_loss(self, batch, model, sample=False):
            return F.cross_entropy(model(batch[0]), batch[1], reduction="sum")

        def compute_measurement(self, batch, model):
            return self.compute_train_loss(batch, model)

    interface = Classification()
    model = prepare_model(copy.deepcopy(task.model), interface)
    folder = tempfile.mkdtemp(prefix="kronfluence")
    analyzer = Analyzer("identity", model, interface, cpu=True, output_dir=folder, disable_model_save=True, disable_tqdm=True)

    def score(x: Tensor, y: Tensor) -> Tensor:
        train = TensorDataset(x, y)
        with contextlib.redirect_stdout(io.StringIO()):
            analyzer.fit_all_factors(
                "identity", train, per_device_batch_size=task.chunk, factor_args=FactorArguments(strategy="identity"),
                overwrite_output_dir=True,
            )  # fmt: skip
            analyzer.compute_pairwise_scores(
                "scores", "identity", TensorDataset(task.x, task.y), train, task.chunk, task.chunk,
                score_args=ScoreArguments(aggregate_query_gradients=True), overwrite_output_dir=True,
            )  # fmt: skip
        return analyzer.load_pairwise_scores("scores")["all_modules"][0]

    return score


LINEAR_ALONE = ("captum TracInCP, per batch", "kronfluence identity")
PEERS = {  # name: (package, version that the code above was written for, function)
    "torch.func vmap(grad)": ("torch", None, per_sample_gradients),
    "dattri TracIn": ("dattri", "0.3.0", dattri_tracin),
    "captum TracInCP": ("captum", "0.9.0", captum_tracin),
    "captum TracInCP, per batch": ("captum", "0.9.0", captum_tracin_per_batch),
    "kronfluence identity": ("kronfluence", "1.0.1", kronfluence_identity),
}


def names_of(task: Task, peer: str) -> Iterable[str]:
    """The parameters that a peer scores by."""
    every = [name for name, _ in task.model.named_parameters()]
    maps = task.linear_maps()
    return [name for name in every if name.rpartition(".")[0] in maps] if peer in LINEAR_ALONE else every
