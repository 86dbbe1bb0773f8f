"""Augmentations of the evaluation protocols: closed properties, and slow transcriptions where there is a formula."""

import math

import pytest
import torch
import torch.nn.functional as F

from refluence.evaluate import augment
from refluence.evaluate.augment import FREPO, STRATEGIES, augmenter
from support.draws import generator


def images(count=6, channels=3, size=(8, 8)):
    return torch.randn(count, channels, *size, generator=generator(77), dtype=torch.float64)


@pytest.mark.parametrize("name", [*STRATEGIES, "frepo", "frepo_grey"])
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_determinism_and_no_global_state(name, channels):
    change, x = augmenter(name), images(channels=channels, size=(8, 10))
    before, state = x.clone(), torch.get_rng_state()
    for seed in range(8):
        first, second = change(x, generator(seed)), change(x, generator(seed))
        assert first.shape == x.shape
        assert torch.equal(first, second)
        assert first.isfinite().all()
    assert torch.equal(x, before), "changed in place"
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("operation", [*FREPO, augment.pad, augment.rrc, augment.patches, augment.jitter, augment.lighting])
def test_parameters_are_per_image(operation):
    x = images(1).expand(16, -1, -1, -1).contiguous()
    changed = operation(x, generator(1))
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 1


@pytest.mark.parametrize("least", [0.08, 0.5])
@pytest.mark.parametrize("size", [(8, 8), (9, 14)])
def test_random_resized_crop_is_the_crop_enlarged(least, size):
    x = images(size=size)
    found = augment.rrc(x, generator(5), least)
    g = generator(5)
    for i in range(len(x)):
        top, left, tall, wide = augment._box(*size, least, g)
        part = x[i : i + 1, :, top : top + tall, left : left + wide]
        expected = F.interpolate(part, size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[i : i + 1], expected, rtol=1e-5, atol=1e-6)


def test_boxes_keep_to_share_and_aspect():
    found = [augment._box(64, 64, 0.5, generator(seed)) for seed in range(300)]
    for top, left, tall, wide in found:
        assert 0 <= top <= 64 - tall
        assert 0 <= left <= 64 - wide
        assert 0.47 <= tall * wide / 64**2 <= 1
        assert 0.7 <= wide / tall <= 1.4
    assert len(set(found)) > 250
    assert augment._box(4, 100, 1.0, generator()) == (0, 47, 4, 5), "where none fits: the largest, in the middle"


def test_patches_are_a_permutation_of_two_by_two():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    seen = set()
    for seed in range(40):
        found = augment.patches(x, generator(seed))
        seen.add(tuple(found.flatten().int().tolist()))
        quarters = sorted(tuple(q.flatten().tolist()) for half in found.chunk(2, 2) for q in half.chunk(2, 3))
        assert quarters == sorted(tuple(q.flatten().tolist()) for half in x.chunk(2, 2) for q in half.chunk(2, 3))
    assert len(seen) == 4


@pytest.mark.parametrize(("size", "down", "across"), [((8, 8), 1, 1), ((32, 16), 4, 2)])
def test_pad_is_a_shift_with_zeros(size, down, across):
    x = images(60, size=size)
    found, seen = augment.pad(x, generator(3)), set()
    for i in range(len(x)):
        padded = F.pad(x[i], (across, across, down, down))
        every = [(r, c) for r in range(2 * down + 1) for c in range(2 * across + 1)]
        (at,) = [(r, c) for r, c in every if torch.equal(padded[:, r : r + size[0], c : c + size[1]], found[i])]
        seen.add(at)
    assert {r for r, _ in seen} == set(range(2 * down + 1))
    assert {c for _, c in seen} == set(range(2 * across + 1))


def test_crop_or_noise_written_out():
    """DC's code pads by four at 32 pixels, with the batch's mean, and shifts by -4 ... 3; its noise has a deviation of .001."""
    x = 2 + images(400, channels=1, size=(32, 32))
    found, shifts, noise = augment.crop_noise(x, generator(3)), [], []
    for i in range(len(x)):
        if (found[i] - x[i]).abs().max() < 0.01:
            noise.append(found[i] - x[i])
            continue
        padded = F.pad(x[i, 0], (4, 4, 4, 4), value=float(x.mean()))
        places = [(r, c) for r in range(8) for c in range(8)]
        (at,) = [(r, c) for r, c in places if (padded[r : r + 32, c : c + 32] - found[i, 0]).abs().max() < 1e-9]
        shifts.append((at[0] - 4, at[1] - 4))
    assert {row for row, _ in shifts} == {column for _, column in shifts} == set(range(-4, 4))
    moved = [n for n in noise if n.abs().max() > 0]
    assert 160 < len(moved) < 240, "as it falls"
    assert float(torch.stack(moved).std()) == pytest.approx(1e-3, rel=0.02)


