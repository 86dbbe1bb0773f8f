"""DC against its literal transcription, and IWD's weights on it against brute force in float64."""

import dataclasses
import math

import pytest
import torch
from literal_dc import matching_loss, outer_step

from refluence.compute import Compute
from refluence.condense.dc import METHOD, loops
from refluence.condense.loop import Distillation
from refluence.condense.norms import freeze_norm_statistics
from refluence.condense.real_side import ClassBatch, RealSide
from refluence.data.dataset import Dataset
from refluence.errors import InputError
from refluence.influence.distillation import RunningInfluence
from refluence.influence.weighting import Weighting, weights
from refluence.models import ModelSpec, build
from refluence.seeds import streams
from support.tiny_data import tiny_dataset

SPEC = ModelSpec("convnet2", (3, 8, 8), 3, width=6)
SETTINGS = METHOD.settings(3, "cpu").with_(iterations=6, real_batch=64, inner=2, initial="noise")


def run(weighting: Weighting, dataset: Dataset | None = None, spec: ModelSpec = SPEC, **changes) -> Distillation:
    work = Distillation(METHOD, SETTINGS.with_(**changes), weighting, dataset or tiny_dataset(), spec, streams(0))
    work.events = list(work.steps())
    return work


class Float64:
    """One matching step in float64: a network, synthetic and real images of three unequal classes."""

    def __init__(self, norm: str = "instance"):
        g = torch.Generator().manual_seed(3)
        self.net = build(dataclasses.replace(SPEC, norm=norm), g).double().eval()
        sizes = (7, 5, 6)
        self.real = [
            (torch.randn(n, 3, 8, 8, generator=g, dtype=torch.float64), torch.full((n,), c)) for c, n in enumerate(sizes)
        ]
        self.synthetic = [(torch.randn(2, 3, 8, 8, generator=g, dtype=torch.float64), torch.full((2,), c)) for c in range(3)]
        self.names = [n for n, p in self.net.named_parameters() if p.dim() > 1]

    @staticmethod
    def draw(n: int, g: torch.Generator) -> torch.Tensor:
        return torch.randn(n, 3, 8, 8, generator=g, dtype=torch.float64)

    def batches(self) -> list[ClassBatch]:
        found, start = [], 0
        for (xs, ys), (xr, yr) in zip(self.synthetic, self.real, strict=True):
            leaf = xs.clone().requires_grad_()
            bound = METHOD.statistic.at(self.net, self.net, METHOD.discrepancy, SETTINGS, torch.Generator(), Compute())
            a, positions = bound.synthetic(leaf, ys), torch.arange(start, start + len(yr))
            found.append(ClassBatch(torch.arange(2), [leaf], bound, a, None, (xs, ys), xr, yr, positions))
            start += len(yr)
        return found

    def match(self, weighting: Weighting, step: int = 0, table: RunningInfluence | None = None):
        side = RealSide(METHOD, weighting, table or RunningInfluence(18), settings=SETTINGS)
        return list(side.match(self.net, self.batches(), step, torch.Generator().manual_seed(0)))

    def per_sample(self, c: int) -> list[list[torch.Tensor]]:
        parameters = [p for p in self.net.parameters() if p.dim() > 1]
        x, y = self.real[c]
        loss = torch.nn.functional.cross_entropy
        return [list(torch.autograd.grad(loss(self.net(x[j : j + 1]), y[j : j + 1]), parameters)) for j in range(len(y))]

    def objective(self, c: int, weights: torch.Tensor) -> torch.Tensor:
        """M(w) of one class, by definition: D(a, sum_j w_j g_j)."""
        g = self.per_sample(c)
        b = {n: sum(w * gj[i] for w, gj in zip(weights, g, strict=True)) for i, n in enumerate(self.names)}
        return METHOD.discrepancy.value({n: t.detach() for n, t in self.batches()[c].a.items()}, b)


