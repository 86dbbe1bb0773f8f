"""A denoiser that diffusers knows how to load: by the name of the Hugging Face Hub, or from a folder as diffusers saves it.

    facebook/DiT-XL-2-256, hf:NAME, DIR    a `DiTPipeline`: transformer/ vae/ scheduler/ model_index.json
    DIR                                    a `UNet2DModel` with class embeddings, alone or in a `DDPMPipeline`

The transformer works on latents: pixels go through the AutoencoderKL beside it, a few images at a time. It gives eps and a
variance, of which eps alone is used. Its null class is the one after those that it was trained on, and it is called without
dropout of labels, which diffusers draws anew in each block. abar are those of the folder's own scheduler.

A UNet's last label may be a class or none: it is none where the folder says so, by `null_label`, or by an `id2label` that names
all labels but one. Where it says neither, no label is, and cfg 1 alone is sampled.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

from torch import Tensor

from refluence.errors import InputError, option
from refluence.files import Json, read_json
from refluence.generate.codec import Shape
from refluence.generate.denoiser import NO_NULL, Denoiser
from refluence.generate.denoiser_config import PRETRAINED, DenoiserConfig
from refluence.generate.extra import need_diffusers
from refluence.generate.imagenet import COUNT, class_ids, imagenet_names
from refluence.generate.latent import EpsilonOf, Latents
from refluence.generate.predictions import linear_abar
from refluence.generate.unet import read_unet, settings_of
from refluence.models.hub import fetched
from refluence.models.library import reason

MODEL_INDEX, CONFIG, FLAG, HUB = "model_index.json", "config.json", "denoiser", "hf:"
PIPELINES, UNET = ("DiTPipeline", "DDPMPipeline"), "UNet2DModel"
NAME = re.compile(r"[\w.-]+/[\w.-]+")
WANTED = ("*.json", "*.safetensors", "README.md")
DIT_XL = {"num_layers": 28, "num_attention_heads": 16, "attention_head_dim": 72}
SHOWN = 12  # classes in a message
DIT_LICENCE = "CC-BY-NC-4.0"
NAMES, NULL = "id2label", "null_label"  # what a folder may say of its classes, in either JSON file
PREDICTS = {"epsilon": "epsilon", "v_prediction": "v"}  # how a scheduler of diffusers calls them


def is_pretrained(where: str | Path) -> bool:
    """Whether this is a folder of diffusers, or a name of the Hub and no folder."""
    folder = Path(where)
    if folder.is_dir():
        return _kind_of(folder) is not None
    return str(where).startswith(HUB) or (not folder.exists() and NAME.fullmatch(str(where)) is not None)


def load_pretrained(where: str | Path, classes: Sequence[str], shape: Shape | None = None) -> Denoiser:
    """The denoiser that diffusers loads from a folder or a name of the Hub.

    Args:
        where: as above.
        classes: of the data. A network of ImageNet's or of named classes has to know them, others have as many, in order.
        shape: `(C, H, W)` of the images; none: not checked.

    Raises:
        InputError: it is not there or cannot be fetched, it is no class-conditional denoiser of these classes and this size, or
            diffusers is not installed.
    """
    folder = place_of(str(where))
    kind = _kind_of(folder)
    if kind is None:
        raise InputError(f"{option(FLAG)} {where} is no denoiser: it needs a {MODEL_INDEX} of a DiTPipeline, or a {UNET}")
    need_diffusers(f"{option(FLAG)} {where}")
    library = import_module("diffusers")
    with _readable(where):
        denoiser = (_transformer if kind == PIPELINES[0] else _unet)(library, folder, str(where), tuple(classes))
    if shape is not None and tuple(shape) != denoiser.config.shape:
        theirs, ours = (" x ".join(map(str, each)) for each in (denoiser.config.shape, shape))
        remedy = f"{option('image_size', denoiser.config.shape[1])} reads them so"
        if shape[0] != denoiser.config.shape[0]:
            remedy = f"it needs images of {denoiser.config.shape[0]} channels"
        raise InputError(f"{option(FLAG)} {where} makes images of {theirs}, the data have {ours}: {remedy}")
    denoiser.net.eval().requires_grad_(False)
    licence = _licence(folder, str(where))
    if licence is not None:
        denoiser.card["licence"] = licence
        warnings.warn(
            f"the weights of {where} are under {licence}: so is what may be done with what is made by them", stacklevel=2
        )
    return denoiser


def place_of(where: str) -> Path:
    """The folder: that of the user, or the copy of the Hub's in its cache, to which it is fetched where it is not there.

    Raises:
        InputError: neither is there.
    """
    name = where.removeprefix(HUB)
    try:
        folder = fetched(name, FLAG, WANTED)
    except InputError as error:
        if where.startswith(HUB):
            raise
        raise InputError(
            f"there is no folder {where}; `refluence generate train` makes one there. As a name of the Hub: {error}"
        ) from error
    if _kind_of(folder) == PIPELINES[0] and not list((folder / "transformer").glob("*.safetensors")):
        folder = fetched(name, FLAG, (*WANTED, "*.bin"))  # read by torch.load(weights_only=True): no code in it is run
    return folder


def _kind_of(folder: Path) -> str | None:
    """`DiTPipeline`, `DDPMPipeline` or `UNet2DModel`, where the folder is one of them; a denoiser of our own is none."""
    for file, known in ((MODEL_INDEX, PIPELINES), (CONFIG, (UNET,))):
        if (folder / file).is_file():
            said = read_json(folder / file)
            if isinstance(said, dict) and said.get("_class_name") in known and "kind" not in said:
                return str(said["_class_name"])
    return None


def _transformer(library: ModuleType, folder: Path, where: str, classes: tuple[str, ...]) -> Denoiser:
    net = library.DiTTransformer2DModel.from_pretrained(folder / "transformer", local_files_only=True)
    codec = Latents(library.AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True))
    said = settings_of(net)
    side, known = said["sample_size"] * codec.halved, said["num_embeds_ada_norm"]
    predicts, abar = _schedule(library, folder / "scheduler")
    config = DenoiserConfig(
        shape=(codec.channels, side, side),
        classes=classes,
        kind=PRETRAINED,
        prediction=predicts,
        patch=said["patch_size"],
        width=said["num_attention_heads"] * said["attention_head_dim"],
        depth=said["num_layers"],
        heads=said["num_attention_heads"],
        source=_source(where),
    )
    labels = _labels(read_json(folder / MODEL_INDEX), known, classes, where)
    return Denoiser(EpsilonOf(net), config, codec=codec, abar=abar, labels=labels, null=known)


def _unet(library: ModuleType, folder: Path, where: str, classes: tuple[str, ...]) -> Denoiser:
    net = read_unet(folder / "unet" if (folder / "unet").is_dir() else folder)
    said = settings_of(net)
    known, size = said["num_class_embeds"], said["sample_size"]
    if known is None or size is None:
        raise InputError(
            f"{option(FLAG)} {where} knows no classes or no size of image: num_class_embeds and sample_size say them"
        )
    labels, null = _classes(_said(folder), known, classes, where)
    height, across = (size, size) if isinstance(size, int) else size
    predicts, abar = _schedule(library, folder / "scheduler")
    config = DenoiserConfig(
        shape=(said["in_channels"], height, across),
        classes=classes,
        kind=PRETRAINED,
        prediction=predicts,
        width=said["block_out_channels"][0],
        depth=len(said["block_out_channels"]),
        source=_source(where),
    )
    return Denoiser(net, config, abar=abar, labels=labels, null=null)


def _said(folder: Path) -> Json:
    """What the files of a UNet say of its classes."""
    found: Json = {}
    for place in (folder / MODEL_INDEX, folder / CONFIG, folder / "unet" / CONFIG):
        if place.is_file():
            found |= {key: value for key, value in read_json(place).items() if key in (NAMES, NULL) and value is not None}
    return found


def _classes(said: Json, known: int, classes: tuple[str, ...], where: str) -> tuple[tuple[int, ...], int]:
    """A UNet's label of each class, and that of images without one or `NO_NULL`."""
    names, null = {int(label): str(name) for label, name in said.get(NAMES, {}).items()}, said.get(NULL, NO_NULL)
    if null not in range(NO_NULL, known):
        raise InputError(f"{option(FLAG)} {where} has {NULL} {null}: it must be a label from 0 to {known - 1}")
    if names:
        bare = sorted(set(range(known)) - set(names))
        null = bare[0] if null == NO_NULL and len(bare) == 1 else null
        return class_ids(classes, {label: name for label, name in names.items() if label != null}, where), null
    own = [label for label in range(known) if label != null]
    unsaid = null == NO_NULL and known == len(classes) + 1
    if len(own) != len(classes) and not unsaid:
        raise InputError(
            f"{option(FLAG)} {where} has num_class_embeds {known}, and these data have {len(classes)} classes: without names "
            f"({NAMES} in its {CONFIG}) it must be {len(classes)}, or one more with the {NULL} of images without a class"
        )
    labels = tuple(own[: len(classes)])
    last = f"; whether {known - 1} stands for no class is not said ({NULL}), so it is sampled at {option('cfg', 1)}"
    _trusted(classes, labels, where, last if unsaid else "")
    return labels, null