def test_jitter_written_out():
    x = images(3)
    found = augment.jitter(x, generator(9))
    g = generator(9)
    shares = (torch.rand(3, 3, 1, 1, generator=g).double() * 2 - 1) * 0.4
    order = torch.randperm(3, generator=g).tolist()
    for i in range(3):
        image = x[i]
        for which in order:
            a = float(shares[i, which])
            grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
            image = [(1 - a) * image, (1 - a) * image + a * grey.mean(), (1 - a) * image + a * grey][which]
        torch.testing.assert_close(found[i], image, rtol=1e-5, atol=1e-6)


def test_lighting_written_out():
    x = images(4)
    found = augment.lighting(x, generator(2))
    amounts = 0.1 * torch.randn(4, 3, generator=generator(2))
    for i in range(4):
        for c in range(3):
            shift = sum(float(amounts[i, k]) * augment.LIGHT_VALUES[k] * augment.LIGHT_VECTORS[c][k] for k in range(3))
            torch.testing.assert_close(found[i, c], x[i, c] + shift, rtol=1e-5, atol=1e-6)
    assert torch.equal(augment.lighting(images(channels=1), generator()), images(channels=1))


def test_jitter_and_lighting_act_on_pixels():
    """Of a black image, jitter makes nothing, whatever it was normalised by; lighting shifts it by as much in pixels."""
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
    scale = [torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std)]
    black = (torch.zeros(2, 3, 8, 8, dtype=torch.float64) - scale[0]) / scale[1]
    found = augment._on_pixels(augment.jitter, (mean, std), black, generator(4))
    torch.testing.assert_close(found, black)
    lit = augment._on_pixels(augment.lighting, (mean, std), black, generator(4))
    torch.testing.assert_close(lit * scale[1] + scale[0], augment.lighting(torch.zeros_like(black), generator(4)))


@pytest.mark.parametrize("operation", [augment.crop, augment.rotate, augment.translate])
def test_warps_leave_a_plain_image_alone(operation):
    """The border is repeated, so nothing comes in from outside."""
    plain = torch.ones(4, 3, 8, 8, dtype=torch.float64) * torch.tensor([1.0, -2.0, 3.0]).view(3, 1, 1)
    torch.testing.assert_close(operation(plain, generator(1)), plain, rtol=1e-5, atol=1e-6)


def test_translation_reaches_an_eighth():
    ramp = torch.arange(32.0, dtype=torch.float64).expand(200, 1, 32, 32)
    moved = augment.translate(ramp, generator(6))[:, 0, 16, 16] - 16
    assert 3.5 < float(moved.abs().max()) <= 4 + 1e-4


def test_zoom_reaches_from_four_fifths_to_five_quarters():
    ramp = torch.arange(64.0, dtype=torch.float64).expand(300, 1, 64, 64)
    slope = augment.crop(ramp, generator(6))[:, 0, 32, 20:44].diff(dim=1).median(1)[0]
    assert 0.8 - 1e-3 <= float(slope.min()) < 0.83
    assert 1.2 < float(slope.max()) <= 1.25 + 1e-3
    assert math.isclose(float(slope.log().mean()), 0, abs_tol=0.02)


def test_cutout_is_one_square_of_a_quarter_of_the_side():
    found = augment.cutout(torch.ones(50, 2, 8, 12), generator(1))
    for image in found:
        rows, columns = (image[0] == 0).any(1), (image[0] == 0).any(0)
        assert (int(rows.sum()), int(columns.sum())) == (2, 3)
        assert float((image == 0).sum()) == 2 * 2 * 3


def test_frepo_applies_one_operation_a_batch():
    x, seen = images(8), set()
    for seed in range(60):
        g = generator(seed)
        which = int(torch.randint(6, (), generator=g))
        assert torch.equal(augmenter("frepo")(x, generator(seed)), FREPO[which](x, g))
        seen.add(which)
    assert seen == set(range(6))
    flipped = images(8, channels=1).flip(-1)
    assert all(not torch.equal(augmenter("frepo_grey")(images(8, channels=1), generator(s)), flipped) for s in range(20))
