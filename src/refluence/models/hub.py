"""An image classifier in a folder as the Hugging Face Hub has them: that of timm, or of transformers.

    timm            config.json with `architecture`, `num_classes` and `pretrained_cfg` (mean, std, input_size)
    transformers    config.json with `model_type` and `id2label`, preprocessor_config.json with `image_mean` and `image_std`

Weights are read from safetensors alone, and no code of a folder is run.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from refluence.errors import InputError, option
from refluence.files import Json, read_json
from refluence.models.library import Library, reason, timm_network
from refluence.models.logits import ImageLogits
from refluence.models.own import Own, last_linear
from refluence.models.plain import plain
from refluence.models.renormalised import Normalisation
from refluence.randomness import seeded
from refluence.text import quiet, reached

CONFIG, WEIGHTS, SHARDS = "config.json", "model.safetensors", "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
WANTED = ("*.json", "*.safetensors", "*.txt")
TRIED = 32  # pixels a side of the image on which the last linear layer is looked for, where any size will do


@dataclass(frozen=True)
class Hub:
    """A classifier with its weights. `name`: `timm:NAME`, or the class of transformers with `()` behind it.

    `classes` are the names of its logits, empty where they are not known; `count` how many there are. `headless`: its last
    layer has no weights there. `size`: side of its images, where it takes no other.
    """

    net: Library | Own
    name: str
    count: int
    classes: tuple[str, ...]
    normalisation: Normalisation
    size: int | None
    headless: bool = False


def is_hub(folder: Path) -> bool:
    """Whether a folder looks like a model of the Hub."""
    return (folder / CONFIG).is_file() and any(key in read_json(folder / CONFIG) for key in ("architecture", "model_type"))


def fetched(name: str, flag: str, wanted: Sequence[str] = WANTED) -> Path:
    """The folder of a model of the Hub by name: a local folder, else the cache, else its `wanted` files are fetched."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    from huggingface_hub import snapshot_download

    online = reached(name)
    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted), local_files_only=not online))
    except Exception as error:
        why = reason(error) if online else "it is not in the cache, and the Hub cannot be reached"
        raise InputError(
            f"{option(flag)} hf:{name}: there is no such folder, and the Hub does not give it ({why}); download it where there "
            "is a network, and name its folder"
        ) from None


def read_hub(folder: Path, channels: int, flag: str) -> Hub:
    """The classifier in a folder, for images of so many channels.

    Raises:
        InputError: a folder without config or safetensors, or with what is no classifier of images.
    """
    where = f"{option(flag)} {folder}"
    if not is_hub(folder):
        raise InputError(f"{where} is no model of the Hub: it needs a {CONFIG} with `architecture` (timm) or `model_type`")
    if not any((folder / name).is_file() for name in (WEIGHTS, SHARDS)):
        raise InputError(f"{where} has no {WEIGHTS}: pickles are never loaded here")
    config = read_json(folder / CONFIG)
    with seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _timm(folder, config, channels) if "architecture" in config else _transformers(folder)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        except Exception as error:
            raise InputError(f"{where} cannot be loaded as a classifier of images ({reason(error)})") from None


def averaged(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """A number a channel; for grey images before a network of colours, whose first layer is summed up, their mean."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _timm(folder: Path, config: Json, channels: int) -> Hub:
    settings = {**config, **config.get("pretrained_cfg", {})}
    name, count = f"timm:{config['architecture']}", int(config["num_classes"])
    more = {"pretrained_cfg_overlay": {"file": str(folder / WEIGHTS), "num_classes": count}, "num_classes": count}
    net = timm_network(name, channels, {**config.get("model_args", {}), **more})
    size = settings["input_size"][-1] if settings.get("fixed_input_size") else None
    normalisation = averaged(settings["mean"], channels), averaged(settings["std"], channels)
    names = config.get("label_names") or ()
    return Hub(net, name, count, tuple(names) if isinstance(names, list) else (), normalisation, size)


def _transformers(folder: Path) -> Hub:
    try:
        from transformers import AutoModelForImageClassification
    except ImportError:
        raise InputError("it needs transformers, which is not installed: pip install refluence[text]") from None
    if not (folder / PREPROCESSOR).is_file():
        raise InputError(f"it has no {PREPROCESSOR}, which says what its pixels are normalised by")
    pixels = read_json(folder / PREPROCESSOR)
    with quiet():
        found, told = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    names = tuple(found.config.id2label[i] for i in range(found.config.num_labels))
    size = getattr(found.config, "image_size", None)
    size = size if isinstance(size, int) else None
    whole = ImageLogits(plain(found)[0]).eval()
    place, _ = last_linear(whole, torch.zeros(2, found.config.num_channels, *[size or TRIED] * 2), len(names))
    if place is None:
        raise InputError(f"{type(found).__name__} does not end in a linear layer")
    missing = [key for key in told["missing_keys"] if not f"module.{key}".startswith(f"{place}.")]
    if missing:
        raise InputError(f"{missing[0]} is missing there")
    mean, std = (tuple(pixels[key]) for key in ("image_mean", "image_std"))
    if not pixels.get("do_normalize", True):
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    known = () if names == tuple(f"LABEL_{i}" for i in range(len(names))) else names
    headless = bool(told["missing_keys"])
    return Hub(Own(whole, place), f"{type(found).__name__}()", len(names), known, (mean, std), size, headless)
