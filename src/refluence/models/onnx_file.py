"""A trained classifier as an ONNX file, for runtimes without PyTorch: `model.onnx`, opset 18.

    images (batch, C, H, W) float32, pixels of 0 to 1   ->   (x - mean) / std   ->   logits (batch, classes)

The normalisation is in the graph, since what reads the file has pixels. The metadata say classes, mean, std, model and version.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.files import replacing
from refluence.models.library import reason
from refluence.models.renormalised import Normalisation, Renormalised
from refluence.version import __version__

FILE, OPSET, NEEDED = "model.onnx", 18, ("onnx", "onnxscript")
IMAGES, LOGITS = "images", "logits"
TRACED = 2  # images on which the graph is traced: a batch of one would be taken for a constant


class _Pixels(nn.Module):
    """A network for pixels of 0 to 1."""

    def __init__(self, net: nn.Module, normalised: Normalisation):
        super().__init__()
        channels = len(normalised[0])
        self.net = Renormalised(net, ((0.0,) * channels, (1.0,) * channels), normalised)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, classes)`."""
        return self.net(images)


def export_onnx(
    net: nn.Module,
    shape: tuple[int, int, int],
    out: Path,
    *,
    classes: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    model: str = "",
) -> Path:
    """Write a trained network as ONNX, with any number of images at once.

    Args:
        net: gives logits `(B, classes)` of normalised images; it is left as it is.
        shape: of an image, (C, H, W).
        out: the file to write, such as `model.onnx`.
        classes: names in the order of the logits.
        mean: by channel, on [0, 1] pixels, what the network's images are normalised by.
        std: the same.
        model: its name, for the metadata.

    Returns:
        The file.

    Raises:
        InputError: packages that are missing, or a network that ONNX cannot say.

    Example:
        >>> from refluence.models import ModelSpec, build
        >>> net = build(ModelSpec("convnet1", (1, 8, 8), 2, 4), torch.Generator())
        >>> file = export_onnx(
        ...     net, (1, 8, 8), Path("model.onnx"), classes=("a", "b"), mean=(0.5,), std=(0.2,)
        ... )  # doctest: +SKIP
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"the format onnx needs {' and '.join(missing)}: pip install refluence[export]")
    whole = _Pixels(copy.deepcopy(net).cpu(), (mean, std)).eval()
    facts = {"classes": list(classes), "mean": list(mean), "std": list(std)}
    noisy = logging.getLogger("torch.onnx")
    before, noisy.disabled = noisy.disabled, True
    try:
        with torch.no_grad(), warnings.catch_warnings(), replacing(out) as temporary:
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                whole, (torch.rand(TRACED, *shape, generator=torch.Generator().manual_seed(0)),), dynamo=True, verbose=False,
                input_names=[IMAGES], output_names=[LOGITS], opset_version=OPSET, dynamic_shapes={IMAGES: {0: "batch"}},
            )  # fmt: skip
            assert program is not None, "the new exporter returns what it made"
            program.model.producer_name, program.model.producer_version = "refluence", __version__
            program.model.metadata_props.update({key: json.dumps(value) for key, value in facts.items()})
            program.model.metadata_props.update({"model": model, "pixels": "of 0 to 1, normalised in the graph"})
            program.save(temporary, external_data=False)
    except Exception as error:
        raise InputError(f"{model or type(net).__name__} cannot be written as ONNX ({reason(error)})") from error
    finally:
        noisy.disabled = before
    return out