@pytest.mark.parametrize("norm", ["instance", "group", "batch", "layer", "none"])
def test_one_image_gradient_equals_the_literal_transcription(norm):
    case = Float64(norm)
    leaves = [(x.clone().requires_grad_(), y) for x, y in case.synthetic]
    loss = matching_loss(case.net, leaves, case.real)
    expected = torch.autograd.grad(loss, [x for x, _ in leaves])
    matches = case.match(Weighting())
    torch.testing.assert_close(sum(m.distance for m in matches), loss.detach(), rtol=1e-12, atol=0)
    for match, gradient in zip(matches, expected, strict=True):
        torch.testing.assert_close(match.image_gradient(), gradient, rtol=1e-9, atol=1e-14)


def test_several_outer_steps_equal_the_literal_loop():
    """Real batch larger than every class: both sides see the same instances, so only the arithmetic is compared."""
    data = tiny_dataset()
    work = run(Weighting(), data, iterations=3)
    g = streams(0)
    start = Distillation(METHOD, SETTINGS, Weighting(), data, SPEC, streams(0))
    images, labels = start.images.clone().requires_grad_(), start.labels
    net = build(SPEC, g("network", 0))
    steps = [torch.optim.SGD([images], lr=0.1, momentum=0.5), torch.optim.SGD(net.parameters(), lr=0.01)]

    def draw(c):
        members = data.train.members(c)
        return data.pixels(data.train, members), torch.full((len(members),), c)

    for t in range(3):
        loss = outer_step(net, images, labels, draw, 3, *steps, inner=2 if t < 2 else 0)
        assert abs(loss - work.events[t].loss) < 1e-4 * loss
    torch.testing.assert_close(work.images, images.detach(), rtol=1e-4, atol=1e-5)
    assert (images.detach() - start.images).abs().max() > 1e-3  # something was learned at all


@pytest.mark.parametrize("norm", ["instance", "group", "batch", "layer", "none"])
def test_influence_equals_central_differences_of_the_objective(norm):
    """I_j = dM/dw_j at uniform w (IWD eq. 8): float64, 1e-6 relative, classes of unequal size."""
    case, table, h = Float64(norm), RunningInfluence(18), 1e-5
    case.match(Weighting("influence"), table=table)
    start = 0
    for c, (_, y) in enumerate(case.real):
        n = len(y)
        uniform = torch.full((n,), 1 / n, dtype=torch.float64)
        for j in range(n):
            e = torch.zeros(n, dtype=torch.float64)
            e[j] = h
            difference = (case.objective(c, uniform + e) - case.objective(c, uniform - e)) / (2 * h)
            torch.testing.assert_close(table.raw[start + j], difference, rtol=1e-6, atol=1e-9)
        start += n


def test_inside_weights_match_the_weighted_gradient_by_brute_force():
    case = Float64()
    for c, match in enumerate(case.match(Weighting("influence", tau=0.5))):
        expected = case.objective(c, match.omega / len(match.omega))
        torch.testing.assert_close(match.distance, expected, rtol=1e-10, atol=0)
        assert match.omega.std() > 0.1


def test_outside_weights_are_algorithm_1_line_9_by_brute_force():
    case = Float64()
    for c, match in enumerate(case.match(Weighting("influence", tau=0.5, where="outside"))):
        n, g, batch = len(match.omega), case.per_sample(c), case.batches()[c]
        total = sum(
            w * METHOD.discrepancy.value(batch.a, dict(zip(case.names, gj, strict=True)))
            for w, gj in zip(match.omega / n, g, strict=True)
        )
        torch.testing.assert_close(match.distance, total.detach(), rtol=1e-10, atol=0)
        (expected,) = torch.autograd.grad(total, batch.leaves)
        torch.testing.assert_close(match.image_gradient(), expected, rtol=1e-8, atol=1e-14)


def test_inside_and_outside_differ_for_cosine():
    case = Float64()
    inside, outside = (case.match(Weighting("influence", where=w))[0].distance for w in ("inside", "outside"))
    assert abs(inside - outside) > 1e-3


@pytest.mark.parametrize("bag", ["class", "batch", "all"])
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_infinite_temperature_is_the_base_method(bag, where):
    if where == "outside":  # the base of `outside` is its own uniform form, not DC
        case = Float64()
        for c, match in enumerate(case.match(Weighting("influence", tau=float("inf"), bag=bag, where=where))):
            assert torch.equal(match.omega, torch.ones_like(match.omega)), c
        return
    plain, weighted = run(Weighting()), run(Weighting("influence", tau=float("inf"), bag=bag))
    torch.testing.assert_close(weighted.images, plain.images, rtol=1e-6, atol=1e-6)
    assert [e.ess for e in weighted.events] == [1.0] * 6


