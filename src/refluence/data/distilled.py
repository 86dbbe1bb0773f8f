"""The distilled set on disk: `images.safetensors`, `card.json` and a `README.md` that says how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from refluence.data.check import check, check_card
from refluence.data.formation import decode, repeat
from refluence.data.html import SHOWN, pictures
from refluence.data.readme import CARD, IMAGES, README, readme
from refluence.errors import InputError
from refluence.files import Json, read_json, write_json, write_tensors, write_text
from refluence.locks import held
from refluence.version import __version__

FORMAT = 1
"""Version of the folder's layout, as `version` in the card."""
PATIENCE = 30.0  # seconds to wait for another process that counts a use of the test split


@dataclass(frozen=True)
class DistilledSet(TorchDataset[tuple[Tensor, Tensor]]):
    """A small set of images: a map-style torch `Dataset` of what is stored; `tensors()` gives what networks train on.

    Args:
        images: `(M, C, H, W)` float32, normalised by `mean` and `std`.
        labels: `(M,)` int64, indices into `classes`.
        classes: their names.
        mean: `(C,)`, on [0, 1] pixels: pixel = image * std + mean.
        std: the same.
        influence: `(M,)`, where it was measured, of each synthetic image on the objective; it orders the pictures and is no
            part of what is learned.
        soft: `(M, len(classes))` float32, learned probabilities.
        factor: each stored image holds factor^2 images (IDC, arXiv 2205.14959, eq. 6), which `tensors()` decodes.
        stage: `(M,)` int64, the stage in which each image was learned, from 0 on.
        lr: the learning rate that was learned with the images.

    Example:
        >>> import torch
        >>> import refluence as rf
        >>> small = rf.DistilledSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.25,))
        >>> image, label = small[1]
        >>> len(small), tuple(image.shape), int(label), small.stored_bytes
        (2, (1, 8, 8), 1, 528)
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    influence: Tensor | None = None
    soft: Tensor | None = None
    factor: int = 1
    stage: Tensor | None = None
    lr: float | None = None

    kind: ClassVar[str] = "distilled"
    files: ClassVar[tuple[str, ...]] = (IMAGES,)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        c, h, w = self.images.shape[1:]
        return f"DistilledSet({len(self)} images {c} x {h} x {w} of {len(self.classes)} classes)"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{shown(self)}"

    @property
    def stored_bytes(self) -> int:
        """What the set is paid for (`stored_bytes`)."""
        return stored_bytes(self)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image `(C, H, W)` and label of one stored image: the set is a map-style torch `Dataset`."""
        return self.images[index], self.labels[index] if self.soft is None else self.soft[index]

    def tensors(self) -> tuple[Tensor, Tensor]:
        """What networks train on: decoded images `(N, C, H, W)`, normalised by `mean` and `std`, and their labels.

        Labels are `(N,)` int64, or `(N, classes)` probabilities where soft labels were learned.

        Example:
            >>> small = DistilledSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.25,), factor=2)
            >>> [tuple(part.shape) for part in small.tensors()]
            [(8, 1, 8, 8), (8,)]
        """
        whole = decoded(self)
        return whole.images, whole.labels if whole.soft is None else whole.soft

    def save(self, folder: str | Path, card: Mapping[str, object] | None = None) -> None:
        """Write the set into `folder/distilled`, with what is known of it beside its own facts."""
        save_distilled(Path(folder) / self.kind, self, {**(card or {}), "images": len(self.labels)})

    @classmethod
    def load(cls, folder: str | Path) -> DistilledSet:
        """The set that `save` wrote, or that of a run's folder.

        Example:
            >>> import tempfile
            >>> folder = tempfile.mkdtemp()
            >>> DistilledSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ("a", "b"), (0.5,), (0.25,)).save(folder)
            >>> len(DistilledSet.load(folder))
            2
        """
        return load_distilled(Path(folder))


def save_distilled(folder: Path, distilled: DistilledSet, card: Mapping[str, object]) -> None:
    """Write the set into `folder`. `card` (JSON values: method, data, seed, …) is completed by the set's own facts.

    The card is written last, so a folder with a card is whole.
    """
    folder = Path(folder)
    tensors = {"images": distilled.images.detach().float(), "labels": distilled.labels.detach().long()}
    if distilled.soft is not None:
        tensors["soft"] = distilled.soft.detach().float()
    if distilled.stage is not None:
        tensors["stage"] = distilled.stage.detach().long()
    facts = ({} if distilled.factor == 1 else {"factor": distilled.factor}) | (
        {} if distilled.lr is None else {"lr": float(distilled.lr)}
    )
    check(folder / IMAGES, tensors, len(distilled.classes), distilled.mean, distilled.std, facts)
    extra = {} if distilled.influence is None else {"influence": distilled.influence.detach().float()}
    write_tensors(folder / IMAGES, {**tensors, **extra}, {"format": "pt"})
    complete = {
        **card,
        "classes": list(distilled.classes),
        "mean": list(distilled.mean),
        "std": list(distilled.std),
        "shape": list(tensors["images"].shape),
        **facts,
        "stored_bytes": stored_bytes(distilled),
        "version": FORMAT,
        "refluence": __version__,
        "test_uses": 0,
    }
    write_text(folder / README, readme(complete, tensors))
    write_json(folder / CARD, complete)


