"""One forward and one activation-backward of a batch, then any number of contractions of its per-sample gradients g_j:

    gradient(omega) = (1/B) sum_j omega_j g_j        scores(v)_j = <v, g_j>

Every layer keeps its input a_j and the gradient delta_j of the sum of the unweighted losses with respect to its
output. For a linear map, g_j = delta_j a_j^T, so <v, g_j> = <delta_j, layer(a_j; v)> (the "ghost" dot product) needs no
g_j at all. A matching step wants the mean gradient b, then scores with v = grad_2 D(a, b), then b_w = gradient(omega):
all three come from one pass here. The sharing is ours.

The rule of memory (ours): a layer keeps its per-sample weight gradients instead of a_j and delta_j where they are
smaller (biases, norms, the first convolution), or where many positions share one weight and there is room: then all
contractions are matrix-vector products.

A network whose layers cannot be read so (proof.py asks once for each structure) is captured by replay.py: the same numbers, a
pass each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence.batches import at_once, check_fixed, check_tensors
from refluence.influence.differentiable import leaves, per_sample, plain_kernels
from refluence.influence.engines import Choice
from refluence.influence.layers import Piece, Room, Unsupported, pieces
from refluence.influence.losses import Loss, cross_entropy, take
from refluence.influence.parameters import check_direction, parameters_of
from refluence.influence.proof import believed, key_of, reached, remembered
from refluence.influence.replay import Replay
from refluence.influence.truth import finer, truth
from refluence.influence.watching import check_called, check_layers, check_rows, output_gradients, outside, watch, watched
from refluence.matching.statistics import Targets

ROOM = 2**29
ENGINES = ("auto", "ghost")  # of directional.py's


class Capture:
    """What one pass over a batch left behind: `losses` `(B,)`, and what `gradient` and `scores` contract."""

    choice = Choice("ghost")

    def __init__(self, parameters: dict[str, Tensor], losses: Tensor, chunks: list[list[Piece]], sizes: list[int]):
        self.losses = losses
        self._parameters = parameters
        self._chunks = chunks
        self._sizes = sizes

    def gradient(self, weights: Tensor | None = None) -> dict[str, Tensor]:
        """(1/B) sum_j omega_j g_j, by name. `weights` `(B,)` of mean 1; None: all ones."""
        if weights is not None and weights.shape != self.losses.shape:
            raise InputError(f"weights must have the shape {tuple(self.losses.shape)}, got {tuple(weights.shape)}")
        total: dict[str, Tensor] = {}
        start = 0
        for kept, size in zip(self._chunks, self._sizes, strict=True):
            w = None if weights is None else weights[start : start + size]
            start += size
            for piece in kept:
                parameter = self._parameters[piece.name]
                g = piece.gradient(w).view(parameter.shape).to(parameter.dtype)
                total[piece.name] = total[piece.name].add_(g) if piece.name in total else g
        n = len(self.losses)
        return {k: total[k].div_(n) if k in total else torch.zeros_like(p) for k, p in self._parameters.items()}

    def scores(self, v: dict[str, Tensor]) -> Tensor:
        """<v, g_j> for every j, `(B,)`. Names missing in v count as zero and cost nothing. At least float32."""
        check_direction(v, self._parameters)
        dtype = torch.promote_types(self.losses.dtype, torch.float32)  # bf16 has too few digits to rank instances
        parts = []
        for kept, size in zip(self._chunks, self._sizes, strict=True):
            part = torch.zeros(size, dtype=dtype, device=self.losses.device)
            for piece in kept:
                if piece.name in v:
                    part += piece.scores(v[piece.name])
            parts.append(part)
        return torch.cat(parts)


def capture(
    model: nn.Module,
    x: Tensor,
    y: Targets,
    *,
    loss: Loss = cross_entropy,
    names: Iterable[str] | None = None,
    chunk: int | None = None,
    room: int = ROOM,
    engine: str = "auto",
) -> Capture | Replay:
    """One forward and backward pass of a batch, kept for any number of contractions of its per-sample gradients g_j.

    Conv2d, Linear, the Hub's Conv1D, Embedding, GroupNorm, InstanceNorm, LayerNorm, RMSNorm and BatchNorm in eval mode are
    covered, and modules of one's own with a weight of one dimension (small_layers.py), where the first axis of the layer's
    input is the samples (or an embedding sees the same positions for all) and its parameters act only in its own call; every
    call of a tied layer counts. At the
    first batch of a network of this structure the contractions are compared with autograd (proof.py). The model is left as it
    was.

    Args:
        model: the network.
        x: inputs `(B, C, H, W)`.
        y: targets `(B, ...)`, or a tuple of such.
        loss: `loss(model(x), y)` gives losses `(B,)`.
        names: the parameters that count (default: all).
        chunk: samples a pass, so that activations stay in cache (default: 64, fewer of large images).
        room: bytes that per-sample weight gradients may take beyond where they are the smaller choice.
        engine: "auto" takes autograd, a pass for each contraction, where the layers cannot be read: a `Replay`, whose
            `choice` says which layer and why. "ghost" refuses instead.

    Returns:
        An object with `losses` `(B,)`; `gradient(omega)`, (1/B) sum_j omega_j g_j by name; `scores(v)`, <v, g_j> `(B,)`.

    Raises:
        InputError: no samples, an unknown engine or name, a network that draws at random (dropout that is on) or whose
            samples see each other (BatchNorm in train mode): they have no gradient of their own.
        Unsupported: with engine "ghost", the layer that cannot be read.

    Example:
        >>> import torch
        >>> from refluence import capture
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> kept = capture(model, x, y)
        >>> mean = kept.gradient()
        >>> mean["weight"].shape, kept.scores(mean).shape
        (torch.Size([3, 2]), torch.Size([4]))
    """
    if engine not in ENGINES:
        raise InputError(f"unknown engine '{engine}': choose one of {', '.join(ENGINES)}")
    check_tensors(x, y)
    if len(x) == 0:
        raise InputError("capture needs at least one sample, got an empty batch")
    check_fixed(model)
    chosen, size = tuple(parameters_of(model, names)), chunk or at_once(x)
    try:
        choice = Choice("ghost") if x.is_meta else check_covered(model, chosen, x, y, loss)
        if choice.paired and (size == 1 or len(x) % size == 1):
            raise Unsupported("a sample by itself has no gradient to be read: it sees itself beside it")
        return _layers(model, x, y, loss, chosen, size, room, choice.shared)
    except Unsupported as why:
        if engine == "ghost":
            raise
        return Replay(model, x, y, loss, chosen, size, str(why))


def check_covered(model: nn.Module, names: Sequence[str], x: Tensor, y: Targets, loss: Loss) -> Choice:
    """Raise `Unsupported`, with the layer and the reason, unless reading the layers gives the numbers of autograd.

    Whether a batch of one is no good, and which embeddings are shared. Asked once for each structure; `InputError` as
    `capture` raises it.
    """

    def ask(x: Tensor, y: Targets) -> tuple[Choice, bool | None]:
        want = truth(model, loss, names, x, y)  # first of all, whether instances have a gradient of their own
        _, wanted = watched(model, names)
        if want is None:
            return Choice("ghost"), None
        shared, widest = believed(lambda: check_layers(model, wanted, want.x))
        taken = believed(lambda: _layers(model, want.x, want.y, loss, names, len(want.x), ROOM, shared))
        for wrong in (want.wrong_gradient(taken.gradient), want.wrong_scores(taken.scores)):
            if wrong:
                raise Unsupported(outside(wrong[0]))
        return Choice("ghost", "", want.paired, shared, widest), bool(want.silent)

    def asked() -> tuple[Choice, bool | None]:
        with finer(model, x, y) as fine:
            return ask(*fine)

    return remembered(key_of("layers", model, names, loss, x, y), asked, model)


def readable(model: nn.Module, names: Sequence[str], x: Tensor, y: Targets, loss: Loss = cross_entropy) -> bool:
    """Whether the layers can be read, and by a compiled pass too, whose parameters are inputs; with no embedding shared."""
    try:
        choice = check_covered(model, names, x, y, loss)
    except Unsupported:
        return False
    return not choice.shared and reached(model, loss, names, x, y)


def _layers(
    model: nn.Module,
    x: Tensor,
    y: Targets,
    loss: Loss,
    names: Iterable[str],
    size: int,
    room: int,
    shared: frozenset[str],
) -> Capture:
    """The capture by the layers' inputs and output gradients."""
    parameters, wanted = watched(model, names, shared)
    losses, chunks = [], []
    budget = Room(room, len(x))
    with leaves(model, names), plain_kernels(model), torch.enable_grad():
        for start in range(0, len(x), size):
            part = x[start : start + size].detach()
            with watch(wanted, len(part)) as calls:
                each = loss(
                    model(part.requires_grad_() if part.is_floating_point() else part), take(y, slice(start, start + size))
                )
                per_sample(each, len(part))
                check_called(calls, wanted)
                check_rows(calls, wanted, len(part))
                chunks.append([p for c, d in output_gradients(each, calls, wanted) for p in pieces(c, d, budget)])
            losses.append(each.detach())
    return Capture(parameters, torch.cat(losses), chunks, [len(part) for part in losses])
