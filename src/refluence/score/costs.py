"""What scores cost, for an estimate: batches of training, what comes once a network, products with the curvature, rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from refluence.influence.batches import CHUNK
from refluence.influence.curvature import damped, inverse_product, operator
from refluence.influence.directional import Scorer
from refluence.influence.parameters import Parameters
from refluence.influence.risk import risk_gradient
from refluence.score.instances import Rows, measure, trainable
from refluence.score.settings import RISKS
from refluence.score.train import train_epochs
from refluence.work import Cost

if TYPE_CHECKING:
    from refluence.score.folds_work import FoldsWork
    from refluence.score.trained_work import TrainedWork

DIRECT = ("identity", "kfac", "ekfac")  # curvatures whose inverse takes no iterations


def costs(work: FoldsWork | TrainedWork) -> list[Cost]:
    """The costs of all networks of a work that has not begun, in the order in which they come."""
    plan, dataset, device = work.plan, work.dataset, work.device
    settings, rows = plan.settings, torch.arange(len(dataset.train))
    networks, checkpoints, members, scored = 1, 1, rows, len(rows)
    if plan.trained is None:
        networks, checkpoints = work.total, settings.checkpoints
        members = rows[: len(rows) * (settings.folds - 1) // settings.folds]
        scored = len(rows) if settings.networks == "all" else len(rows) - len(members)
    batch, times = min(settings.batch, len(members)), networks * checkpoints
    net = plan.network(work.model, work.rng).to(device).eval()
    names, scorer = trainable(net), Scorer(net, compile=work.compute.compile, precision=work.compute.precision)
    v: Parameters = {}
    if settings.terms != "explicit":
        v = {name: torch.ones_like(p) for name, p in net.named_parameters() if name in names}
    held, fit = (
        Rows(dataset, split, torch.arange(len(split))[:count], device)
        for split, count in ((dataset.val, len(dataset.val)), (dataset.train, settings.fit))
    )

    def training(count: int) -> None:
        fresh, few = work.model.bare(work.rng("network", 0)).to(device), members[: count * batch]
        for _ in train_epochs(fresh, dataset, few, replace(settings, epochs=1), work.rng, 0, device):
            pass

    def gradients(count: int) -> None:
        for _ in range(count):
            risk_gradient(net, held, RISKS[settings.risk], names)
            damped(net, fit, settings.curvature, names=names)

    def solves(count: int) -> None:
        for _ in range(count):
            inverse_product(net, fit, v, damped(net, fit, settings.curvature, names=names), names=names)

    def products(count: int) -> None:
        kind = "hessian" if settings.curvature.kind == "hessian" else "ggn"
        product = operator(net, fit, kind, damping=1.0, names=names)
        for _ in range(count):
            product(v)

    def scoring(count: int) -> None:
        measure(scorer, dataset, rows[: count * CHUNK], v, settings, device)

    found = [Cost("rows", times * scored / CHUNK, scoring)]
    if v:
        direct = settings.curvature.kind in DIRECT
        inverse = Cost("solves", times, solves) if direct else Cost("products", times * settings.curvature.iterations, products)
        found = [Cost("validation gradients", times, gradients), inverse, *found]
    if plan.trained is None:
        found = [Cost("training", networks * settings.epochs * (len(members) // batch), training), *found]
    return found
