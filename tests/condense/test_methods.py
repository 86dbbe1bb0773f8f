"""Every method against its published equation in float64, and every weight kind on every method."""

import pytest
import torch

from refluence.condense.real_side import RealSide
from refluence.errors import InputError
from refluence.influence.distillation import RunningInfluence
from refluence.influence.weigher import carried
from refluence.influence.weighting import KINDS, OF_TRANSFERS, Weighting
from refluence.jobs.catalogue import methods, parse_arm
from refluence.matching import augment
from refluence.models import ModelSpec
from refluence.run import checkpoint
from refluence.seeds import streams
from support import literal_methods as literal
from support.small_methods import METHODS, SMALL, UNIFORM, in_float64, run, small, start, wide
from support.tiny_data import tiny_dataset

IDC_LIKE = ("idc", "idc1", "dream", "pdd")
GRADIENT = (*IDC_LIKE, "dc", "dsa")


def literal_loss(name: str, work, c: int, draw, leaf: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The objective of one class, from its page alone. `leaf`: the images as the method keeps them."""
    data, s, net = work.dataset, work.settings, work.net
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (data.mean, data.std))
    x = (leaf - mean) / std if name in (*IDC_LIKE, "ncfm") else leaf
    x = literal.enlarged(x, 2) if s.factor == 2 else x
    real = data.pixels(data.train, data.train.members(c))
    if draw is not None:
        x, real = (work.augmentation.apply(draw, side) for side in (x, real))
    if name in ("dc", "dsa"):
        return literal.row_cosine(net, x, real, c)
    if name in IDC_LIKE:
        return literal.squared_convolutions(net, x, real, c)
    if name == "dm":
        return literal.mean_embedding(net, x, real, c)
    if name == "idm":
        return literal.mean_embedding(net, x, real, c) + 50 * work.networks.accuracy * literal.cross_entropy(net, x, c)
    return literal.characteristic(net, x, real, t) + literal.cross_entropy(work.networks.final, x, c)


@pytest.mark.parametrize("name", METHODS)
def test_one_step_image_gradient_is_that_of_the_published_equation(name, monkeypatch):
    """Real batches larger than the classes: both sides see the same instances. Stage 1 for pdd: earlier images take part."""
    in_float64(monkeypatch)
    work = start(name, data=wide(), iterations=6, cluster_every=0)
    step = 0
    while (name == "pdd" and work.synthetic.now < 1) or (name == "idm" and not work.networks.accuracy):
        next(work.steps())
        step = work.step
        work.synthetic.begin(min(1, step // 2) if name == "pdd" else 0)
        work.networks.ready(step, work.synthetic)
    if step == 0:
        work.networks.ready(0, work.synthetic)
    draws, frequencies = work.rng("siamese", work.step), work.rng("frequencies", work.step)
    for c, match in enumerate(work.real.match(work.net, work._class_batches(), work.step, torch.Generator())):
        rows, (leaf, *_) = work.synthetic.leaves(c)
        draw = work.augmentation.draw(draws, (8, 8)) if work.augmentation is not None else None
        t = torch.randn(7, 4 * 2 * 2, generator=frequencies).double() if name == "ncfm" else None
        loss = literal_loss(name, work, c, draw, leaf, t)
        (expected,) = torch.autograd.grad(loss, leaf)
        assert expected.abs().max() > 0
        torch.testing.assert_close(match.image_gradient(), expected, rtol=1e-8, atol=1e-12 * float(expected.abs().max()))
        assert torch.equal(rows, match.batch.rows)
        if name == "pdd":
            assert len(rows) == 2, "the image of the first stage takes part"


def test_idcs_distance_on_grey_and_on_large_images_is_literal(monkeypatch):
    in_float64(monkeypatch)
    work = start("idc", data=wide(), distance="l1-conv", augmentation="none")
    work.networks.ready(0, work.synthetic)
    assert methods()["idc"].settings(3, "paper", (1, 28, 28)).distance == "l1-conv"
    for c, match in enumerate(work.real.match(work.net, work._class_batches(), 0, torch.Generator())):
        _, (leaf,) = work.synthetic.leaves(c)
        mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (work.dataset.mean, work.dataset.std))
        x, real = literal.enlarged((leaf - mean) / std, 2), work.dataset.pixels(work.dataset.train, match.batch.positions)
        (expected,) = torch.autograd.grad(literal.absolute_convolutions(work.net, x, real, c), leaf)
        torch.testing.assert_close(match.image_gradient(), expected, rtol=1e-8, atol=1e-12)


def test_learned_soft_labels_have_the_gradient_of_the_literal_objective(monkeypatch):
    """Cross-entropy with the softmax of the logits as its targets, through both derivatives, by pixels and by logits."""
    in_float64(monkeypatch)
    work = start("dc", data=wide(), label_lr=0.5)
    work.networks.ready(0, work.synthetic)
    for c, match in enumerate(work.real.match(work.net, work._class_batches(), 0, torch.Generator())):
        _, leaves = work.synthetic.leaves(c)
        x, logits = leaves
        real = work.dataset.pixels(work.dataset.train, match.batch.positions)
        expected = torch.autograd.grad(literal.row_cosine_soft(work.net, x, logits, real, c), leaves)
        for found, gradient in zip(match.gradients(), expected, strict=True):
            torch.testing.assert_close(found.to(gradient), gradient, rtol=1e-8, atol=1e-12)
        assert expected[1].abs().max() > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if Weighting(kind).scored and kind not in OF_TRANSFERS])
@pytest.mark.parametrize("name", METHODS)
def test_every_weight_kind_runs_on_every_method(name, kind):
    work = run(name, Weighting(kind, tau=0.5), iterations=3)
    plain = run(name, iterations=3)
    assert work.images.isfinite().all()
    assert not torch.equal(work.images, plain.images)
    assert all(0 < event.ess < 1 for event in work.events)


@pytest.mark.parametrize("kind", OF_TRANSFERS)
def test_weights_of_transfers_are_refused(kind):
    with pytest.raises(InputError, match=f"{kind} weights are of transfers, by the student's training: dm does not take them"):
        run("dm", Weighting(kind), iterations=1)


@pytest.mark.parametrize("kind", ["influence", "difficulty"])
@pytest.mark.parametrize("name", METHODS)
def test_uniform_weights_give_the_base_method_back(name, kind, monkeypatch):
    in_float64(monkeypatch)
    data, weighting = wide(), Weighting(kind, tau=float("inf"))
    plain, weighted = run(name, data=data, iterations=4), run(name, weighting, data=data, iterations=4)
    scale = float((plain.images - start(name, data=data, iterations=4).images).abs().max())
    assert scale > 1e-4
    torch.testing.assert_close(weighted.images, plain.images, rtol=0, atol=1e-8 * scale)
    assert [event.ess for event in weighted.events] == [1.0] * 4


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {"bag": bag}) for name in METHODS for bag in ("batch", "all")]
    + [(name, {"terms": "both"}) for name in METHODS if name not in ("dc", "dsa", "dm")],
)
def test_uniform_weights_give_the_base_method_back_where_batches_are_held(name, options, monkeypatch):
    """Weights that need every class at once change nothing else: each class is matched as it is when its turn comes."""
    in_float64(monkeypatch)
    data, weighting = wide(), Weighting("influence", tau=float("inf"), **options)
    plain, weighted = run(name, data=data, iterations=3), run(name, weighting, data=data, iterations=3)
    scale = float((plain.images - start(name, data=data, iterations=3).images).abs().max())
    torch.testing.assert_close(weighted.images, plain.images, rtol=0, atol=1e-8 * scale)


@pytest.mark.parametrize("where", ["inside", "outside"])
@pytest.mark.parametrize("name", METHODS)
def test_uniform_weights_give_the_gradient_of_the_base_method(name, where, monkeypatch):
    """In float64. Outside, the squared distance has the gradient of the inside form (its spread does not depend on S)."""
    in_float64(monkeypatch)
    found = []
    for weighting in (Weighting(), Weighting("influence", tau=float("inf"), where=where)):
        work = start(name, weighting, wide())
        work.networks.ready(0, work.synthetic)
        work.batches.refresh(work.net, 0, True, work.rng("clusters", 0), work.device)
        matches = work.real.match(work.net, work._class_batches(), 0, torch.Generator())
        found.append([match.image_gradient() for match in matches])
    same = where == "inside" or name in (*IDC_LIKE, "dm", "idm")
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-10 * float(a.abs().max())) is same


@pytest.mark.parametrize("name", METHODS)
def test_influence_is_the_derivative_of_the_objective_by_each_weight(name, monkeypatch):
    """Central differences of D(a, sum_j w_j phi_j) at uniform w (IWD eq. 8), float64, 1e-6 relative."""
    in_float64(monkeypatch)
    work = start(name, Weighting("influence"), wide())
    work.networks.ready(0, work.synthetic)
    work.batches.refresh(work.net, 0, True, work.rng("clusters", 0), work.device)
    h = 1e-5
    for match in work.real.match(work.net, work._class_batches(), 0, torch.Generator()):
        batch, n = match.batch, len(match.batch.y)
        for j in range(n):
            ends = []
            for sign in (1, -1):
                omega = torch.ones(n, dtype=torch.float64)
                omega[j] += sign * h * n  # omega = n w
                b = batch.bound.measure(batch.x, batch.y).gradient(omega)
                ends.append(float(work.distance.value({k: v.detach() for k, v in batch.a.items()}, b)))
            expected = torch.tensor((ends[0] - ends[1]) / (2 * h), dtype=torch.float64)
            torch.testing.assert_close(match.terms.explicit[j], expected, rtol=1e-6, atol=1e-7 * float(ends[0] + 1))


@pytest.mark.parametrize("kind", ["uniform", "influence"])
@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_run_resumes_to_the_same_bits(name, kind, tmp_path):
    weighting = Weighting(kind, carry=0.5 if kind == "influence" else 0.0)
    assert resumed(tmp_path, 4, name, weighting) == bits(run(name, weighting))


@pytest.mark.parametrize("after", range(1, 6))
def test_a_learned_rate_resumes_to_the_same_bits(after, tmp_path):
    spec = ModelSpec("convnet2", (3, 8, 8), 2, width=9)  # several layers, whose sums round by their order
    options = {"lr_lr": 0.01, "label_lr": 0.1, "inner": 5}
    assert resumed(tmp_path, after, "dc", UNIFORM, spec=spec, **options) == bits(run("dc", UNIFORM, spec=spec, **options))


def bits(work):
    """The whole state at the end, and what it makes of it."""
    return {**{name: t.tolist() for name, t in work.state().items()}, "rate": work.synthetic.rate}


def resumed(folder, after, *words, **options):
    """The same of a run that stops after so many steps, goes through a checkpoint and ends."""
    part = start(*words, **options)
    for _ in zip(range(after), part.steps(), strict=False):
        pass
    checkpoint.save(folder, part.state(), {})
    again = start(*words, **options)
    again.restore(checkpoint.load(folder)[0])
    list(again.steps())
    return bits(again)


@pytest.mark.parametrize("name", METHODS)
def test_published_numbers_start_and_step(name):
    """Size `paper` on a tiny set: its batches, rates and distances, over two networks that train in between, and two stages."""
    method, _ = small(name)
    settings = method.settings(10, "paper", (3, 32, 32))
    assert settings.iterations >= 10_000
    short = {"iterations": 4, "outer": min(2, settings.outer), "stages": min(2, settings.stages), "ipc": 5}
    short |= {"inner": min(settings.inner, 2), "pretrain": 2, "stage_epochs": 1}
    fixed = {f: getattr(settings, f) for f in settings.__dataclass_fields__}
    work = run(name, Weighting("influence"), tiny_dataset((40, 40)), **{**fixed, **short})
    assert work.images.isfinite().all()
    assert work.synthetic.now == short["stages"] - 1


def test_one_image_step_a_class_moves_all_images_by_momentum():
    """IDC's optimiser, literally, with gradients that are given."""
    work = start("idc1", iterations=2, outer=5, inner=1)
    before, given = work.synthetic.pixels.detach().clone(), []
    real_match = RealSide.match

    def noted(self, *words):
        for match in real_match(self, *words):
            rows, gradient = match.batch.rows, match.image_gradient().detach()
            given.append((rows, gradient))
            match.gradients = lambda gradient=gradient: [gradient]
            yield match

    RealSide.match = noted
    try:
        list(work.steps())
    finally:
        RealSide.match = real_match
    queue = iter(given)

    def gradient_of(c, pixels):
        rows, gradient = next(queue)
        whole = torch.zeros_like(pixels)
        whole[rows] = gradient
        return whole

    expected = literal.sgd_class_by_class(before, gradient_of, 2, work.settings.image_lr, 0.5, 2)
    torch.testing.assert_close(work.synthetic.pixels.detach(), expected.clamp(0, 1), rtol=1e-5, atol=1e-7)


def test_progressive_stages_leave_earlier_images_as_they_were():
    work = start("pdd", iterations=9)
    seen = {}
    for event in work.steps():
        for stage in range(work.synthetic.now):
            rows = work.synthetic.stage == stage
            values = work.synthetic.pixels.detach()[rows]
            assert torch.equal(values, seen.setdefault((stage, work.synthetic.now), values.clone())), event.step
    assert work.synthetic.now == 2
    assert work.synthetic.stage.tolist() == [0, 1, 2] * 2
    assert sorted(seen) == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "pdd"])
