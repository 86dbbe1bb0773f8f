"""Tiled selections: what is stored decodes to the chosen images, reduced."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

import refluence as rf
from refluence.data.formation import decode, repeat
from refluence.errors import InputError, NoRoomError
from refluence.jobs.catalogue import parse_arm
from refluence.jobs.resolve import resolve
from refluence.options import JobOptions
from refluence.select.tiles import check_room, tiled
from support.tiny_data import tiny_dataset


def chosen(data, counts):
    return torch.cat([data.train.members(c)[:n] for c, n in enumerate(counts)])


def test_tiles_decode_to_the_reduced_images_with_their_own_labels():
    data = tiny_dataset()
    positions = chosen(data, (12, 8, 4))
    images, labels = tiled(data, positions, 2)
    assert images.shape == (6, 3, 8, 8)
    assert labels.tolist() == [0, 0, 0, 1, 1, 2]
    back, back_labels = decode(images, 2), repeat(labels, 2)
    for c in range(3):
        own = positions[data.train.labels[positions] == c]
        raw = data.train.images[own].double() / 255  # reduced as pixels, normalised afterwards
        mean, std = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (data.mean, data.std))
        small = (avg_pool2d(raw, 2) - mean) / std
        expected = interpolate(small.float(), (8, 8), mode="bilinear", align_corners=False)
        torch.testing.assert_close(back[back_labels == c], expected, rtol=1e-5, atol=1e-5)


def test_factor_one_is_the_images_as_they_are_in_any_order():
    data = tiny_dataset()
    positions = torch.tensor([7, 3, 20])
    images, labels = tiled(data, positions, 1)
    assert torch.equal(images, data.pixels(data.train, positions))
    assert torch.equal(labels, data.train.labels[positions])


@pytest.mark.parametrize(
    ("counts", "factor", "message"),
    [
        (
            (5, 3, 3),
            2,
            r"class 'class 2' has 9 training images, but factor=2 at 3 images .* needs 12: ipc=2 or factor=1 would fit",
        ),
        ((1, 1, 1), 4, r"class 'class 2' has 9 .* needs 16: factor=3 would"),
        ((1, 1, 1), 9, r"factor is 9: it must be from 1 to the side of the image, 8 pixels"),
    ],
)
def test_a_class_that_is_too_small_is_refused(counts, factor, message):
    with pytest.raises(InputError, match=message):
        check_room(tiny_dataset(), counts, factor)


def test_what_fits_is_let_through():
    check_room(tiny_dataset(), (5, 3, 2), 2)
    check_room(tiny_dataset(), (23, 14, 9), 1)


@pytest.mark.parametrize(("keep", "fits"), [(0.1, False), (0.35, False), (0.7, True)])
def test_a_pruned_arm_keeps_enough_for_its_tiles_or_is_refused_before_any_work(keep, fits):
    arm = f"random+pruned:by=random,keep={keep},factor=2"
    options = {"ipc": 1, "nets": 1, "epochs": 1, "width": 4, "threads": 1}
    if fits:
        assert len(rf.select(tiny_dataset(), arm, **options).set) == 3
    else:
        with pytest.raises(
            NoRoomError,
            match=rf"keep={keep} leaves \d of the 9 .*fewer than the 4 that factor=2 lays into 1 stored one: keep=0.45 or",
        ):
            resolve(JobOptions(ipc=1), parse_arm(arm), tiny_dataset(), 0)
