"""A class-conditional denoiser as an artifact, its two estimates, and the labels of the classes that it is asked for.

It is called in the coordinates of predictions.py. Classifier-free guidance (arXiv 2207.12598),

    eps = eps_null + cfg (eps_y - eps_null),

is linear, and so is all that follows from eps: it is taken on what the network gives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.errors import InputError, option
from refluence.files import Json, read_json
from refluence.generate.autoencoder import build_autoencoder
from refluence.generate.codec import Codec, Pixels, Shape
from refluence.generate.denoiser_config import PRETRAINED, DenoiserConfig
from refluence.generate.latent import Latents
from refluence.generate.predictions import linear_abar, prediction
from refluence.generate.transformer import Transformer
from refluence.generate.unet import unet
from refluence.randomness import seeded

NO_NULL = -1
CODEC = "codec."  # before the names of the codec's tensors


@dataclass(eq=False, repr=False)
class Denoiser:
    """A network that knows noised images of some classes.

    Args:
        net: `(z (B, C, H, W), t (B,) from 0 to 1000, y (B,) int64) -> (B, C, H, W)`.
        config: what builds it, and the classes that it was trained on.
        method: `dit`, or that of its fine-tuning.
        codec: between pixels and z.
        abar: `(T,)` float64, the schedule that it is sampled by.
        asked: the classes that it samples of, in their order; none: those of `config`.
        labels: the network's label of each of `classes`; none: 0, 1, ….
        null: the network's label of no class; none: the one after those of `config`; `NO_NULL`: it has none.
        card: what is known of how it was made.

    Example:
        >>> import torch
        >>> from refluence.generate.denoiser_config import DenoiserConfig
        >>> config = DenoiserConfig((1, 8, 8), tuple("0123456789"), width=16, depth=1)
        >>> denoiser = build_denoiser(config, torch.Generator().manual_seed(0))
        >>> z0, eps = denoiser.predict(torch.randn(2, 1, 8, 8), 500, torch.tensor([3, 7]), cfg=2.0)
        >>> z0.shape
        torch.Size([2, 1, 8, 8])
    """

    kind: ClassVar[str] = "denoiser"
    files: ClassVar[tuple[str, ...]] = ("model.safetensors", "autoencoder/diffusion_pytorch_model.safetensors")

    net: nn.Module
    config: DenoiserConfig
    method: str = "dit"
    codec: Codec = field(default_factory=Pixels)
    abar: Tensor = field(default_factory=linear_abar)
    asked: tuple[str, ...] | None = None
    labels: tuple[int, ...] | None = None
    null: int | None = None
    card: Json = field(default_factory=dict)

    def __len__(self) -> int:
        return self.parameters

    def __repr__(self) -> str:
        """A line: kind, size, classes and images."""
        sides, kind = " x ".join(map(str, self.config.shape[1:])), self.config.kind
        return f"Denoiser({kind}, {self.parameters:,} parameters, {len(self.classes)} classes, {sides} pixels)"

    @property
    def classes(self) -> tuple[str, ...]:
        """What `predict` means by 0, 1, …."""
        return self.config.classes if self.asked is None else self.asked

    @property
    def shape(self) -> Shape:
        """`(C, H, W)` of z."""
        return self.codec.shape(self.config.shape)

    @property
    def parameters(self) -> int:
        """How many numbers it learned."""
        return sum(p.numel() for p in self.net.parameters())

    @property
    def stored_bytes(self) -> int:
        """Bytes of its parameters and buffers, and of those of an autoencoder of our own."""
        own = list(self.net.state_dict().values())
        own += [] if self.config.autoencoder is None else list(self.codec.state().values())
        return sum(t.numel() * t.element_size() for t in own)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels of 0 to 1, `(B, C, H, W)`, to z."""
        return self.codec.encode(pixels)

    def decode(self, z: Tensor) -> Tensor:
        """z to pixels on the scale of 0 to 1, not clamped; gradients go through."""
        return self.codec.decode(z)

    def to(self, device: torch.device | str) -> Denoiser:
        """Itself, with its network on a device."""
        self.net.to(device)
        self.codec = self.codec.to(torch.device(device))
        return self

    def predict(self, z: Tensor, t: int | Tensor, y: Tensor | None, cfg: float = 1.0) -> tuple[Tensor, Tensor]:
        """The clean images and the noise that z is made of, both differentiable in z.

        Args:
            z: `(B, C, H, W)`, in variance-preserving coordinates.
            t: an index of `abar`, or one for each image `(B,)`.
            y: classes `(B,)`; none: the null class.
            cfg: how far from the null class's estimate to that of y; 1 asks for y alone.
        """
        kind, steps = prediction(self.config.prediction), torch.as_tensor(t, device=z.device).expand(len(z))
        abar = self.abar.to(z.device)[steps]
        x, time = kind.seen(z, steps, abar)
        output = self._asked(x, time, None if y is None else self.label(y), cfg)
        return kind.estimates(z, output, abar)

    def _asked(self, x: Tensor, time: Tensor, label: Tensor | None, cfg: float) -> Tensor:
        """What the network gives, guided."""
        if label is not None and cfg == 1:
            return self.net(x, time, label)
        null = torch.full((len(x),), self.null_label, device=x.device)
        if label is None:
            return self.net(x, time, null)
        of_y, of_null = self.net(torch.cat((x, x)), torch.cat((time, time)), torch.cat((label, null))).chunk(2)
        return of_null + cfg * (of_y - of_null)

    def label(self, y: Tensor) -> Tensor:
        """The network's labels `(B,)` of classes `(B,)`."""
        return y if self.labels is None else torch.tensor(self.labels, device=y.device)[y]

    @property
    def null_label(self) -> int:
        """The network's label of no class. `InputError` where it has none."""
        self.check_guidable()
        return len(self.config.classes) if self.null is None else self.null

    def check_guidable(self) -> None:
        """`InputError` for a network without a null class, which guidance (cfg other than 1) goes by."""
        if self.null == NO_NULL:
            raise InputError(
                f"the denoiser knows no images without a class, so it cannot be guided: {option('cfg', 1)} asks for none"
            )

    def state(self) -> dict[str, Tensor]:
        """The parameters and buffers of its network by name."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.net.state_dict().items()}

    def tensors(self) -> dict[str, Tensor]:
        """Those of its network and of its codec."""
        return {**self.state(), **{f"{CODEC}{name}": tensor for name, tensor in self.codec.state().items()}}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave. `InputError` where they are another denoiser's."""
        self.load_state({name: tensor for name, tensor in tensors.items() if not name.startswith(CODEC)})
        self.codec.load_state({n.removeprefix(CODEC): tensor for n, tensor in tensors.items() if n.startswith(CODEC)})

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave. `InputError` where it is another network's."""
        try:
            self.net.load_state_dict(dict(state))
        except RuntimeError as error:
            raise InputError(f"these are not the weights of this denoiser: {' '.join(str(error).split())}") from None

    @classmethod
    def load(cls, folder: str | Path, classes: Sequence[str] | None = None) -> Denoiser:
        """Read a denoiser again.

        Args:
            folder: what `save`, `train_denoiser(out=…)` or `refluence generate train` wrote, or as `load_denoiser` has it.
            classes: those to sample of, in an order of your own; None: all, as they were trained on.

        Returns:
            The denoiser.

        Raises:
            InputError: no denoiser, or classes that it does not know.

        Example:
            >>> import tempfile
            >>> import refluence as rf
            >>> folder = tempfile.mkdtemp()
            >>> rf.train_denoiser("digits", iterations=1).save(folder)
            >>> rf.Denoiser.load(folder, classes=["3", "1"]).classes
            ('3', '1')
        """
        from refluence.generate.denoiser_folder import CONFIG, holds_denoiser, load_denoiser

        place = holds_denoiser(Path(folder))
        if classes is None and place is None:
            raise InputError(f"{folder} is no denoiser that Refluence wrote: say the classes too, Denoiser.load(…, classes)")
        return load_denoiser(folder, read_json(place / CONFIG)["classes"] if classes is None and place else classes or ())

    def save(self, folder: str | Path, card: Json | None = None) -> None:
        """Write it into `folder/denoiser`, with all classes of its network; `card`: further facts, as those of a run."""
        from refluence.generate.denoiser_folder import save_denoiser

        save_denoiser(Path(folder) / self.kind, self, card or {})