def test_any_base_can_be_progressive(name):
    """With weights, too: the first two images of a class rest while the third is learned."""
    work, seen = start(name, Weighting("influence"), stages=2, iterations=4), []
    for _ in work.steps():
        seen.append(work.synthetic.pixels.detach().clone())
    assert work.synthetic.stage.tolist() == [0, 0, 1] * 2
    late = work.synthetic.stage == 1
    assert torch.equal(seen[1][~late], seen[3][~late])
    assert not torch.equal(seen[1][late], seen[3][late])
    with pytest.raises(InputError, match="stages is 4"):
        small(name, stages=4)


def test_the_implicit_term_needs_networks_that_train_on_real_data():
    for name in ("dc", "dsa", "dm"):
        with pytest.raises(InputError, match=f"zero for {name}"):
            start(name, Weighting("influence", terms="implicit"))
    work = run("idc", Weighting("influence", terms="both"), iterations=2)
    for event in work.events:
        assert len(event.implicit_by_class) == len(event.spread_by_class) == 2
        assert min(event.implicit_by_class) > 0


@pytest.mark.parametrize("name", GRADIENT)
def test_soft_labels_are_learned_through_the_gradient(name):
    work = run(name, label_lr=0.5, iterations=3)
    soft = work.synthetic.soft
    assert soft.shape == (len(work.labels), 2)
    assert soft.argmax(1).tolist() == work.labels.tolist()
    assert not torch.equal(soft, start(name, label_lr=0.5).synthetic.soft)
    assert start(name).synthetic.soft is None


