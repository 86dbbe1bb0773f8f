"""The transformer: nothing at first, no mixing of images, and places and labels that matter."""

import torch

from refluence.generate.transformer import Transformer


def net(seed=None) -> Transformer:
    made = Transformer((2, 6, 4), 3, patch=2, width=16, depth=2, heads=2).double()
    if seed is not None:
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in made.parameters():
                p.copy_(0.2 * torch.randn(p.shape, generator=g))
    return made


def inputs(count=3):
    g = torch.Generator().manual_seed(7)
    return (
        torch.randn(count, 2, 6, 4, generator=g).double(),
        torch.tensor([10.0, 500, 990])[:count],
        torch.tensor([0, 2, 3])[:count],
    )


def test_a_new_network_gives_zeros_and_its_blocks_are_identities():
    made, (z, t, y) = net(), inputs()
    assert not made(z, t, y).any()
    h = torch.randn(3, 6, 16).double()
    assert torch.equal(made.blocks[0](h, torch.randn(3, 16).double()), h)


def test_cutting_into_patches_is_undone():
    made, (z, _, _) = net(), inputs()
    assert made._cut(z).shape == (3, 6, 8)
    assert torch.equal(made._joined(made._cut(z)), z)


def test_images_of_a_batch_do_not_see_each_other():
    made, (z, t, y) = net(0), inputs()
    together = made(z, t, y)
    alone = torch.cat([made(z[[i]], t[[i]], y[[i]]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_time_label_and_place_change_what_it_gives():
    made, (z, t, y) = net(0), inputs()
    first = made(z, t, y)
    assert (made(z, t + 1, y) - first).abs().amax((1, 2, 3)).min() > 1e-6
    assert (made(z, t, (y + 1) % 4) - first).abs().amax((1, 2, 3)).min() > 1e-6
    assert (made(z.flip(2), t, y).flip(2) - first).abs().max() > 1e-6


def test_forward_draws_nothing():
    made, (z, t, y) = net(0).train(), inputs()
    assert torch.equal(made(z, t, y), made(z, t, y))
