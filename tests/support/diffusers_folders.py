"""Folders as diffusers saves them, of untrained networks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch


def save_pipeline(
    diffusers: ModuleType, folder: Path, classes: int = 1000, out_channels: int = 8, side: int = 8, **scheduler: Any
) -> Any:
    """A DiT of two blocks for latents of 4 x 4 x 4 and an AutoencoderKL that makes images of 8 x 8 of them; or of `side`."""
    torch.manual_seed(0)
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=4,
        out_channels=out_channels,
        num_layers=2,
        sample_size=side // 2,
        patch_size=2,
        num_embeds_ada_norm=classes,
    )
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=0.18215,
    )
    how = {"beta_start": 1e-4, "beta_end": 0.02, "clip_sample": False, **scheduler}
    pipe = diffusers.DiTPipeline(dit, vae, diffusers.DDIMScheduler(**how))
    pipe.save_pretrained(folder)
    return pipe
