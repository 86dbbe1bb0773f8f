"""Kronecker-factored inverses of the damped Gauss-Newton matrix, layer by layer, through curvlinops:

    kfac     C_l = A_l (x) B_l,  A_l = E[a a^T], B_l = E[d d^T]       Martens & Grosse 2015 (arXiv 1503.05671), eq. 1
                                                                      convolutions: Grosse & Martens 2016 (arXiv 1602.01407)
    ekfac    C_l = (Q_A (x) Q_B) diag(s) (Q_A (x) Q_B)^T              George et al. 2018 (arXiv 1806.03884), eq. 7

inverted with exact damping in their eigenbases (Grosse et al. 2023, arXiv 2308.03296, eq. 21). Factors come from the
closed Hessian of the loss (type 2), weight and bias of a layer together. curvlinops knows cross-entropy and squared error; any
other loss with a Hessian S_j by the logits is a squared error of the outputs S_j^(1/2) z_j, S_j held fixed. What curvlinops
does not cover (norms, grouped convolutions, tied weights) is a block of its own: the same damped Gauss-Newton matrix restricted
to it, dense up to 2048 numbers, else its diagonal by Hutchinson's estimator. That block is ours.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from refluence.errors import InputError, RunError
from refluence.influence.batches import passes
from refluence.influence.capture import readable
from refluence.influence.differentiable import logits_at
from refluence.influence.losses import CrossEntropy, Curved, SquaredError
from refluence.influence.operators import Operator
from refluence.influence.parameters import Parameters, parameters_of
from refluence.matching.statistics import Targets

DENSE = 2048  # numbers in the block of other parameters up to which it is formed
PROBES, SEED = 16, 0


class KroneckerInverse:
    """r -> approximately (C + damping I)^-1 r, symmetric positive definite. `note` says how other parameters are solved."""

    def __init__(self, covered: Callable[[Parameters], Parameters], other: Callable[[Parameters], Parameters], note: str):
        self._covered, self._other, self.note = covered, other, note

    def __call__(self, r: Parameters) -> Parameters:
        """The approximate inverse times r, by name."""
        both = {**self._covered(r), **self._other(r)}
        return {name: both[name] for name in r}


def factored(made: Operator, *, corrected: bool = False, exact: bool = True) -> KroneckerInverse:
    """The K-FAC (`corrected`: EK-FAC) inverse with the data, loss, parameters and damping of the operator `made`.

    `exact=False` is for a preconditioner, for which sample weights may be left out. Costs one forward pass and as many
    backward passes over the data as there are classes (`corrected`: twice), and those again for the other block.

    Raises `InputError` when curvlinops is missing, for losses without a Hessian by the outputs, for outputs that are not
    `(B, K)`, for sample weights where `exact`, and for a damping of zero.
    """
    if not isinstance(made.loss, Curved):
        raise InputError(f"K-FAC needs a loss with `hessian(logits, y, u)`, got {made.loss!r}: give it one")
    if not made.damping > 0:
        raise InputError(f"K-FAC needs a damping > 0, got {made.damping!r}: its factors are singular in general")
    count = 0
    for x, _, w in passes(made.batches, _device(made)):
        if exact and w is not None:
            raise InputError("K-FAC has no sample weights: leave them out, or use kind 'ggn'")
        count += len(x)
    chosen = parameters_of(made.model, made.names)
    covered = _covered(made, chosen)
    rest = {name: p for name, p in chosen.items() if name not in covered}
    first = _kronecker(made, covered, corrected, count) if covered else lambda r: {}
    second, how = _block(made, rest) if rest else (lambda r: {}, "")
    size = sum(p.numel() for p in rest.values())
    return KroneckerInverse(
        first, second, f"{size} numbers outside the layers that K-FAC reads in a {how} block" if rest else ""
    )


def _covered(made: Operator, chosen: Parameters) -> list[str]:
    """Names of parameters that act only in the calls of one ungrouped Linear or Conv2d with zero padding."""
    found = [name for name in _of_layers(made.model) if name in chosen]
    x, y, _ = next(passes(made.batches, _device(made)))
    if found and not readable(made.model, found, x, y, made.loss):  # then layer by layer
        layers: dict[str, list[str]] = {name.rpartition(".")[0]: [] for name in found}
        for name in found:
            layers[name.rpartition(".")[0]].append(name)
        found = [name for own in layers.values() if readable(made.model, own, x, y, made.loss) for name in own]
    return [name for name in chosen if name in found]


def _of_layers(model: nn.Module) -> list[str]:
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    names = {id(p): name for name, p in model.named_parameters()}
    return [
        names[id(p)]
        for m in model.modules()
        if type(m) is nn.Linear or (type(m) is nn.Conv2d and m.groups == 1 and m.padding_mode == "zeros")
        if not (m._forward_hooks or m._forward_pre_hooks)
        for kind, p in m._parameters.items()
        if p is not None and uses[id(p)] == 1 and kind in ("weight", "bias")
    ]


def _kronecker(made: Operator, names: list[str], corrected: bool, count: int) -> Callable[[Parameters], Parameters]:
    """The solve with the factors of the layers, in the network's precision; in double where that finds no eigenvalues."""
    try:
        return _solver(made, names, corrected, count)
    except LinAlgError as error:
        if _device(made).type != "mps":
            with suppress(LinAlgError):
                return _solver(made, names, corrected, count, torch.float64)
        raise RunError("K-FAC: the eigenvalues of a layer's factor were not found: use ggn") from error


