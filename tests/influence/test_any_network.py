"""Never a wrong number in silence: random networks, every engine against autograd of each instance alone, in float64.

A number that is returned equals the truth to 1e-8, or the network is refused (`Unsupported`, `InputError`). Where instances
couple or are random in eval mode nothing is returned at all. The model is left as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.influence import Scorer, Unsupported, capture, cross_entropy, scores
from support.blocks import COUPLED, HOOKED, ODD, PLAIN
from support.brute_force import flat
from support.draws import generator
from support.random_networks import ALTERED, KINDS, LATER, Network, Spec, alone, build, randn, specs, together

EXACT = 1e-8
ANSWERED = {*PLAIN, *ODD, *ALTERED}
EXAMPLES = {kind: 3 if kind in ODD else 1 for kind in KINDS}  # networks that are drawn around a block
MANY = 6  # times as many before a release


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_right_or_refused(kind):
    drawn = draw(kind, EXAMPLES[kind], derandomize=True, database=None)
    assert drawn["networks"] >= EXAMPLES[kind], dict(drawn)
    assert drawn["answered"] > 0 or kind not in ANSWERED, dict(drawn)


@pytest.mark.release
@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_networks_that_are_drawn_anew_are_right_or_refused(kind):
    draw(kind, MANY * EXAMPLES[kind], database=None, print_blob=True)


def draw(kind: str, count: int, **how) -> Counter[str]:
    """Hold `count` networks with this block to the truth; what was asked and answered."""
    drawn: Counter[str] = Counter()

    @settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        **how,
    )
    @given(specs(kind))
    def holds(spec):
        assert kind in spec.kinds
        assert faults(spec, drawn) == [], dict(drawn)

    holds()
    return drawn


def test_at_least_300_networks_are_drawn():
    assert sum(EXAMPLES.values()) >= 300


@pytest.mark.parametrize("kind", [*PLAIN, *ODD, *HOOKED, *COUPLED])
def test_only_the_coupled_blocks_couple(kind):
    net = build(Spec((kind,)))
    one, all_ = alone(net, *net.batches[0]), together(net, *net.batches[0])
    apart = max(float((one[k] - all_[k]).abs().max()) for k in one) / max(float(g.abs().max()) for g in one.values())
    assert (apart > 1e-4) if kind in COUPLED else (apart < 1e-12)


class Gated(nn.Module):
    """A weight that is used again behind a gate, which starts at zero as in ReZero and LoRA."""

    def __init__(self):
        super().__init__()
        self.inner, self.gate, self.head = nn.Linear(4, 4), nn.Parameter(torch.zeros(())), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.gate * F.linear(torch.tanh(self.inner(x)), self.inner.weight))


class Seldom(Gated):
    """The same behind a gate that only some samples open."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + (x[:, :1] > 5) * F.linear(torch.tanh(self.inner(x)), self.inner.weight))


class Sorted(Gated):
    """A layer that sees the samples in the order of their first value."""

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].argsort()
        return self.head(torch.tanh(self.inner(x[order]))[order.argsort()])


def right(model: nn.Module, scorer: Scorer, x: Tensor, y: Tensor) -> None:
    """Scores and a capture of `x` along all parameters but the gate are those of autograd."""
    v = {k: t for k, t in direction(model, generator(5)).items() if k != "gate"}
    each = alone(Network(model, cross_entropy, []), x, y)
    want = sum((each[k] * t).flatten(1).sum(1) for k, t in v.items())
    for got in (scorer(x, y, v), capture(model, x, y, names=list(v)).scores(v)):
        torch.testing.assert_close(got, want, rtol=EXACT, atol=EXACT)
    got = capture(model, x, y, names=list(v)).gradient()
    torch.testing.assert_close(flat(got), flat({k: each[k].mean(0) for k in v}), rtol=EXACT, atol=EXACT)


def six() -> tuple[Tensor, Tensor]:
    """Six samples in the order of their first value, below 5."""
    x = randn(6, 4, generator=generator(0))
    x[:, 0] = torch.arange(6) / 2
    return x, torch.arange(6) % 3


def test_a_gate_that_opens_after_the_first_calls():
    model, (x, y) = Gated().double().eval(), six()
    scorer = Scorer(model)
    for gate in (0, 0, 0.7, 0.7, 0.7):
        model.gate.data.fill_(gate)
        right(model, scorer, x, y)


def test_a_weight_that_the_last_sample_alone_uses_again():
    model, (x, y) = Seldom().double().eval(), six()
    scorer = Scorer(model)
    right(model, scorer, x, y)
    x[5, 0] = 6
    right(model, scorer, x, y)


def test_rows_that_are_sorted_where_they_are_in_order_at_first():
    model, (x, y) = Sorted().double().eval(), six()
    scorer = Scorer(model)
    right(model, scorer, x, y)
    right(model, scorer, x[[2, 0, 1, 5, 4, 3]], y)


@pytest.mark.parametrize("kind", ["batch norm, then tokens", "instance norm, then tokens", "squeezed", "transformer"])
def test_a_sample_by_itself(kind):
    net = build(Spec((kind,)))
    x, y = net.batches[0]
    right(net.model, Scorer(net.model), x[:1], y[:1])