def load_distilled(folder: Path) -> DistilledSet:
    """Read a distilled set from its folder, or from the run folder that holds it as `distilled/`.

    `InputError` where the folder is none, a file is missing or broken, or card and tensors disagree.
    """
    folder = locate(folder)
    card = read_card(folder)
    try:
        tensors = load_file(folder / IMAGES)
    except FileNotFoundError:
        raise InputError(f"{folder / IMAGES} does not exist, but {CARD} does: the set is not whole") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / IMAGES} cannot be read as safetensors: {error}") from error
    check(folder / IMAGES, tensors, len(card["classes"]), card["mean"], card["std"], card)
    return DistilledSet(
        images=tensors["images"],
        labels=tensors["labels"],
        classes=tuple(card["classes"]),
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        influence=tensors.get("influence"),
        soft=tensors.get("soft"),
        factor=card.get("factor", 1),
        stage=tensors.get("stage"),
        lr=card.get("lr"),
    )


def decoded(distilled: DistilledSet) -> DistilledSet:
    """The set that networks are trained on: factor^2 M images with their labels, soft labels and stages, factor 1."""
    if distilled.factor == 1:
        return distilled

    def repeated(part: Tensor | None) -> Tensor | None:
        return None if part is None else repeat(part, distilled.factor)

    return replace(
        distilled,
        images=decode(distilled.images, distilled.factor),
        labels=repeat(distilled.labels, distilled.factor),
        influence=repeated(distilled.influence),
        soft=repeated(distilled.soft),
        stage=repeated(distilled.stage),
        factor=1,
    )


def stored_bytes(distilled: DistilledSet) -> int:
    """What the set is paid for: images and soft labels of 4 bytes a number, labels and stages of 8, a learning rate of 4."""
    learned = [distilled.images] + ([] if distilled.soft is None else [distilled.soft])
    whole = [distilled.labels] + ([] if distilled.stage is None else [distilled.stage])
    numbers = sum(part.numel() for part in learned) + (distilled.lr is not None)
    return 4 * numbers + 8 * sum(part.numel() for part in whole)


def locate(folder: Path) -> Path:
    """The folder of the card: `folder` itself or its `distilled/`."""
    folder = Path(folder)
    for place in (folder, folder / "distilled"):
        if (place / CARD).is_file():
            return place
    if folder.is_dir():
        raise InputError(f"{folder} holds no distilled set: expected {IMAGES} and {CARD} in it or in {folder}/distilled")
    raise InputError(f"{folder} does not exist: expected the folder of a distilled set")


def read_card(folder: Path) -> Json:
    """The card of a distilled set. `InputError` where it is missing, broken, or of a newer layout."""
    path = locate(folder) / CARD
    card = read_json(path)
    missing = {"classes", "mean", "std", "version"} - set(card) if isinstance(card, dict) else {"everything"}
    if missing:
        raise InputError(f"{path} is not the card of a distilled set: it lacks {', '.join(sorted(missing))}")
    if card["version"] != FORMAT:
        raise InputError(f"{path} has version {card['version']}; this Refluence ({__version__}) reads version {FORMAT}")
    check_card(path, card)
    return card


def count_test_use(folder: Path) -> int:
    """Note in the card that the test split was used once more; returns how often by now."""
    place = locate(folder)
    with held(place / f".{CARD}.lock", str(place / CARD), PATIENCE):  # two at once must not count as one
        card = read_card(place)
        card["test_uses"] = int(card.get("test_uses", 0)) + 1
        write_json(place / CARD, card)
    return int(card["test_uses"])


def shown(distilled: DistilledSet) -> str:
    """The first images as HTML."""
    return pictures(to_uint8(replace(distilled, images=distilled.images[:SHOWN])))


def to_uint8(distilled: DistilledSet) -> Tensor:
    """Pixels `(M, C, H, W)` uint8: denormalised, rounded, clamped to 0 … 255."""
    return pixel_values(distilled).round().clamp(0, 255).to(torch.uint8)


def pixel_values(distilled: DistilledSet) -> Tensor:
    """Pixels `(M, C, H, W)` float32 on the scale of 0 … 255, unclamped: learned pixels often lie outside."""
    mean = torch.tensor(distilled.mean).view(-1, 1, 1)
    std = torch.tensor(distilled.std).view(-1, 1, 1)
    return (distilled.images.float().cpu() * std + mean) * 255