def _solver(
    made: Operator, names: list[str], corrected: bool, count: int, dtype: torch.dtype | None = None
) -> Callable[[Parameters], Parameters]:
    try:
        from curvlinops import EKFACLinearOperator, FisherType, KFACInverseLinearOperator, KFACLinearOperator
    except ImportError as missing:
        raise InputError("K-FAC needs curvlinops: pip install 'refluence[curvature]'") from missing
    model = copy.deepcopy(made.model).requires_grad_(False).to(dtype=dtype)  # curvlinops wants leaves that have gradients
    parameters = [dict(model.named_parameters())[name].requires_grad_() for name in names]
    data = _Data(made, dtype)
    with torch.no_grad():
        z = model(data.inputs())
    if z.dim() != 2:
        raise InputError(f"K-FAC needs outputs of shape (B, K), got {tuple(z.shape)}")
    entropy = isinstance(made.loss, CrossEntropy)
    share = 1.0 if entropy else z.shape[1] / 2  # torch's mean squared error has a mean over K and no half
    loss = nn.CrossEntropyLoss() if entropy else nn.MSELoss()
    kind = EKFACLinearOperator if corrected else KFACLinearOperator
    options = {"fisher_type": FisherType.TYPE2, "separate_weight_and_bias": False, "check_deterministic": False}
    options |= {"num_data": count, "num_per_example_loss_terms": 1}
    if data.rooted:
        assert isinstance(made.loss, Curved), "asked by `factored`"
        model, options["batch_size_fn"] = _Rooted(model, made.loss), lambda both: len(both["x"])
    with torch.enable_grad():
        made_factors = kind(model, loss, parameters, data, **options)
        inverse = KFACInverseLinearOperator(made_factors, damping=made.damping / share, use_exact_damping=True)
        inverse @ [torch.zeros_like(p) for p in parameters]  # builds the factors

    def solve(r: Parameters) -> Parameters:
        wide = [r[name].to(p) for name, p in zip(names, parameters, strict=True)]
        with torch.no_grad():
            return {name: (t / share).to(r[name]) for name, t in zip(names, inverse @ wide, strict=True)}

    return solve


class _Data:
    """The operator's data as curvlinops reads them: (x, y) with hard labels. S does not depend on the labels.

    `rooted`: for a loss that curvlinops does not know, ({x, y}, anything), as `_Rooted` reads them. `dtype`: of what is no
    index (None: its own).
    """

    def __init__(self, made: Operator, dtype: torch.dtype | None = None):
        self.made, self.dtype = made, dtype
        self.rooted = not isinstance(made.loss, (CrossEntropy, SquaredError))

    def inputs(self) -> Tensor:
        """Those of the first batch."""
        return self._wide(next(passes(self.made.batches, _device(self.made)))[0])

    def __iter__(self) -> Iterator[tuple[Tensor | dict[str, Targets], Targets]]:
        hard = isinstance(self.made.loss, CrossEntropy)
        for x, y, _ in passes(self.made.batches, _device(self.made)):
            x, y = self._wide(x), tuple(map(self._wide, y)) if isinstance(y, (tuple, list)) else self._wide(y)
            if self.rooted:
                yield {"x": x, "y": y}, x.new_zeros(len(x), 1)
            else:
                yield x, y.argmax(1) if hard and isinstance(y, Tensor) and y.dim() == 2 else y

    def _wide(self, t: Tensor) -> Tensor:
        return t.to(self.dtype) if self.dtype is not None and t.is_floating_point() else t


