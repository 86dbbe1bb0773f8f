"""Closed properties of every operation, and the Siamese property that DSA rests on."""

from collections import Counter

import pytest
import torch

from refluence.errors import InputError
from refluence.matching.augment import DSA, Augmentation, Draw, parse
from support.draws import generator


def images(batch=4, channels=3, size=(8, 8), dtype=torch.float64) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=generator(99), dtype=dtype)


def run(name: str, values, x: torch.Tensor) -> torch.Tensor:
    """Apply one operation with chosen parameters."""
    values = torch.as_tensor(values, dtype=torch.float64)
    return Augmentation((name,)).apply(Draw(tuple(x.shape[-2:]), ((name, values),)), x)


SINGLE = (*DSA.split("_"), "dc_grey")


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("channels", [1, 3])
def test_siamese_concatenated_equals_separate(name, channels):
    augmentation = parse(name)
    real, synthetic = images(5, channels), images(2, channels) * 0.5
    for seed in range(8):
        draw = augmentation.draw(generator(seed), (8, 8))
        together = augmentation.apply(draw, torch.cat([real, synthetic]))
        apart = torch.cat([augmentation.apply(draw, real), augmentation.apply(draw, synthetic)])
        torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SINGLE)
def test_one_image_with_its_own_draw_equals_the_shared_draw(name):
    """The shared path (slices) and the per-image path (gathers) are the same function."""
    augmentation, x = parse(name), images(6, size=(9, 12))
    draw = augmentation.draw(generator(3), (9, 12), batch=6)
    whole = augmentation.apply(draw, x)
    for i in range(6):
        alone = Draw(draw.size, tuple((n, v[i : i + 1]) for n, v in draw.steps))
        torch.testing.assert_close(whole[i : i + 1], augmentation.apply(alone, x[i : i + 1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("batch", [None, 2])
def test_differentiable_in_the_images(name, batch):
    augmentation = parse(name)
    draw = augmentation.draw(generator(1), (5, 5), batch=batch)
    x = images(2, 2, (5, 5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augmentation.apply(draw, x), (x,))
    before = x.detach().clone()
    augmentation.apply(draw, x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert torch.equal(before, x.detach()), "applied in place"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strategy", [DSA, "dc_grey", "none"])
def test_shape_type_and_determinism(dtype, strategy):
    augmentation, x = parse(strategy, "M"), images(3, 1, (8, 10), dtype)
    first, second = (augmentation.apply(augmentation.draw(generator(5), (8, 10), 3), x) for _ in range(2))
    assert first.shape == x.shape
    assert first.dtype == dtype
    assert torch.equal(first, second)
    state = torch.get_rng_state()
    augmentation.draw(generator(5), (8, 10))
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"


def test_flip_twice_is_the_identity():
    x = images()
    once = run("flip", [[1.0]], x)
    assert torch.equal(once, x.flip(3))
    assert torch.equal(run("flip", [[1.0]], once), x)
    assert torch.equal(run("flip", [[0.0]], x), x)


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, 1), (-1, 1), (2, -3), (0, 0)])
def test_crop_translates_exactly(down, right):
    x = images(2)
    expected = torch.zeros_like(x)
    for i in range(8):
        for j in range(8):
            if 0 <= i + down < 8 and 0 <= j + right < 8:
                expected[:, :, i, j] = x[:, :, i + down, j + right]
    assert torch.equal(run("crop", [[down, right]], x), expected)
    assert torch.equal(run("crop", [[down, right]] * 2, x), expected)
    shift = run("dc_grey", [[down, right, 1, 1, 0]], x)
    torch.testing.assert_close(shift, expected, rtol=0, atol=1e-12)


def test_crop_reaches_an_eighth_of_the_side_both_ways():
    draws = torch.cat([parse("crop").draw(generator(s), (32, 16), 50).steps[0][1] for s in range(20)])
    assert set(draws[:, 0].tolist()) == set(range(-4, 5))
    assert set(draws[:, 1].tolist()) == set(range(-2, 3))


def test_cutout_zeroes_exactly_the_square():
    x = images(3) + 10  # nothing is zero by chance
    out = run("cutout", [[2, 3, 4, 4]], x)
    assert (out[:, :, 2:6, 3:7] == 0).all()
    rest = torch.ones(8, 8, dtype=torch.bool)
    rest[2:6, 3:7] = False
    assert torch.equal(out[:, :, rest], x[:, :, rest])
    clipped = run("cutout", [[-2, 6, 4, 4]], x)
    assert int((clipped[0, 0] == 0).sum()) == 2 * 2


def test_cutout_centre_covers_the_image():
    augmentation, hit = parse("cutout"), torch.zeros(8, 8)
    for seed in range(300):
        out = augmentation.apply(augmentation.draw(generator(seed), (8, 8)), torch.ones(1, 1, 8, 8))
        assert 4 <= int((out == 0).sum()) <= 16
        hit += out[0, 0] == 0
    assert (hit > 0).all()


def test_colour_operations_separately():
    x = images()
    torch.testing.assert_close(run("color", [[0.3, 1.0, 1.0]], x), x + 0.3)
    grey = run("color", [[0.0, 0.0, 1.0]], x)
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    flat = run("color", [[0.0, 1.0, 0.0]], x)
    torch.testing.assert_close(flat, x.mean((1, 2, 3), keepdim=True).expand_as(x))
    one = images(channels=1)
    torch.testing.assert_close(run("color", [[0.0, 0.0, 1.0]], one), one)  # no saturation in grey


@pytest.mark.parametrize(
    ("name", "neutral"), [("scale", [1.0, 1.0]), ("rotate", [0.0]), ("dc_grey", [0.0, 0.0, 1.0, 1.0, 0.0])]
)
def test_warps_are_the_identity_at_neutral_parameters(name, neutral):
    x = images(size=(8, 6))
    torch.testing.assert_close(run(name, [neutral], x), x, rtol=0, atol=1e-12)


def test_rotate_by_a_right_angle_is_anticlockwise():
    x = images()
    torch.testing.assert_close(run("rotate", [[90.0]], x), x.rot90(1, (2, 3)), rtol=0, atol=1e-12)
    torch.testing.assert_close(run("dc_grey", [[0, 0, 1, 1, 90.0]], x), x.rot90(1, (2, 3)), rtol=0, atol=1e-12)


def test_scale_two_shows_the_image_at_half_its_size():
    out = run("scale", [[2.0, 2.0]], torch.ones(1, 1, 8, 8, dtype=torch.float64))
    assert (out[0, 0, 2:6, 2:6] == 1).all()
    assert out.sum() == 16
    smaller = run("dc_grey", [[0, 0, 0.5, 0.5, 0]], torch.ones(1, 1, 8, 8, dtype=torch.float64))
    assert torch.equal(smaller, out)


def test_mode_s_applies_one_operation_uniformly_and_mode_m_all():
    single, several = parse(DSA, "S"), parse(DSA, "M")
    draws = [single.draw(generator(s), (8, 8)) for s in range(1200)]
    assert all(len(d.steps) == 1 for d in draws)
    counts = Counter(d.steps[0][0] for d in draws)
    assert set(counts) == set(DSA.split("_"))
    chi_squared = sum((c - 200) ** 2 / 200 for c in counts.values())
    assert chi_squared < 20.5  # 5 degrees of freedom, p = .001
    assert [name for name, _ in several.draw(generator(), (8, 8)).steps] == DSA.split("_")


def test_parameters_stay_in_their_ranges():
    def values(name, size=(8, 8)):
        return parse(name).draw(generator(1), size, 4000).steps[0][1]

    scale, rotate, color, grey = values("scale"), values("rotate"), values("color"), values("dc_grey", (28, 28))
    assert scale.min() >= 1 / 1.2
    assert scale.max() <= 1.2
    assert (scale[:, 0] - scale[:, 1]).abs().max() > 0.1, "the two sides are drawn separately"
    assert 14 < rotate.abs().max() <= 15
    for column, (low, high) in zip(color.T, [(-0.5, 0.5), (0, 2), (0.5, 1.5)], strict=True):
        assert low <= column.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < column.max() <= high
    assert 0.45 < values("flip").mean() < 0.55
    assert set(grey[:, 0].tolist()) == set(range(-4, 4))
    active = torch.stack([grey[:, :2].abs().sum(1) > 0, (grey[:, 2:4] != 1).any(1), grey[:, 4] != 0], 1)
    assert active.sum(1).max() == 1, "an image got more than one operation"
    assert (active.float().mean(0) > 0.28).all()


def test_bad_names_and_sizes_are_refused_with_their_value():
    with pytest.raises(InputError, match=r"'blur'.*color_blur.*rotate"):
        parse("color_blur")
    with pytest.raises(InputError, match="'dc'"):
        parse("dc_flip")
    with pytest.raises(InputError, match="'X'"):
        parse("color", "X")
    augmentation = parse("crop")
    with pytest.raises(ValueError, match=r"\(8, 8\)"):
        augmentation.apply(augmentation.draw(generator(), (8, 8)), images(size=(9, 9)))
    with pytest.raises(ValueError, match="3 images, the batch has 4"):
        augmentation.apply(augmentation.draw(generator(), (8, 8), batch=3), images(4))
