"""What every algorithm sees of a dataset: three splits of images, keyed by the row of the stored split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from html import escape

import torch
from torch import Tensor

from refluence.data.html import SHOWN, pictures
from refluence.data.origin import Origin
from refluence.options import SourceOptions


def unit(images: Tensor) -> Tensor:
    """A float32 copy on the scale of `mean` and `std`: 8 bits over 255, so from 0 to 1; floats as they come."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.to(torch.float32, copy=True)


@dataclass(frozen=True)
class Split:
    """Images `(N, C, H, W)`, uint8 (possibly memory-mapped) or float32, labels `(N,)` int64, rows `(N,)` int64.

    `rows` are the positions in the *stored* split (train for `train` and for a split that is cut from it), so that a score
    stays with its instance whatever is left out or shuffled. `soft (N, K)` are probabilities of the classes, where a source
    that is a distilled set has them. `groups (N,)` int64 number what stays together, where the source has groups. `stored (N,)`
    int64 are the labels of the source where `labels` or `noise` put others in their place, -1 for a class that is not here.
    `shifted (N,)` bool says which images `shift` brought from another domain, where it is asked for. Labels of an unlabelled
    split are -1; those of the source are in `stored`, for what a report says of them, and nothing learns from them. `texts`
    can be read, where `images` are token ids (text.py).
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    paths: tuple[str, ...] | None = None
    soft: Tensor | None = None
    groups: Tensor | None = None
    stored: Tensor | None = None
    shifted: Tensor | None = None
    texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        if self.texts is not None:
            return f"Split({len(self)} texts of at most {self.images.shape[1]} tokens)"
        return f"Split({len(self)} images {tuple(self.images.shape[1:])} {str(self.images.dtype).removeprefix('torch.')})"

    def members(self, label: int) -> Tensor:
        """Positions `(n_c,)` inside this split of the instances of one class, in order."""
        return (self.labels == label).nonzero().flatten()

    def pictures(self, positions: Tensor | slice = slice(None)) -> Tensor:
        """Images `(B, C, H, W)` uint8 to look at: floats are clipped to [0, 1] and rounded."""
        images = self.images[positions]
        return images if images.dtype == torch.uint8 else (images.clamp(0, 1) * 255).round().to(torch.uint8)

    def first(self, count: int) -> Split:
        """The first `count` instances of each class, or all that it has, in their order."""
        kept = torch.cat([self.members(label)[:count] for label in self.labels.unique().tolist()]).sort().values
        return self.take(kept)

    def take(self, positions: Tensor) -> Split:
        """The instances at `positions (B,)`, in that order."""

        def at(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[positions]

        return Split(
            images=self.images[positions],
            labels=self.labels[positions],
            rows=self.rows[positions],
            paths=None if self.paths is None else tuple(self.paths[p] for p in positions.tolist()),
            soft=at(self.soft),
            groups=at(self.groups),
            stored=at(self.stored),
            shifted=at(self.shifted),
            texts=None if self.texts is None else tuple(self.texts[p] for p in positions.tolist()),
        )


@dataclass(frozen=True)
class Dataset:
    """A data source, decoded and split.

    Args:
        source: what it was loaded from.
        classes: names, in the order of the labels.
        train: the training split; `rows` keep an instance's number in the stored split.
        val: the validation split, on which every choice is made.
        test: the test split.
        mean: `(C,)`, per channel on [0, 1] pixels of `train`.
        std: the same.
        notes: lines that say what was found in the source.
        validation: where `val` comes from: "cut from train", "split 'val'" of the source, as it is called there, or another
            source.
        options: how it was read.
        origin: what `load` gave, None where it was not asked.
        unlabelled: training instances whose labels (-1) are not known, where `labelled` is asked for; `train` holds the others.

    Example:
        >>> import refluence as rf
        >>> data = rf.load("digits")
        >>> data.shape, len(data.classes), data.pixels(data.train, slice(0, 2)).shape
        ((1, 8, 8), 10, torch.Size([2, 1, 8, 8]))
    """

    source: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = field(default=())
    validation: str = "cut from train"
    options: SourceOptions = field(default_factory=SourceOptions)
    origin: Origin | None = field(default=None, repr=False, compare=False)
    unlabelled: Split | None = None

    def __repr__(self) -> str:
        c, h, w = self.shape
        more = "" if self.unlabelled is None else f" and {len(self.unlabelled)} without labels"
        counts = f"train {len(self.train)}{more}, val {len(self.val)} ({self.validation}), test {len(self.test)}"
        return f"Dataset({self.source}: {len(self.classes)} classes, images {c} x {h} x {w}, {counts})"

    def _repr_html_(self) -> str:
        first = self.train.first(1)
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"<p>{escape(repr(self))}</p>{pictures(first.pictures(slice(SHOWN)))}<ul>{notes}</ul>"

    @property
    def validated_elsewhere(self) -> bool:
        """Whether `val` is from another source: then the own held-out error of an instance says nothing about it."""
        return self.validation != "cut from train" and not self.validation.startswith("split '")

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of every image."""
        c, h, w = self.train.images.shape[1:]
        return c, h, w

    @property
    def area(self) -> int:
        """Pixels of an image: what time and memory of a pass go by."""
        return self.shape[1] * self.shape[2]

    def normalised_as(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Dataset:
        """The same images, normalised as those of a set that was made from another source."""
        return replace(self, mean=mean, std=std)

    def pixels(self, split: Split, positions: Tensor | slice = slice(None), device: str | torch.device = "cpu") -> Tensor:
        """Normalised float32 images `(B, C, H, W)`: (x - mean)/std with x as `unit` gives it."""
        x = unit(split.images[positions].to(device))
        mean = torch.tensor(self.mean, device=device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=device).view(-1, 1, 1)
        return x.sub_(mean).div_(std)