@pytest.mark.parametrize("kind", ["influence", "shuffled", "flipped", "loss"])
def test_infinite_temperature_gives_the_image_gradient_of_dc(kind):
    case = Float64()
    for plain, weighted in zip(case.match(Weighting()), case.match(Weighting(kind, tau=float("inf"))), strict=True):
        torch.testing.assert_close(weighted.image_gradient(), plain.image_gradient(), rtol=1e-9, atol=1e-14)


def test_temperature_towards_zero_picks_the_most_influential_instance():
    case, table = Float64(), RunningInfluence(18)
    for match in case.match(Weighting("influence", tau=1e-9), table=table):
        best = int(table.raw[match.batch.positions].argmax())
        assert match.omega[best] == len(match.omega)
        assert match.omega.sum() == len(match.omega)


def test_shuffled_weights_are_a_permutation_and_flipped_ones_prefer_the_other_end():
    case, table = Float64(), RunningInfluence(18)
    influence = case.match(Weighting("influence"), table=table)
    for kind in ("shuffled", "flipped", "loss"):
        for own, other in zip(influence, case.match(Weighting(kind)), strict=True):
            if kind == "shuffled":
                torch.testing.assert_close(other.omega.sort().values, own.omega.sort().values, rtol=1e-12, atol=0)
            elif kind == "flipped":
                assert own.omega.argmax() == other.omega.argmin()
            else:
                losses = torch.nn.functional.cross_entropy(case.net(own.batch.x), own.batch.y, reduction="none")
                assert other.omega.argmax() == losses.argmax()


def test_refresh_reads_the_running_means_between_measurements():
    case, table = Float64(), RunningInfluence(18)
    weighting = Weighting("influence", refresh=3)
    first = case.match(weighting, 0, table)
    second = case.match(weighting, 1, table)
    assert table.visits.tolist() == [1] * 18
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a.omega, b.omega, rtol=1e-6, atol=1e-8)
    case.match(weighting, 3, table)
    assert table.visits.tolist() == [2] * 18


def test_while_weights_warm_up_scores_are_measured_and_the_mean_is_the_plain_one():
    case, table = Float64(), RunningInfluence(18)
    weighting = Weighting("influence", warmup=2 / SETTINGS.iterations)
    plain = case.match(Weighting(), 1)
    for step in (0, 1):
        for early, base in zip(case.match(weighting, step, table), plain, strict=True):
            assert early.omega is None
            torch.testing.assert_close(early.distance, base.distance, rtol=1e-12, atol=0)
    assert table.visits.tolist() == [2] * 18
    for late, weighted in zip(case.match(weighting, 2, table), case.match(Weighting("influence"), 2), strict=True):
        torch.testing.assert_close(late.omega, weighted.omega, rtol=0, atol=0)


def test_outside_weights_warm_up_at_their_own_distance():
    case = Float64()
    outside = {"where": "outside", "warmup": 1 - 1 / SETTINGS.iterations}
    even = case.match(Weighting("influence", where="outside", tau=math.inf), 0)
    for early, base in zip(case.match(Weighting("influence", **outside), 0), even, strict=True):
        torch.testing.assert_close(early.distance, base.distance, rtol=1e-12, atol=0)
        torch.testing.assert_close(early.image_gradient(), base.image_gradient(), rtol=1e-9, atol=1e-12)


def test_memory_blends_the_running_means_into_the_scores():
    case, table = Float64(), RunningInfluence(18)
    plain = case.match(Weighting("influence"), table=table)
    same = case.match(Weighting("influence", memory=0.9), table=table)  # the mean of two equal scores is the score
    for a, b in zip(plain, same, strict=True):
        torch.testing.assert_close(a.omega, b.omega, rtol=1e-6, atol=1e-8)
    table.standardised[:7] = torch.linspace(-1, 1, 7)
    table.visits.fill_(10**9)
    remembered = case.match(Weighting("influence", memory=0.999), table=table)[0].omega
    assert remembered.argsort().tolist() == list(range(7))