def test_sample_difficulty_correction_adds_the_norm_of_the_synthetic_gradient(monkeypatch):
    in_float64(monkeypatch)
    gradients = {}
    for weight in (0.0, 0.3):
        work = start("dc", data=wide(), sdc=weight)
        work.networks.ready(0, work.synthetic)
        gradients[weight] = [m.image_gradient() for m in work.real.match(work.net, work._class_batches(), 0, torch.Generator())]
    for c in range(2):
        _, (leaf,) = work.synthetic.leaves(c)
        parts = [g for g in literal.gradients(work.net, leaf, c, True) if g.dim() > 1]
        (more,) = torch.autograd.grad(torch.cat([g.flatten() for g in parts]).norm(), leaf)
        torch.testing.assert_close(gradients[0.3][c] - gradients[0.0][c], 0.3 * more, rtol=1e-8, atol=1e-12)


def test_mirror_ascent_multiplies_the_weights_an_instance_had():
    """carry = 1 with scores that stay: omega after k visits is the softmax of k times the score."""
    work = start("dc", Weighting("influence", carry=1.0), data=tiny_dataset((9, 8)))
    work.networks.ready(0, work.synthetic)
    table = RunningInfluence(17)
    side = RealSide(work.method, Weighting("influence", carry=1.0), table, settings=work.settings)
    for visit in range(1, 4):
        for match in side.match(work.net, work._class_batches(), 0, streams(0)("x", 0)):
            scores = match.terms.scores.double()
            s = (scores - scores.mean()) / scores.std(correction=0)
            expected = len(s) * torch.softmax(visit * s, 0)
            torch.testing.assert_close(match.omega.double(), expected, rtol=1e-4, atol=1e-5)


