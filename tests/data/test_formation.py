"""Multi-formation against IDC's equation, tile by tile."""

import pytest
import torch
from torch.nn.functional import interpolate

from refluence.data.formation import decode, edges, repeat, tile
from refluence.errors import InputError


def images(n: int, side: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_each_tile_is_enlarged_and_tiles_come_one_after_the_other():
    x = images(3)
    found = decode(x, 2)
    corners = [x[:, :, :4, :4], x[:, :, :4, 4:], x[:, :, 4:, :4], x[:, :, 4:, 4:]]
    expected = torch.cat([interpolate(c, (8, 8), mode="bilinear") for c in corners])
    assert torch.equal(found, expected)
    assert repeat(torch.tensor([5, 6, 7]), 2).tolist() == [5, 6, 7] * 4


def test_tiling_lays_the_images_where_decoding_finds_them():
    flat = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 3, 8, 8)
    whole = tile(flat, 2)
    assert whole.shape == (3, 3, 8, 8)
    assert torch.equal(decode(whole, 2), flat)
    constant = tile(images(8), 2)[0, :, :4, :4]
    torch.testing.assert_close(constant, torch.nn.functional.avg_pool2d(images(8)[0], 2))


def test_a_factor_that_does_not_divide_the_side_covers_every_pixel_once():
    assert edges(8, 3) == [(0, 3), (3, 6), (6, 8)]
    x = images(2).requires_grad_()
    decode(x, 3).sum().backward()
    assert (x.grad > 0).all()
    assert tile(images(9), 3).shape == (1, 3, 8, 8)


def test_factor_one_changes_nothing_and_impossible_ones_are_named():
    x = images(2)
    assert decode(x, 1) is x
    assert tile(x, 1) is x
    with pytest.raises(InputError, match="factor is 9"):
        decode(x, 9)
    with pytest.raises(InputError, match="2 images cannot be laid 2 x 2"):
        tile(x, 2)