class _Rooted(nn.Module):
    """{x, y} to S_j^(1/2) z_j `(B, K)`, with S_j the Hessian of a loss by the logits z_j, a constant."""

    def __init__(self, model: nn.Module, loss: Curved):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, both: dict[str, Any]) -> Tensor:
        z = self.model(both["x"])
        with torch.no_grad():
            units = torch.eye(z.shape[1], dtype=z.dtype, device=z.device).expand(len(z), -1, -1)
            S = vmap(lambda u: self.loss.hessian(z.detach(), both["y"], u), 2, 2)(units)
            values, vectors = torch.linalg.eigh((S + S.mT) / 2)
            root = vectors * values.clamp_min(0).sqrt()[:, None, :]
        return (root.mT @ z[:, :, None])[:, :, 0]


def _block(made: Operator, rest: Parameters) -> tuple[Callable[[Parameters], Parameters], str]:
    """The inverse of the damped Gauss-Newton matrix restricted to `rest`, and whether it is "dense" or "diagonal"."""
    size = sum(p.numel() for p in rest.values())
    if size > DENSE:
        inverse = {name: 1 / (d.clamp_min(0) + made.damping) for name, d in _diagonal(made, rest).items()}
        return lambda r: {name: r[name] * d for name, d in inverse.items()}, "diagonal"
    matrix = _dense(made, rest)
    matrix.diagonal().add_(made.damping)
    factor = torch.linalg.cholesky(matrix)

    def solve(r: Parameters) -> Parameters:
        flat = torch.cat([r[name].flatten() for name in rest]).to(factor.dtype)
        x = torch.cholesky_solve(flat[:, None], factor)[:, 0].split([p.numel() for p in rest.values()])
        return {name: part.view(p.shape).to(p) for part, (name, p) in zip(x, rest.items(), strict=True)}

    return solve, "dense"


def _dense(made: Operator, rest: Parameters) -> Tensor:
    """(1/N) sum_j w_j J_j^T S_j J_j over `rest`, from per-sample Jacobians of the logits."""
    loss = made.loss
    assert isinstance(loss, Curved), "asked by `factored`"
    fixed = parameters_of(made.model)
    device = _device(made)
    wide = torch.float32 if device.type == "mps" else torch.float64
    size = sum(p.numel() for p in rest.values())
    total, count = torch.zeros(size, size, dtype=wide, device=device), 0

    def logits(p: Parameters, x: Tensor) -> Tensor:
        return logits_at(made.model, {**fixed, **p}, x[None])[0]

    rows = vmap(jacrev(logits, chunk_size=1), (None, 0))
    for x, y, w in passes(made.batches, device):
        with torch.no_grad():
            z = made.model(x)
        jacobian = torch.cat([t.flatten(2) for t in rows(rest, x).values()], 2)  # (n, K, size)
        curved = vmap(lambda u, z=z, y=y: loss.hessian(z, y, u), 2, 2)(jacobian)
        if w is not None:
            curved = curved * w.to(curved.dtype)[:, None, None]
        total += jacobian.flatten(0, 1).to(wide).T @ curved.flatten(0, 1).to(wide)
        count += len(x)
    return (total / count + total.T / count) / 2


def _diagonal(made: Operator, rest: Parameters) -> Parameters:
    """The diagonal by E[r * C r] for r of random signs (Bekas et al. 2007), on the operator restricted to `rest`."""
    only = Operator(made.model, made.batches, "ggn", made.loss, tuple(rest))
    generator = torch.Generator().manual_seed(SEED)
    total = {name: torch.zeros_like(p) for name, p in rest.items()}
    for _ in range(PROBES):
        r = {k: (torch.randint(0, 2, p.shape, generator=generator) * 2 - 1).to(p) for k, p in rest.items()}
        for name, t in only(r).items():
            total[name] += r[name] * t / PROBES
    return total


def _device(made: Operator) -> torch.device:
    return next(made.model.parameters()).device
