"""The README.md of a distilled set: how to load it without this library, and what to know of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from refluence.files import Json
from refluence.version import __version__

IMAGES, CARD, README = "images.safetensors", "card.json", "README.md"
LOSES = """- **Exporting to PNG loses accuracy**: pixels lie between the 256 levels that a PNG can hold, or beyond them.
  Train on the tensors; look at the PNGs."""
KEEPS = "- Exporting to PNG loses nothing: these are real images of 8 bits."


def readme(card: Json, tensors: Collection[str]) -> str:
    """The page for a complete card and the names of the stored tensors."""
    count, channels, height, width = card["shape"]
    made = " ".join(f"{name} `{card[name]}`," for name in ("arm", "source", "ipc", "seed") if name in card).rstrip(",")
    sampled = "denoiser" in card
    real = card.get("iterations") == 0 and not sampled  # chosen, not learned
    exact = real and card.get("factor", 1) == 1  # tiles are of reduced images
    kind, export = "sampled" if sampled else "real" if real else "learned", KEEPS if exact else LOSES
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
- Class names, in the order of the labels, are `classes` in `card.json`.
{export}
- `test_uses` in `card.json` counts how often the test split was used to judge this set.
{_learned(card, tensors)}"""


def _learned(card: Json, tensors: Collection[str]) -> str:
    """The lines on optional parts: those that this set has."""
    lines = []
    if licence := card.get("denoiser", {}).get("licence"):
        lines.append(f"- The denoiser that these images were sampled from is under {licence}: check what that allows here.")
    if "soft" in tensors:
        lines.append(
            "- `soft` (M, classes) float32 in the tensors are soft labels: probabilities that were learned with the images."
        )
    if "stage" in tensors:
        lines.append("- `stage` (M,) int64 in the tensors: train on the images of stage 0, then of 0 and 1, and so on.")
    if "lr" in card:
        lines.append(f"- Train at the learning rate that was learned with the images: {card['lr']:g} (`lr` in `card.json`).")
    if (factor := card.get("factor", 1)) > 1:
        count = factor**2 * card["shape"][0]
        lines.append(f"""- **Decode before training**: each stored image holds {factor} x {factor} images, {count} in all.
  Other tensors of one row an image are repeated as the labels are.

```python
from torch.nn.functional import interpolate
parts = [p for row in images.tensor_split({factor}, 2) for p in row.tensor_split({factor}, 3)]
images = torch.cat([interpolate(p, images.shape[2:], mode="bilinear") for p in parts])
labels = torch.cat([labels] * {factor**2})
```""")
    return "".join(f"{line}\n" for line in lines)


def _numbers(values: Iterable[float]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"