def _trusted(classes: tuple[str, ...], labels: tuple[int, ...], where: str, more: str = "") -> None:
    """Warn that an order of classes is taken on trust."""
    pairs = [f"{label} for '{name}'" for name, label in zip(classes, labels, strict=True)]
    shown = pairs if len(pairs) <= SHOWN else [*pairs[: SHOWN - 1], "…", pairs[-1]]
    warnings.warn(
        f"{where} does not name its classes ({NAMES}): {', '.join(shown)}, in the order of the data{more}", stacklevel=2
    )


def _labels(index: Json, known: int, classes: tuple[str, ...], where: str) -> tuple[int, ...]:
    """The network's label of each class: by the names of the folder, by ImageNet's, or in order where it has as many."""
    stored = index.get(NAMES)
    if isinstance(stored, dict) and stored:
        return class_ids(classes, {int(label): str(name) for label, name in stored.items()}, where)
    if known == COUNT:
        return class_ids(classes, imagenet_names(), where)
    if known != len(classes):
        raise InputError(
            f"{option(FLAG)} {where} has {known} classes and no names of them ({NAMES} in {MODEL_INDEX}), these data have "
            f"{len(classes)}: names are needed where they are not as many"
        )
    _trusted(classes, tuple(range(known)), where)
    return tuple(range(known))


