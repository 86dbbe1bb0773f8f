"""The two networks of a latent diffusion model as a denoiser calls them: diffusers' AutoencoderKL and its transformer.

An image is encoded as the mean of its latents; they are never drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from refluence.errors import InputError
from refluence.generate.codec import Shape
from refluence.generate.unet import settings_of

SCALE = "scale"  # in a state, beside the names of weights
AT_ONCE = 4 * 256**2  # pixels that go through the autoencoder at once: four images of 256 pixels a side


class Latents:
    """Pixels of 0 to 1 to latents of an AutoencoderKL, times its scaling factor, and back. `scale`: another factor."""

    def __init__(self, vae: nn.Module, scale: float | None = None):
        vae.eval().requires_grad_(False)
        said = settings_of(vae)
        self.vae: Any = vae
        self.channels, self.latent = said["in_channels"], said["latent_channels"]
        self.scale: float = said["scaling_factor"] if scale is None else scale
        self.halved = 2 ** (len(said["block_out_channels"]) - 1)

    def shape(self, pixels: Shape) -> Shape:
        """See `Codec`."""
        return self.latent, pixels[1] // self.halved, pixels[2] // self.halved

    def encode(self, pixels: Tensor) -> Tensor:
        """The mean of the latents; without a graph."""
        with torch.no_grad():
            return _in_chunks(lambda x: self.vae.encode(2 * x - 1).latent_dist.mode() * self.scale, pixels, 1)

    def decode(self, z: Tensor) -> Tensor:
        """See `Codec`. Where gradients go through more images than fit at once, they are decoded again in the backward pass."""
        return _in_chunks(lambda x: (self.vae.decode(x / self.scale).sample + 1) / 2, z, self.halved)

    def state(self) -> dict[str, Tensor]:
        """Its weights and its scale."""
        weights = {name: tensor.detach().cpu() for name, tensor in self.vae.state_dict().items()}
        return {**weights, SCALE: torch.tensor(self.scale, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See `Codec`. `InputError` where it is another network's."""
        try:
            self.scale = float(state[SCALE])
            self.vae.load_state_dict({name: tensor for name, tensor in state.items() if name != SCALE})
        except (KeyError, RuntimeError) as error:
            raise InputError(f"these are not the weights of this autoencoder: {' '.join(str(error).split())}") from None

    def to(self, device: torch.device) -> Latents:
        """See `Codec`."""
        self.vae.to(device)
        return self


def _in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, side: int) -> Tensor:
    """`function` of `x (B, C, H, W)`, in chunks that depend on its shape alone. `side`: pixels for each number of a row."""
    count = max(1, AT_ONCE // (x.shape[-2] * x.shape[-1] * side**2))
    if len(x) <= count:
        return function(x)
    parts = x.split(count)
    if not x.requires_grad:
        return torch.cat([function(part) for part in parts])
    return torch.cat([checkpoint(function, part, use_reentrant=False) for part in parts])


class EpsilonOf(nn.Module):
    """diffusers' `DiTTransformer2DModel`, as a denoiser calls it: `(z, t, y) -> eps`. What is beyond eps is a variance."""

    def __init__(self, transformer: nn.Module):
        super().__init__()
        self.transformer = transformer
        module: Any
        for module in transformer.modules():
            if hasattr(module, "dropout_prob"):
                module.dropout_prob = 0.0

    def forward(self, z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """See the class."""
        given: Tensor = self.transformer(z, timestep=t, class_labels=y).sample
        return given[:, : z.shape[1]]
