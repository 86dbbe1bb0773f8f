"""What builds the network of a denoiser, as its `config.json` has it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from refluence.errors import InputError, did_you_mean
from refluence.files import Json
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

    Raises:
        InputError: a size that the patch does not divide, or a kind, prediction or width that is none.
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

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, PRETRAINED):
            raise InputError(f"unknown kind of denoiser {self.kind!r}: {did_you_mean(self.kind, KINDS)}")
        prediction(self.prediction)
        if self.kind != "dit":
            return
        if self.shape[1] % self.patch or self.shape[2] % self.patch:
            raise InputError(f"patches of {self.patch} do not divide images of {self.shape[1]} x {self.shape[2]} pixels")
        if self.width % 4 or self.width % self.heads:
            raise InputError(f"width {self.width} of a denoiser: it must be a multiple of 4 and of its {self.heads} heads")

    def to_json(self) -> Json:
        """Plain values, which `from_json` reads."""
        return {**asdict(self), "shape": list(self.shape), "classes": list(self.classes)}

    @classmethod
    def from_json(cls, said: Json) -> DenoiserConfig:
        """The inverse of `to_json`; other keys are left alone."""
        c, h, w = said["shape"]
        plain = {name: said[name] for name in ("kind", "prediction", "patch", "width", "depth", "heads")}
        return cls(shape=(c, h, w), classes=tuple(said["classes"]), source=said.get("source", ""), **plain)