def _schedule(library: ModuleType, folder: Path) -> tuple[str, Tensor]:
    """The network's prediction and abar `(T,)` float64, by a folder's scheduler; DiT's where there is none."""
    if not (folder / "scheduler_config.json").is_file():
        return "epsilon", linear_abar()
    scheduler = library.DDPMScheduler.from_config(read_json(folder / "scheduler_config.json"))
    predicts = scheduler.config.prediction_type
    if predicts not in PREDICTS:
        known = " or ".join(PREDICTS)
        raise InputError(f"{folder} is of a network that predicts {predicts}: {known} is what can be sampled here")
    return PREDICTS[predicts], (1 - scheduler.betas.double()).cumprod(0)


def _licence(folder: Path, where: str) -> str | None:
    """The licence of the weights: what the folder's README says, that of DiT for its weights, else not known."""
    if (folder / "README.md").is_file():
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"\A---\n(?:.*\n)*?license: *(\S+)", text):
            return found[1].upper()
    config = folder / "transformer" / CONFIG
    said = read_json(config) if config.is_file() else {}
    named = f"{where} {said.get('_name_or_path', '')}"
    return DIT_LICENCE if "facebook/DiT" in named or DIT_XL.items() <= said.items() else None


def _source(where: str) -> str:
    """What loads it again from elsewhere: a folder by its whole path."""
    return str(Path(where).resolve()) if Path(where).is_dir() else where


@contextmanager
def _readable(where: str | Path) -> Iterator[None]:
    """What diffusers raises inside the block is one line about the folder."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of any kind: the files are the user's
        raise InputError(f"{option(FLAG)} {where} cannot be loaded by diffusers ({reason(error)})") from None
