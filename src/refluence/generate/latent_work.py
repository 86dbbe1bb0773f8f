"""A denoiser of latents from scratch, as a work (work.py): first its autoencoder is trained, then the denoiser in its latents.

In the second part the autoencoder stays. Training images are encoded once, where their latents are few enough to keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import ClassVar

import torch
from torch import Tensor

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.generate.autoencoder_work import AutoencoderSettings, AutoencoderSteps, AutoencoderWork
from refluence.generate.denoiser import Denoiser
from refluence.generate.denoiser_config import DenoiserConfig
from refluence.generate.latent import Latents
from refluence.generate.training import DenoiserSettings, DenoiserSteps, DenoiserWork
from refluence.seeds import Rng
from refluence.work import Result

FIRST, SECOND = "autoencoder.", "denoiser."  # before the names of either part in a state


class LatentWork:
    """Both on their way. Randomness: that of `AutoencoderWork` and of `DenoiserWork`."""

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = DenoiserWork.remedy

    def __init__(
        self,
        config: DenoiserConfig,
        settings: DenoiserSettings,
        autoencoder: AutoencoderSettings,
        dataset: Dataset,
        rng: Rng,
        compute: Compute,
    ):
        assert config.autoencoder is not None, "of a denoiser in latents"
        self.dataset = dataset
        self.first = AutoencoderWork(config.autoencoder, autoencoder, dataset, rng, compute)
        self.second = DenoiserWork(config, settings, dataset, rng, compute)
        self.total = self.first.total + self.second.total
        self.codec: Latents | None = None  # once the autoencoder is trained

    @property
    def step(self) -> int:
        """Blocks of both parts that are done."""
        return self.first.step + self.second.step

    def steps(self) -> Iterator[AutoencoderSteps | DenoiserSteps]:
        """The blocks that are left; `RunError` where numbers are no longer finite."""
        yield from self.first.steps()
        if self.codec is None:
            self._go_on(self.first.scaled())
        for event in self.second.steps():
            yield replace(event, step=self.first.total + event.step)

    def units(self, step: int) -> int:
        """Steps of either optimiser after so many blocks."""
        first = self.first.total
        return self.first.units(min(step, first)) + self.second.units(max(step - first, 0))

    def _go_on(self, codec: Latents) -> None:
        """To the second part."""
        self.codec = codec
        self.second.learn_in(codec, self.first.encoded(codec))

    def parts(self) -> tuple[AutoencoderWork, DenoiserWork]:
        """Either by itself, for an estimate: the second learns from zeros in the place of latents; no image is encoded."""
        zeros = torch.zeros(1).expand(len(self.dataset.train), *self.first.latent)
        self.second.learn_in(self.first.latents(), zeros)
        return self.first, self.second

    def state(self) -> dict[str, Tensor]:
        """The autoencoder on its way; once it is trained its weights, and the denoiser on its way."""
        first = self.first.state() if self.codec is None else self.codec.state()
        second = {} if self.codec is None else self.second.state()
        own = {f"{FIRST}{name}": tensor for name, tensor in first.items()}
        return {"step": torch.tensor(self.step), **own, **{f"{SECOND}{name}": tensor for name, tensor in second.items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the block at which `state` was taken."""
        first, second = (
            {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            for prefix in (FIRST, SECOND)
        )
        if not second:
            return self.first.restore(first)
        codec = self.first.latents()
        codec.load_state(first)
        self.first.step = self.first.total
        self._go_on(codec)
        self.second.restore(second)

    def artifact(self) -> Denoiser:
        """The denoiser as it stands now, with the autoencoder as it stands now."""
        return replace(self.second.artifact(), codec=self.codec or self.first.latents())

    def result(self) -> Result:
        """The denoiser, and the numbers of both trainings: `psnr` says how well images come back from their latents."""
        assert self.codec is not None, "after the last step"
        made, settings = self.second.result(), asdict(self.first.settings)
        said = {"settings": settings, "scale": self.codec.scale, "psnr": self.first.quality(self.codec)}
        return Result(made.artifact, {**made.card, "autoencoder": said})
