"""The network of a denoiser of kind `unet`: diffusers' `UNet2DModel`, with an embedding for each class and one for none.

Attention runs on its coarsest stage alone. Channels grow by 1, 2 and 4 from stage to stage, each of which halves the image. An
image that this does not divide is padded with its edge, and what comes out is cut to its size. The last convolution is zero at
first, so a new network gives zeros, as the transformer does.

Names of tensors are diffusers' own. `index` makes a folder of ours one that `UNet2DModel.from_pretrained` loads: it says that
all of them lie in `model.safetensors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.files import Json
from refluence.generate.extra import need_diffusers

INDEX = "diffusion_pytorch_model.safetensors.index.json"
GROWTH = (1, 2, 4)  # channels of a stage, in those of the first; the last number holds for all further stages
COARSEST = 7  # pixels a side of the last stage, at least


def unet(shape: tuple[int, int, int], classes: int, *, width: int, depth: int, heads: int) -> nn.Module:
    """A new network `(z (B, C, H, W), t (B,) from 0 to 1000, y (B,) int64) -> (B, C, H, W)`.

    Args:
        shape: `(C, H, W)` of z.
        classes: how many, without the null class, whose label is the one after the last of them.
        width: channels of the first stage.
        depth: stages.
        heads: of attention; they divide the channels of the last stage.

    Raises:
        InputError: diffusers is not installed, or the sizes fit no network.
    """
    channels, height, across = shape
    stages = tuple(width * GROWTH[min(i, len(GROWTH) - 1)] for i in range(depth))
    if depth < 1 or width % 4 or stages[-1] % heads:
        raise InputError(
            f"a unet of width {width}, depth {depth} and {heads} heads: the width must be a multiple of 4, and the "
            "channels of its last stage one of the heads"
        )
    coarse = ["DownBlock2D"] * (depth - 1) + ["AttnDownBlock2D"]
    net: nn.Module = _kind()(
        sample_size=height if height == across else (height, across),
        in_channels=channels,
        out_channels=channels,
        down_block_types=tuple(coarse),
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(coarse)),
        block_out_channels=stages,
        layers_per_block=1,
        norm_num_groups=math.gcd(width, 32),
        attention_head_dim=stages[-1] // heads,
        num_class_embeds=classes + 1,
    )
    for tensor in net.get_submodule("conv_out").parameters():
        nn.init.zeros_(tensor)
    return net


def read_unet(folder: Path) -> nn.Module:
    """The network in a folder that diffusers saved, or one of ours with its `INDEX`."""
    net: nn.Module = _kind().from_pretrained(folder, local_files_only=True)
    return net


def unet_sizes(shape: tuple[int, int, int], size: str) -> tuple[int, int, int]:
    """Width, depth and heads for images `(C, H, W)`; `size` is `paper` or `cpu`.

    The last stage has 7 to 13 pixels a side. `paper`, ours as no paper has it: 128 channels as of ImageNet at 64 pixels (arXiv
    2105.05233 has 192). `cpu`: 32, some 60 images of 32 pixels trained in a second of one core.
    """
    depth = 1 + max(1, int(math.log2(max(1, min(shape[1:]) / COARSEST))))
    return (128 if size == "paper" else 32), depth, 4


def config_of(net: nn.Module, kind: str = "UNet2DModel") -> Json:
    """What diffusers writes into `config.json` for a network of this kind."""
    said = {key: value for key, value in settings_of(net).items() if not key.startswith("_")}
    return {"_class_name": kind, "_diffusers_version": import_module("diffusers").__version__, **said}


def settings_of(net: Any) -> Json:
    """What a network of diffusers was built by."""
    return dict(net.config)


def index(state: Mapping[str, Tensor], weights: str) -> Json:
    """The contents of `INDEX` for tensors that lie in the file `weights`."""
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    return {"metadata": {"total_size": total}, "weight_map": dict.fromkeys(state, weights)}


@cache
def _kind() -> Any:
    """`UNet2DModel` as it is called here; diffusers is imported when the first network is made."""
    need_diffusers("a UNet2DModel")
    model = import_module("diffusers").UNet2DModel

    class UNet(model):  # type: ignore[misc,valid-type]  # known when it is imported
        """Padded, and called with a label; see the head of the file."""

        def forward(self, z: Tensor, t: Tensor, y: Tensor) -> Tensor:
            """The prediction for each image."""
            height, across = z.shape[2:]
            halved = 2 ** (len(self.config.block_out_channels) - 1)
            below, right = -height % halved, -across % halved
            z = F.pad(z, (0, right, 0, below), mode="replicate") if below or right else z
            given: Tensor = super().forward(z, t, y, return_dict=False)[0]
            return given[:, :, :height, :across]

    return UNet