def build_denoiser(config: DenoiserConfig, generator: torch.Generator) -> Denoiser:
    """A new denoiser on the CPU, initialised from the generator alone; a `pretrained` one with the weights of its source."""
    if config.kind == PRETRAINED:
        from refluence.generate.pretrained import load_pretrained

        return load_pretrained(config.source, config.classes, config.shape)
    with seeded(generator):
        net = _network(config)
        if config.autoencoder is None:
            return Denoiser(net, config)
        return Denoiser(net, config, codec=Latents(build_autoencoder(config.autoencoder, config.shape)))


def _network(config: DenoiserConfig) -> nn.Module:
    """The network of a kind: `(z, t, y) -> prediction`, t `(B,)` from 0 to 1000."""
    sizes = {"width": config.width, "depth": config.depth, "heads": config.heads}
    if config.kind == "unet":
        return unet(config.noised, len(config.classes), **sizes)
    return Transformer(config.noised, len(config.classes), patch=config.patch, **sizes)


def fitted(denoiser: Denoiser, where: str | Path, classes: Sequence[str], shape: Shape | None = None) -> Denoiser:
    """The same denoiser for data of these classes, in this order. `where` names it in a message.

    Raises:
        InputError: classes that it does not know, or images of another size than it makes.
    """
    places, own = _places(where, denoiser.classes, classes), denoiser.config.shape
    if shape is not None and tuple(shape) != own:
        theirs, ours = (" x ".join(map(str, each)) for each in (own, shape))
        raise InputError(f"the denoiser {where} makes images of {theirs}, the data have {ours}: {_remedy(own, shape)}")
    if places is None:
        return denoiser
    return replace(denoiser, asked=tuple(classes), labels=tuple(denoiser.label(torch.tensor(places)).tolist()))


