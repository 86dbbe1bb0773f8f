"""The autoencoder of a latent denoiser: its loss, which images have latents, and the network in diffusers' hands."""

import pytest
import torch

from refluence.errors import InputError
from refluence.generate.autoencoder import (
    BETA,
    AutoencoderConfig,
    Autoencoding,
    build_autoencoder,
    factor_of,
    lacks_latents,
    psnr,
    terms,
    weighed,
)
from refluence.generate.codec import Pixels
from refluence.generate.latent import Latents

pytest.importorskip("diffusers")
TINY = AutoencoderConfig(factor=2, width=4)


def test_the_loss_is_that_of_the_equation():
    g = torch.Generator().manual_seed(0)
    x, output = (torch.rand(3, 2, 4, 6, generator=g, dtype=torch.float64) for _ in range(2))
    mean, log_variance = (torch.randn(3, 4, 2, 3, generator=g, dtype=torch.float64) for _ in range(2))
    found = weighed(terms(x, output, mean, log_variance), torch.tensor([1, BETA], dtype=torch.float64))
    for i in range(3):
        apart = kl = 0.0
        for one, other in zip(x[i].flatten().tolist(), output[i].flatten().tolist(), strict=True):
            apart += abs(one - other)
        for mu, log in zip(mean[i].flatten(), log_variance[i].flatten(), strict=True):
            q = torch.distributions.Normal(mu, (log / 2).exp())
            kl += float(torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)))
        assert float(found[i]) == pytest.approx((apart + 1e-6 * kl) / 48, rel=1e-12)


def test_both_terms_come_from_one_pass():
    torch.manual_seed(0)
    net = Autoencoding(build_autoencoder(TINY, (2, 8, 8))).double()
    x, n = torch.rand(2, 2, 8, 8, dtype=torch.float64), torch.randn(2, 4, 4, 4, dtype=torch.float64)
    q = net.vae.encode(x).latent_dist
    output = net.vae.decode(q.mean + q.std * n).sample
    found = net(x, n)
    torch.testing.assert_close(found[:, 0].double(), (x - output).abs().mean((1, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[:, 1].double(), q.kl() / 128, rtol=1e-5, atol=1e-6)


def test_a_codec_of_another_scale_gives_the_same_pixels():
    torch.manual_seed(0)
    vae = build_autoencoder(TINY, (2, 8, 8))
    one, half = Latents(vae, 1.0), Latents(vae, 0.5)
    x = torch.rand(3, 2, 8, 8)
    assert one.shape((2, 8, 8)) == TINY.shape((2, 8, 8)) == one.encode(x).shape[1:] == (4, 4, 4)
    torch.testing.assert_close(half.encode(x), one.encode(x) / 2)
    torch.testing.assert_close(half.decode(half.encode(x)), one.decode(one.encode(x)))


def test_a_state_makes_another_codec_the_same():
    one, other = (Latents(build_autoencoder(TINY, (1, 8, 8)), scale) for scale in (0.3, 1.0))
    x = torch.rand(2, 1, 8, 8)
    assert not torch.equal(one.encode(x), other.encode(x))
    other.load_state(one.state())
    assert torch.equal(one.encode(x), other.encode(x))
    with pytest.raises(InputError, match="not the weights of this autoencoder"):
        other.load_state(Pixels().state())


def test_psnr_is_that_of_pixels():
    pixels = torch.full((2, 1, 2, 2), 0.5)
    decoded = pixels + torch.tensor([0.1, 3.0]).view(2, 1, 1, 1)
    torch.testing.assert_close(psnr(pixels, decoded), torch.tensor([20.0, 6.0206]))  # 3.5 is shown as 1


@pytest.mark.parametrize(("side", "latents"), [(32, 8), (96, 24), (112, 28), (128, 32), (224, 28), (256, 32)])
def test_latents_have_8_to_32_a_side(side, latents):
    shape = (3, side, side)
    assert side // factor_of(shape) == latents
    assert lacks_latents(shape) == ""


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 8, 8), "images of 8 x 8 pixels are too small for latents, which begin at 32 pixels a side"),
        (
            (3, 98, 100),
            "98 x 100 pixels have no latents: their sides must be multiples of 4, as image_size=96 reads them",
        ),
        ((3, 132, 132), "their sides must be multiples of 8"),
    ],
)
def test_images_without_latents_are_named(shape, said):
    assert said in lacks_latents(shape)


@pytest.mark.parametrize("wrong", [{"factor": 3}, {"factor": 1}, {"width": 6}, {"width": 0}, {"layers": 0}])
def test_networks_that_cannot_be_built_are_refused(wrong):
    with pytest.raises(InputError, match="the factor must be a power of 2, the width a multiple of 4"):
        AutoencoderConfig(**wrong)
    with pytest.raises(InputError, match="an autoencoder of factor 4 does not divide images of 6 x 8 pixels"):
        AutoencoderConfig(4).shape((1, 6, 8))
