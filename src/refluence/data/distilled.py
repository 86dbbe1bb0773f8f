"""The distilled set on disk: `images.safetensors`, `card.json` and a `README.md` that says how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from refluence import __version__
from refluence.errors import InputError
from refluence.files import read_json, write_json, write_tensors, write_text

IMAGES, CARD, README = "images.safetensors", "card.json", "README.md"
FORMAT = 1
"""Version of the folder's layout, as `version` in the card."""
LOSES = """- **Exporting to PNG loses accuracy**: pixels lie between the 256 levels that a PNG can hold, or beyond them.
  Train on the tensors; look at the PNGs."""
TILES = """- Each image holds {factor} x {factor} reduced images. Train on all of them, enlarged:
  `refluence.data.formation.decode(images, {factor})` with `refluence.data.formation.repeat(labels, {factor})`.
"""
KEEPS = "- Exporting to PNG loses nothing: these are real images of 8 bits."


@dataclass(frozen=True)
class DistilledSet:
    """`images (M, C, H, W)` float32, normalised by `mean` and `std`; `labels (M,)` int64, indices into `classes`.

    `mean` and `std` are per channel on [0, 1] pixels: pixel = image * std + mean. `influence (M,)`, where it was measured,
    is that of each synthetic image on the objective: it orders the pictures and is no part of what is learned. With a
    `factor` above 1 each image holds factor x factor reduced ones, and training takes `formation.decode(images, factor)`.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    influence: Tensor | None = None
    factor: int = 1

    def __len__(self) -> int:
        return len(self.labels)


def save_distilled(folder: Path, distilled: DistilledSet, card: Mapping[str, Any]) -> None:
    """Write the set into `folder`. `card` (JSON values: method, data, seed, …) is completed by the set's own facts.

    The card is written last, so a folder with a card is whole.
    """
    folder = Path(folder)
    tensors = {"images": distilled.images.detach().float(), "labels": distilled.labels.detach().long()}
    _check(folder, tensors, len(distilled.classes), distilled.mean, distilled.std)
    extra = {} if distilled.influence is None else {"influence": distilled.influence.detach().float()}
    write_tensors(folder / IMAGES, {**tensors, **extra}, {"format": "pt"})
    complete = {
        **card,
        "classes": list(distilled.classes),
        "mean": list(distilled.mean),
        "std": list(distilled.std),
        "shape": list(tensors["images"].shape),
        "factor": distilled.factor,
        "stored_bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        "version": FORMAT,
        "refluence": __version__,
        "test_uses": 0,
    }
    write_text(folder / README, _readme(complete))
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
    _check(folder, tensors, len(card["classes"]), card["mean"], card["std"])
    facts = (tuple(card["classes"]), tuple(card["mean"]), tuple(card["std"]))
    return DistilledSet(tensors["images"], tensors["labels"], *facts, tensors.get("influence"), card.get("factor", 1))


def locate(folder: Path) -> Path:
    """The folder of the card: `folder` itself or its `distilled/`."""
    folder = Path(folder)
    for place in (folder, folder / "distilled"):
        if (place / CARD).is_file():
            return place
    if folder.is_dir():
        raise InputError(f"{folder} holds no distilled set: expected {IMAGES} and {CARD} in it or in {folder}/distilled")
    raise InputError(f"{folder} does not exist: expected the folder of a distilled set")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a distilled set. `InputError` where it is missing, broken, or of a newer layout."""
    path = locate(folder) / CARD
    card = read_json(path)
    missing = {"classes", "mean", "std", "version"} - set(card) if isinstance(card, dict) else {"everything"}
    if missing:
        raise InputError(f"{path} is not the card of a distilled set: it lacks {', '.join(sorted(missing))}")
    if card["version"] != FORMAT:
        raise InputError(f"{path} has version {card['version']}; this Refluence ({__version__}) reads version {FORMAT}")
    return card


def count_test_use(folder: Path) -> int:
    """Note in the card that the test split was used once more; returns how often by now."""
    place = locate(folder)
    card = read_card(place)
    card["test_uses"] = int(card.get("test_uses", 0)) + 1
    write_json(place / CARD, card)
    return card["test_uses"]


def to_uint8(distilled: DistilledSet) -> Tensor:
    """Pixels `(M, C, H, W)` uint8: denormalised, rounded, clamped to 0 … 255."""
    return pixel_values(distilled).round().clamp(0, 255).to(torch.uint8)


def pixel_values(distilled: DistilledSet) -> Tensor:
    """Pixels `(M, C, H, W)` float32 on the scale of 0 … 255, unclamped: learned pixels often lie outside."""
    mean = torch.tensor(distilled.mean).view(-1, 1, 1)
    std = torch.tensor(distilled.std).view(-1, 1, 1)
    return (distilled.images.float().cpu() * std + mean) * 255


def _check(folder: Path, tensors: Mapping[str, Tensor], classes: int, mean, std) -> None:
    """Names, shapes, types and ranges of the tensors agree with the card."""
    images, labels = tensors.get("images"), tensors.get("labels")
    where = folder / IMAGES
    if images is None or labels is None:
        raise InputError(f"{where} holds {', '.join(tensors) or 'nothing'}: expected images and labels")
    if images.ndim != 4 or labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise InputError(
            f"{where}: images {tuple(images.shape)} and labels {tuple(labels.shape)} {labels.dtype} do not fit: "
            "expected (M, C, H, W) and (M,) int64"
        )
    if not len(mean) == len(std) == images.shape[1]:
        raise InputError(f"{where}: {images.shape[1]} channels, but {len(mean)} means and {len(std)} stds")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"{where}: labels run from {labels.min()} to {labels.max()}, but there are {classes} classes")
    if not torch.isfinite(images).all():
        raise InputError(f"{where}: {int((~torch.isfinite(images)).sum())} pixels are not finite numbers")


def _readme(card: Mapping[str, Any]) -> str:
    count, channels, height, width = card["shape"]
    made = " ".join(f"{name} `{card[name]}`," for name in ("arm", "source", "ipc", "seed") if name in card).rstrip(",")
    real, factor = card.get("iterations") == 0, card["factor"]  # real: chosen, not learned
    kind, export = ("real" if real else "learned", KEEPS if real and factor == 1 else LOSES)
    tiles = "" if factor == 1 else TILES.format(factor=factor)
    return f"""# A distilled dataset

{count} {kind} images of {channels} x {height} x {width}, {len(card["classes"])} classes{f" ({made})" if made else ""}.
A network is trained on these in place of the real training set. Made with Refluence {__version__};
`card.json` says how, in `{IMAGES}` are the tensors ({card["stored_bytes"]:,} bytes).

```python
import json, torch
from safetensors.torch import load_file
card, tensors = json.load(open("{CARD}")), load_file("{IMAGES}")
images, labels = tensors["images"], tensors["labels"]  # (M, C, H, W) float32 normalised, (M,) int64
dataset = torch.utils.data.TensorDataset(images, labels)
```

- Normalised: `image = (pixel / 255 - mean) / std`, per channel, with mean {_numbers(card["mean"])} and
  std {_numbers(card["std"])} of the real training split. Normalise real test images the same way.
{tiles}- Class names, in the order of the labels, are `classes` in `card.json`.
{export}
- `test_uses` in `card.json` counts how often the test split was used to judge this set.
"""


def _numbers(values) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"