def _places(where: str | Path, known: tuple[str, ...], classes: Sequence[str]) -> tuple[int, ...] | None:
    """The place of each class of the data among those of the denoiser; None where they are the same."""
    if known == tuple(classes):
        return None
    if set(classes) <= set(known):
        return tuple(known.index(name) for name in classes)
    raise InputError(f"the denoiser {where} knows {_listed(known)}, the data have {_listed(classes)}: train one on these data")


def _listed(names: Sequence[str]) -> str:
    """Names of classes for a message, at most six of them."""
    more = f", … ({len(names)} classes)" if len(names) > 6 else ""
    return f"{', '.join(names[:6])}{more}"


def _remedy(theirs: Shape, ours: Shape) -> str:
    if theirs[0] != ours[0] or theirs[1] != theirs[2]:
        return "train one on these data"
    return f"{option('image_size', theirs[1])} reads the data so, or train one on these"


def digest(denoiser: Denoiser) -> str:
    """SHA-256 of all that decides its samples: configuration, labels of classes, schedule, weights, codec."""
    count = len(denoiser.classes)
    null = len(denoiser.config.classes) if denoiser.null is None else denoiser.null
    labels = dict(zip(denoiser.classes, denoiser.label(torch.arange(count)).tolist(), strict=True))
    said = {"config": denoiser.config.to_json(), "labels": list(labels.items()), "null": null}
    whole = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name, tensor in sorted({**denoiser.tensors(), "abar": denoiser.abar.cpu()}.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        whole.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()