@pytest.mark.parametrize("bag", ["class", "batch", "all"])
def test_a_bag_is_standardised_as_a_whole_and_weights_have_mean_one_in_it(bag):
    case, table = Float64(), RunningInfluence(18)
    matches = case.match(Weighting("influence", bag=bag), table=table)
    again = case.match(Weighting("influence", bag=bag, refresh=2), 1, table)  # from the running means alone
    for a, b in zip(matches, again, strict=True):
        torch.testing.assert_close(a.omega, b.omega, rtol=1e-6, atol=1e-8)
    whole = torch.cat([m.omega for m in matches])
    groups = [m.omega for m in matches] if bag == "class" else [whole]
    for omega in groups:
        torch.testing.assert_close(omega.mean(), torch.ones((), dtype=torch.float64))
    if bag != "class":
        expected = weights(table.raw, Weighting("influence"))
        torch.testing.assert_close(whole, expected, rtol=1e-6, atol=1e-8)
        assert abs(float(matches[0].omega.mean()) - 1) > 1e-3  # classes compete


def test_the_implicit_term_is_zero_for_dc_and_asking_for_it_alone_says_so():
    with pytest.raises(InputError, match="zero for dc"):
        run(Weighting("influence", terms="implicit"))
    for a, b in zip(*(Float64().match(Weighting("influence", terms=t)) for t in ("explicit", "both")), strict=True):
        assert torch.equal(a.omega, b.omega)


def test_loops_of_the_published_table_and_between_its_entries():
    assert [loops(n) for n in (1, 10, 20, 30, 40, 50)] == [(1, 1), (10, 50), (20, 25), (30, 20), (40, 15), (50, 10)]
    assert [loops(n) for n in (2, 9, 15, 45, 200)] == [(2, 50), (9, 50), (10, 50), (40, 15), (50, 10)]
    assert METHOD.settings(10, "paper").iterations == 10_000
    assert METHOD.settings(10, "paper").real_batch == 256


@pytest.mark.parametrize(
    "changes",
    [{"initial": "real"}, {"augmentation": "color_crop_cutout_flip_scale_rotate"}, {"allocation": "proportional"}],
)
def test_options_of_the_loop_change_the_run_and_stay_finite(changes):
    plain, other = run(Weighting()), run(Weighting(), **changes)
    assert other.images.isfinite().all()
    assert plain.images.shape != other.images.shape or not torch.equal(plain.images, other.images)
    if "allocation" in changes:
        assert other.labels.bincount().tolist() == [5, 3, 1] or other.labels.bincount().tolist() == [4, 3, 2]


def test_batch_norm_is_frozen_while_matching_and_trains_between():
    work = run(Weighting("influence"), spec=dataclasses.replace(SPEC, norm="batch"))
    norms = [m for m in work.net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    freeze_norm_statistics(work.net, work.dataset, work.members, streams(0)("norm-batch", 99), "cpu")
    before = [n.running_mean.clone() for n in norms]
    list(work.real.match(work.net, work._class_batches(), 0, torch.Generator()))
    assert len(norms) == 2
    assert all(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))
    work.networks.advance(0, work.synthetic)
    assert not any(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))


@pytest.mark.parametrize("kind", ["uniform", "influence", "shuffled"])
@pytest.mark.parametrize("stop", [1, 4])
def test_a_stopped_run_resumes_to_the_same_bits(kind, stop):
    whole = run(Weighting(kind, refresh=2))
    part = Distillation(METHOD, SETTINGS, Weighting(kind, refresh=2), tiny_dataset(), SPEC, streams(0))
    for _ in zip(range(stop), part.steps(), strict=False):
        pass
    state = {k: v.clone() for k, v in part.state().items()}
    resumed = Distillation(METHOD, SETTINGS, Weighting(kind, refresh=2), tiny_dataset(), SPEC, streams(0))
    resumed.restore(state)
    list(resumed.steps())
    assert torch.equal(resumed.images, whole.images)
    assert torch.equal(resumed.table.raw, whole.table.raw)