def test_a_layer_that_is_compiled_by_itself():
    net = build(Spec(("conv",)))
    net.model.block0.compile(backend="eager")
    right(net.model, Scorer(net.model), *net.batches[0])


def faults(spec: Spec, drawn: Counter[str]) -> list[str]:
    """What each door did wrong, one line each."""
    net = build(spec)
    drawn["networks"] += 1
    g = generator(spec.seed + 1)
    v = direction(net.model, g)
    some = {k: v[k] for k in subset(list(v), g)}
    one = some if spec.seed % 2 else v
    weights = 2 * torch.rand(spec.n, generator=g, dtype=torch.float64)
    (x, y), model, options = net.batches[0], net.model, {"loss": net.loss}
    truth, odd_chunk = Truth(net, spec, 0), spec.n - 1  # the last chunk holds one sample
    found, before = [], state(model)

    def hold(door: str, answer: Callable[[], Tensor], want: Tensor, size: float, defined: bool) -> None:
        drawn["doors"] += 1
        try:
            got = answer()
        except (Unsupported, InputError) as e:
            drawn["refused"] += 1
            if defined and (spec.plain or (spec.answered and door.startswith("auto"))):
                found.append(f"{door}: refused ({type(e).__name__}: {e})")
        except Exception as e:
            found.append(f"{door}: {type(e).__name__}: {str(e).strip().partition(chr(10))[0][:150]}")
        else:
            drawn["answered"] += 1
            error = float((got - want).abs().max() / size)
            if not defined:
                found.append(f"{door}: answered, though instances have no gradient of their own")
            elif not error <= EXACT:
                found.append(f"{door}: wrong by {error:.1e}")
        if state(model) != before:
            found.append(f"{door}: left another model behind")

    hold("auto", lambda: scores(model, x, y, v, **options), *truth.scores(v))
    hold("auto, some", lambda: scores(model, x, y, some, chunk=odd_chunk, **options), *truth.scores(some))
    for engine in ("ghost", "forward" if spec.seed % 3 else "double_backward"):
        hold(engine, partial(scores, model, x, y, one, engine=engine, **options), *truth.scores(one))
    taken = cache(partial(capture, model, x, y, **options))
    hold("capture, scores", lambda: taken().scores(one), *truth.scores(one))
    hold("capture", lambda: flat(taken().gradient()), *truth.mean(v))
    hold("capture, weighted", lambda: flat(taken().gradient(weights)), *truth.mean(v, weights))
    part = partial(capture, model, x, y, names=list(some), chunk=odd_chunk, **options)
    hold("capture, some", lambda: flat(part().gradient()), *truth.mean(some))
    scorer = Scorer(model, **options)
    hold("auto, Scorer", lambda: scorer(x, y, v), *truth.scores(v))
    LATER[spec.later](model)
    before, v = state(model), direction(model, g)
    hold(f"auto, Scorer, then {spec.later}", lambda: scorer(*net.batches[1], v), *Truth(net, spec, 1).scores(v))
    return found


class Truth:
    """What is right for one batch: numbers, the size that errors are relative to, and whether they are defined."""

    def __init__(self, net: Network, spec: Spec, batch: int):
        self.alone, self.random = alone(net, *net.batches[batch]), spec.random
        self.size = max(float(g.abs().max()) for g in self.alone.values())
        apart = {k: float((g - self.alone[k]).abs().max()) for k, g in together(net, *net.batches[batch]).items()}
        self.coupled = {k for k, difference in apart.items() if difference > 1e-9 * self.size}

    def scores(self, v: dict[str, Tensor]) -> tuple[Tensor, float, bool]:
        return self._of(sum((self.alone[k] * t).flatten(1).sum(1) for k, t in v.items()), v)

    def mean(self, names: Iterable[str], weights: Tensor | None = None) -> tuple[Tensor, float, bool]:
        each = {k: self.alone[k] if weights is None else torch.einsum("n,n...->n...", weights, self.alone[k]) for k in names}
        return self._of(flat({k: g.mean(0) for k, g in each.items()}), each)

    def _of(self, want: Tensor, names: Iterable[str]) -> tuple[Tensor, float, bool]:
        return want, max(float(want.abs().max()), 1e-5 * self.size), not self.random and not self.coupled & set(names)


def direction(model: nn.Module, g: torch.Generator) -> dict[str, Tensor]:
    return {k: randn(*p.shape, generator=g) for k, p in model.named_parameters()}


def subset(names: list[str], g: torch.Generator) -> list[str]:
    """In the model's order, at least one."""
    order = torch.randperm(len(names), generator=g).tolist()
    return [names[i] for i in sorted(order[: 1 + int(torch.randint(len(names), (1,), generator=g))])]


def state(model: nn.Module) -> list[object]:
    """What every door leaves as it was, but for values: which tensors, their flags and gradients, modes, hooks."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    hooks = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()]
    return [(name, id(t), t.requires_grad, t.grad is None) for name, t in tensors] + hooks
