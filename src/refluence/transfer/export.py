"""A trained network in a folder, a student or a teacher, for other tools: as ONNX, as transformers has it, or its tensors."""

from __future__ import annotations

import shutil
from pathlib import Path

from refluence.errors import InputError, option
from refluence.files import appearing, write_text
from refluence.models import read_spec
from refluence.models.onnx_file import FILE, IMAGES, LOGITS, OPSET, export_onnx
from refluence.models.text import TextSpec, write_transformers
from refluence.models.text_net import TextNet
from refluence.transfer.artifact import CARD, README, WEIGHTS, Student, read_card

FORMATS = ("onnx", "transformers", "tensors")


def holds_network(folder: Path) -> Path | None:
    """The place of a trained network: `folder/student`, or `folder` itself; None where neither is one."""
    places = (folder / Student.kind, folder)
    return next((p for p in places if (p / WEIGHTS).is_file() and (p / CARD).is_file()), None)


def usual_format(place: Path) -> str:
    """What the network in `place` is written as, unless another format is asked for."""
    return "transformers" if isinstance(read_spec(read_card(place)["model"]), TextSpec) else "onnx"


def export_network(place: Path, format: str, out: Path) -> str:
    """Write the network in `place` to `out`, a new or empty folder, and say in one paragraph what lies there.

    Args:
        place: a folder with `model.safetensors` and `card.json`.
        format: `onnx` writes `model.onnx`, for images of 0 to 1 with the normalisation inside; `transformers` a folder that
            `AutoModelForSequenceClassification` reads, of a network for texts; `tensors` copies what lies there.
        out: appears in one step.

    Raises:
        InputError: a format that this network does not have, an `out` that holds something, packages that are missing.
    """
    if format not in FORMATS:
        raise InputError(f"{option('format', format)} is for a distilled set: a network has {', '.join(FORMATS)}")
    network = Student.load(place)
    texts = isinstance(network.model, TextSpec)
    if format != "tensors" and texts != (format == "transformers"):
        right = "transformers" if texts else "onnx"
        raise InputError(f"{option('format', format)}: a network for {'texts' if texts else 'images'} has {right} or tensors")
    with appearing(out) as part:
        said = {"onnx": _onnx, "transformers": _transformers, "tensors": _tensors}[format](network, place, part)
        shutil.copyfile(place / CARD, part / CARD)
    return f"Wrote {network.model.label}, {network.parameters:,} parameters, {len(network.classes)} classes, to {out}: {said}."


def _onnx(network: Student, place: Path, out: Path) -> str:
    export_onnx(
        network.net, network.model.shape, out / FILE,
        classes=network.classes, mean=network.mean, std=network.std, model=network.model.label,
    )  # fmt: skip
    size, sides = (out / FILE).stat().st_size / 2**20, " x ".join(map(str, network.model.shape))
    write_text(out / README, _readme(network))
    return f"{FILE} ({size:.1f} MiB, opset {OPSET}) takes images {sides} of 0 to 1, as many at once as you like"


def _transformers(network: Student, place: Path, out: Path) -> str:
    assert isinstance(network.model, TextSpec), "it was checked"
    assert isinstance(network.net, TextNet), "what its specification builds"
    write_transformers(network.net, network.model, network.classes, out)
    shutil.copyfile(place / README, out / README)
    return "AutoModelForSequenceClassification.from_pretrained reads it"


def _tensors(network: Student, place: Path, out: Path) -> str:
    for name in (WEIGHTS, README):
        shutil.copyfile(place / name, out / name)
    return f"{WEIGHTS}, {CARD} and {README}"


def _readme(network: Student) -> str:
    """How to call it."""
    shape = ", ".join(map(str, network.model.shape))
    return f"""# {network.model.label} as ONNX

`{FILE}` (opset {OPSET}) takes `{IMAGES}`, (batch, {shape}) float32 with pixels of 0 to 1, and gives
`{LOGITS}`, (batch, {len(network.classes)}). The normalisation, (x - mean) / std, is in the graph: mean {list(network.mean)},
std {list(network.std)}. The metadata say the classes in the order of the logits.

```python
import json
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{FILE}")
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
pixels = np.zeros((1, {shape}), np.float32)  # yours: 8 bits over 255
(logits,) = session.run(None, {{"{IMAGES}": pixels}})
print(classes[logits[0].argmax()])
```
"""