def test_mirror_ascent_settles_where_old_and_new_are_in_balance():
    """With scores s that stay, omega goes to n softmax(s / (tau (1 - carry))) (docs/mathematics.md)."""
    scores, carry, tau = torch.tensor([-1.0, 0.2, 0.9, 1.4, -0.3], dtype=torch.float64), 0.6, 2.0
    weighting, log = Weighting("influence", carry=carry, tau=tau, standardise="none"), torch.zeros(5, dtype=torch.float64)
    for _ in range(80):
        omega, log = carried(scores, weighting, log, torch.Generator())
    torch.testing.assert_close(omega, 5 * torch.softmax(scores / (tau * (1 - carry)), 0), rtol=1e-10, atol=0)
    before = log.flip(0)
    plain, kept = carried(scores, weighting, before, torch.Generator())
    shuffled, kept_too = carried(scores, weighting.with_(kind="shuffled"), before, streams(0)("shuffled", 0))
    assert torch.equal(kept, kept_too), "what is carried on is not shuffled"
    assert not torch.equal(shuffled, plain)
    assert torch.equal(shuffled.sort().values, plain.sort().values)


def test_carried_weights_compete_over_the_whole_bag():
    weighting = Weighting("influence", carry=1.0, bag="batch")
    work = start("dc", weighting, data=tiny_dataset((9, 8)))
    work.networks.ready(0, work.synthetic)
    for visit in (1, 2):
        found = list(work.real.match(work.net, work._class_batches(), 0, torch.Generator()))
        scores = torch.cat([match.terms.scores for match in found]).double()
        s = (scores - scores.mean()) / scores.std(correction=0)
        omega = torch.cat([match.omega for match in found]).double()
        torch.testing.assert_close(omega, len(s) * torch.softmax(visit * s, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dc", "dm"])
def test_the_difficulty_rival_stresses_small_gradients(name):
    work = start(name, Weighting("difficulty"))
    work.networks.ready(0, work.synthetic)
    for match in work.real.match(work.net, work._class_batches(), 0, torch.Generator()):
        batch, norms = match.batch, []
        for x, y in zip(batch.x, batch.y, strict=True):
            parts = [g.flatten() for g in literal.gradients(work.net, x[None], int(y), False) if g.dim() > 1]
            norms.append(float(torch.cat(parts).norm()))
        order = torch.tensor(norms).argsort()
        assert torch.equal(match.omega.argsort(descending=True), order)


@pytest.mark.parametrize(
    ("strategy", "always"), [("flip_color_crop_scale_cutout", {"flip", "color", "cutout"}), ("crop_scale", set())]
)
def test_idc_augmentation_applies_some_always_and_one_of_the_rest(strategy, always):
    parsed = augment.parse(strategy, "I")
    seen = set()
    for seed in range(20):
        names = [name for name, _ in parsed.draw(torch.Generator().manual_seed(seed), (8, 8)).steps]
        assert always <= set(names)
        assert len(set(names) - always) == 1
        seen |= set(names)
        if always:
            assert names[:2] == ["flip", "color"]
            assert names[-1] == "cutout"
    assert seen == set(strategy.split("_"))


def test_settings_of_the_pages_follow_the_published_tables():
    from refluence.condense import dm, dream, idc, idc1, idm, ncfm, pdd

    assert dm.settings(10, "paper").image_lr == 1
    assert dm.settings(100, "paper").image_lr == 10
    assert idc.settings(1, "paper").image_lr == pytest.approx(5e-4)
    assert idc.settings(10, "paper", (1, 28, 28)).distance == "l1-conv"
    assert (idc.settings(10, "paper", (3, 224, 224)).factor, idc1.settings(10, "paper").factor) == (3, 1)
    assert dream.settings(10, "paper").cluster_every == 10
    assert (pdd.settings(10, "paper").stages, pdd.settings(3, "paper").stages) == (5, 3)
    assert pdd.settings(10, "paper").image_lr == idc.settings(2, "paper").image_lr
    assert (idm.settings(1, "paper").real_batch, idm.settings(50, "paper").calibration) == (5000, 10)
    assert (ncfm.settings(10, "paper").image_lr, ncfm.settings(10, "cpu").image_lr) == (0.001, 0.01)
    assert SMALL["iterations"] < dm.settings(10, "cpu").iterations


def test_a_plateau_halves_the_rate_as_pytorchs_scheduler_does():
    work = start("ncfm", plateau=2)
    rate = work.synthetic.optimiser.param_groups[0]
    twin = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate["lr"])
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(twin, factor=0.5, patience=2, threshold=1e-4)
    rates = []
    for loss in (3.0, 2.0, 2.0, 1.99999, 2.5, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.5):
        work.synthetic.watch(loss)
        scheduler.step(loss)
        rates.append(rate["lr"])
        assert rates[-1] == pytest.approx(twin.param_groups[0]["lr"])
    assert rates[-1] == pytest.approx(rates[0] / 8)


def test_the_whole_loss_is_watched_the_cross_entropy_too(monkeypatch):
    watched = []
    work = start("ncfm", iterations=2, calibration=3.0)
    monkeypatch.setattr(work.synthetic, "watch", watched.append)
    extras, match = [], RealSide.match

    def noted(self, *words):
        for found in match(self, *words):
            extras.append(float(found.batch.extra.detach()))
            yield found

    monkeypatch.setattr(RealSide, "match", noted)
    events = list(work.steps())
    assert min(extras) > 0.1
    both = [sum(extras[:2]), sum(extras[2:])]
    assert watched == pytest.approx([event.loss + extra for event, extra in zip(events, both, strict=True)])


@pytest.mark.parametrize("name", ["dc", "dsa"])
def test_the_learned_rate_descends_the_objective(name, monkeypatch):
    """dM/d log eta of the step after one inner step, against central differences of the whole step in float64."""
    in_float64(monkeypatch)

    def after(log_rate):
        work = start(name, data=wide(), iterations=3, outer=3, inner=1, net_batch=100, lr_lr=1e-9, image_lr=1e-12)
        work.synthetic.log_rate = log_rate
        steps = work.steps()
        next(steps)
        return work, next(steps).loss

    h = 1e-4
    log_rate = float(torch.tensor(0.1).log())
    work, _ = after(log_rate)
    expected = (after(log_rate + h)[1] - after(log_rate - h)[1]) / (2 * h)
    assert abs(expected) > 1e-3
    found = (log_rate - work.synthetic.log_rate) / 1e-9
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_learned_rate_is_kept_over_a_stop_and_moves():
    options = {"lr_lr": 0.01, "iterations": 6, "outer": 3}
    whole = run("dc", **options)
    assert whole.synthetic.rate != whole.settings.net_lr
    part = start("dc", **options)
    for _ in zip(range(2), part.steps(), strict=False):
        pass
    resumed = start("dc", **options)
    resumed.restore({k: v.clone() for k, v in part.state().items()})
    list(resumed.steps())
    assert resumed.synthetic.rate == whole.synthetic.rate
    assert torch.equal(resumed.images, whole.images)


OTHER = {  # another value of each setting that belongs to networks or statistics
    "outer": 1, "inner": 1, "net_lr": 0.05, "net_batch": 3, "net_momentum": 0.5, "net_weight_decay": 0.1, "cutmix": 1.0,
    "net_augmentation": "flip", "pretrain": 1, "pool": 2, "pool_every": 1, "lr_lr": 0.1, "sdc": 0.5, "frequencies": 5,
}  # fmt: skip

OF_TRAINING = ("outer", "inner", "lr_lr", "net_lr", "net_batch", "net_augmentation")


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_of_networks_and_statistics_changes_the_run_or_is_refused(name):
    method = methods()[name]
    plain = run(name)
    for setting, value in OTHER.items():
        if method.idle(setting):
            with pytest.raises(InputError, match=f"{setting}={value} means nothing for {name}"):
                parse_arm(f"{name}:{setting}={value}")
        elif name != "dm" or setting not in OF_TRAINING:  # dm: networks that never train
            assert not torch.equal(run(name, **{setting: value}).images, plain.images), setting


@pytest.mark.parametrize("iterations", [5, 7, 20])
def test_every_stage_is_learned_whatever_the_number_of_steps(iterations):
    work = start("pdd", iterations=iterations, ipc=5, stages=5, outer=10)
    begun = work.images.clone()
    stages = []
    for _ in work.steps():
        stages.append(work.synthetic.now)
    assert sorted(set(stages)) == [0, 1, 2, 3, 4]
    assert ((work.images - begun).flatten(1).abs().amax(1) > 0).all()
    with pytest.raises(InputError, match="iterations is 3, but there are 5 stages"):
        start("pdd", iterations=3, ipc=5, stages=5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [("dm", {"label_lr": 1.0}, "label_lr means nothing for dm"), ("idc", {"lr_lr": 1.0}, "lr_lr means nothing for idc"),
     ("dc", {"lr_lr": 1.0, "outer": 1}, "lr_lr needs networks")],
)  # fmt: skip
def test_what_is_learned_must_have_an_effect(name, options, words):
    with pytest.raises(InputError, match=words):
        start(name, **options)
