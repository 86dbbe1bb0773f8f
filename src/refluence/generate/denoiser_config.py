"""What builds the network of a denoiser, as its `config.json` has it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from refluence.errors import InputError, did_you_mean
from refluence.files import Json
from refluence.generate.autoencoder import AutoencoderConfig
from refluence.generate.codec import Shape
from refluence.generate.predictions import prediction

KINDS, PRETRAINED = ("dit", "unet"), "pretrained"  # what can be trained from scratch; what diffusers loads


@dataclass(frozen=True)
class DenoiserConfig:
    """Everything that builds the network of a denoiser.

    Args:
        shape: `(C, H, W)` of the images.
        classes: their names; the label after the last of them is the null class.
        kind: `dit` (transformer.py), `unet` (unet.py) or `pretrained` (pretrained.py).
        prediction: what the network gives: `flow`, `epsilon` or `v`.
        patch: side of a patch of a `dit`.
        width: numbers a token of a `dit`, channels of the first stage of a `unet`.
        depth: blocks of a `dit`, stages of a `unet`.
        heads: of each attention.
        source: of a `pretrained` one, the folder or the name of the Hub that it was loaded from.
        autoencoder: that of a denoiser of our own in latents; none: it works on pixels, or it is `pretrained`.

    Raises:
        InputError: a size that the patch or the autoencoder does not divide, or a kind, prediction or width that is none.
    """

    shape: Shape
    classes: tuple[str, ...]
    kind: str = "dit"
    prediction: str = "flow"
    patch: int = 2
    width: int = 64
    depth: int = 3
    heads: int = 4
    source: str = ""
    autoencoder: AutoencoderConfig | None = None

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, PRETRAINED):
            raise InputError(f"unknown kind of denoiser {self.kind!r}: {did_you_mean(self.kind, KINDS)}")
        prediction(self.prediction)
        _, height, across = self.noised
        if self.kind != "dit":
            return
        if height % self.patch or across % self.patch:
            what, unit = ("images", " pixels") if self.autoencoder is None else ("latents", "")
            raise InputError(f"patches of {self.patch} do not divide {what} of {height} x {across}{unit}")
        if self.width % 4 or self.width % self.heads:
            raise InputError(f"width {self.width} of a denoiser: it must be a multiple of 4 and of its {self.heads} heads")

    @property
    def noised(self) -> Shape:
        """`(C, H, W)` of what a network from scratch noises: pixels, or the latents of its autoencoder."""
        return self.shape if self.autoencoder is None else self.autoencoder.shape(self.shape)

    def to_json(self) -> Json:
        """Plain values, which `from_json` reads."""
        plain = {**asdict(self), "shape": list(self.shape), "classes": list(self.classes)}
        if self.autoencoder is None:
            del plain["autoencoder"]
        return plain

    @classmethod
    def from_json(cls, said: Json) -> DenoiserConfig:
        """The inverse of `to_json`; other keys are left alone."""
        c, h, w = said["shape"]
        plain = {name: said[name] for name in ("kind", "prediction", "patch", "width", "depth", "heads")}
        latent = said.get("autoencoder")
        plain["autoencoder"] = None if latent is None else AutoencoderConfig(**latent)
        return cls(shape=(c, h, w), classes=tuple(said["classes"]), source=said.get("source", ""), **plain)
