"""Some samples of a denoiser, drawn when it is trained, so that its page shows what it makes: `samples.safetensors`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from refluence.files import write_tensors
from refluence.generate.denoiser import NO_NULL, Denoiser
from refluence.generate.sampling import sample
from refluence.generate.settings import Settings
from refluence.jobs.session import Session
from refluence.seeds import streams
from refluence.training.predict import evaluating

FILE = "samples.safetensors"
CLASSES = 10  # the first ones
EACH = 8
STEPS = 20
CFG = 2.0


def draw(denoiser: Denoiser, session: Session, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures, uint8 `(M, C, H, W)`, and their classes `(M,)`: 20 steps of ddim, guided by nothing but the class."""
    device, rng = session.compute.device, streams(seed)
    labels = torch.arange(min(CLASSES, len(session.dataset.classes))).repeat(EACH)
    noise = torch.stack([torch.randn(denoiser.shape, generator=rng("sample", i)) for i in range(len(labels))])
    denoiser = denoiser.to(device)
    settings = Settings(cfg=1.0 if denoiser.null == NO_NULL else CFG, solver="ddim", steps=STEPS)
    with evaluating(denoiser.net), torch.no_grad():
        parts = [
            denoiser.decode(sample(denoiser, z.to(device), y.to(device), settings, compute=session.compute).z)
            for z, y in zip(noise.split(CLASSES), labels.split(CLASSES), strict=True)
        ]
    pixels = torch.cat(parts).float().cpu().nan_to_num().clamp(0, 1)
    return (255 * pixels).round().to(torch.uint8), labels


def write(denoiser: Denoiser, session: Session, seed: int, place: Path) -> None:
    """Draw them into the folder of the denoiser."""
    images, labels = draw(denoiser, session, seed)
    write_tensors(place / FILE, {"images": images, "labels": labels})
