"""A teacher whose weights are there already: `--load-teacher`.

    pretrained        the library's own weights of `timm:NAME` or `torchvision:NAME`, from its cache or fetched
    hf:NAME, DIR      a classifier of images of the Hugging Face Hub, by name or in a folder (hub.py)
    FILE              model.safetensors of `evaluate --save-model`, of a transfer, or of a network of one's own
    DIR               a run of `transfer` (its teacher, or its student where it has none), or one of these two folders

A number behind `pretrained` or `hf:NAME`, as in `pretrained:96`, is the side to which images are resized for it; a network
that takes one size alone has that size.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from refluence.digests import digest
from refluence.errors import InputError, option
from refluence.models.build import ModelSpec
from refluence.models.choose import stored_network
from refluence.models.custom import OwnSpec, trained_spec
from refluence.models.hub import Hub, averaged, fetched, is_hub, read_hub
from refluence.models.library import AUXILIARY, Library, build_library, is_library, reason, timm_network, timm_settings
from refluence.models.own import Own
from refluence.models.renormalised import Normalisation, Renormalised
from refluence.models.stored import SIZE, StoredModel, put, read_model
from refluence.models.text import is_text, text_spec, trained_text
from refluence.models.user_file import Maker, Shape, file_digest
from refluence.randomness import seeded
from refluence.text import TextShape, reached

FLAG = "load_teacher"
PRETRAINED, HUB, WEIGHTS = "pretrained", "hf:", "model.safetensors"
SMALLEST = 8  # pixels a side to which images may be resized


@dataclass(frozen=True)
class LoadedTeacher:
    """A trained network and what is known of it.

    Args:
        net: gives logits of images normalised by `mean` and `std` `(C,)`, in evaluation mode.
        spec: what it takes to build it again.
        mean: empty where it is not known.
        std: the same.
        classes: in the order of the logits.
        sha256: of its weights.
        where: in words, where they come from.
        needs_head: its last layer is a new one, to be trained first (`transfer/head.py`): it knew other classes.
        size: side of the images that it takes; None: any.
    """

    net: nn.Module
    spec: ModelSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    sha256: str
    where: str
    needs_head: bool = False
    size: int | None = None

    def beside(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Renormalised:
        """The network for images that are normalised by `mean` and `std`."""
        return Renormalised(self.net, (mean, std), (self.mean, self.std), self.size).eval()


def load_teacher(said: str, model: str | Maker | ModelSpec | None, shape: Shape, classes: Sequence[str]) -> LoadedTeacher:
    """The trained network that `said` names, for images `shape` (C, H, W) of these classes.

    Args:
        said: as above.
        model: the network, where the weights do not say it; the spec of one that was loaded before loads it again.
        shape: of the images.
        classes: names in the order of the labels.

    Raises:
        InputError: weights that are not there or cannot be fetched, another network, other channels, a student's or teacher's
            file of other classes.
    """
    known, model = (model, model.name) if isinstance(model, ModelSpec) else (None, model)
    name, size = _sized(said)
    of_hub = name.startswith(HUB) or is_hub(Path(said).expanduser())
    if isinstance(shape, TextShape) and (of_hub or name == PRETRAINED):
        return _of_texts(said if name == PRETRAINED or name.startswith(HUB) else f"{HUB}{said}", model, shape, tuple(classes))
    if name == PRETRAINED:
        return _of_library(model, size, shape, tuple(classes))
    path = Path(said).expanduser()
    if of_hub:
        folder = fetched(name.removeprefix(HUB), FLAG)
        return _of_hub(folder, said, model, size, shape, tuple(classes))
    return _of_file(_weights(path), known or model, shape, tuple(classes))


def _sized(said: str) -> tuple[str, int | None]:
    """`pretrained:96` and `hf:NAME:96` as what stands before the number, and the number."""
    name, _, last = said.rpartition(":")
    if not last.isdecimal() or not (name == PRETRAINED or name.startswith(HUB)):
        return said, None
    if int(last) < SMALLEST:
        raise InputError(f"{option(FLAG)} {said}: images of {last} pixels are too small, {SMALLEST} are the least")
    return name, int(last)


def _of_library(model: str | Maker | None, size: int | None, shape: Shape, classes: tuple[str, ...]) -> LoadedTeacher:
    if not isinstance(model, str) or not is_library(model):
        meant = model if isinstance(model, str) else getattr(model, "__name__", "none")
        raise InputError(f"{option(FLAG)} pretrained is for {option('teacher')} timm:NAME or torchvision:NAME, not for {meant}")
    with seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            hub = (_timm if model.startswith("timm:") else _torchvision)(model, shape[0])
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{option(FLAG)} pretrained: the weights of {model} are neither in its cache nor can they be fetched "
                f"({reason(error)}); {option(FLAG)} FOLDER names a copy"
            ) from None
    return _named(hub, f"{model}, pretrained", digest(hub.net), size, shape, classes)


def _timm(name: str, channels: int) -> Hub:
    net = timm_network(name, channels, _cached(name))
    settings = net.settings
    size = settings["input_size"][-1] if settings.get("fixed_input_size") else None
    normalisation = averaged(settings["mean"], channels), averaged(settings["std"], channels)
    return Hub(net, name, net.classifier.out_features, (), normalisation, size)


def _cached(name: str) -> dict[str, object]:
    """What makes timm read the weights of a network from the Hub's cache; nothing where it has to fetch them.

    `InputError` where there are none, or neither cache nor Hub has them.
    """
    from huggingface_hub import try_to_load_from_cache

    known = timm_settings(name)
    if not known.get("hf_hub_id"):
        if not known.get("url"):
            raise InputError(f"timm has no weights for {name}: timm.list_pretrained() has the names of those that it has")
        return {}
    found = try_to_load_from_cache(known["hf_hub_id"], WEIGHTS)
    if isinstance(found, str):
        return {"pretrained_cfg_overlay": {"file": found}}
    if not reached(known["hf_hub_id"]):
        raise ConnectionError("the Hub cannot be reached")
    return {}


def _torchvision(name: str, channels: int) -> Hub:
    import torchvision

    own = name.partition(":")[2]
    if own not in torchvision.models.list_models(module=torchvision.models):
        build_library(name, (channels, 32, 32), 2, torch.Generator())  # says which names are near
    weights = torchvision.models.get_model_weights(own).DEFAULT
    pixels, names = weights.transforms(), tuple(weights.meta["categories"])
    state = weights.get_state_dict(progress=False, check_hash=True)
    side = pixels.crop_size[0]
    net = build_library(name, (channels, side, side), len(names), torch.Generator().manual_seed(0))
    put(StoredModel(Path(name), state, {}), net, name, len(names))
    half = (0.5,) * 3  # these two turn ImageNet's normalisation into this one themselves, with their own weights alone
    mean, std = (half, half) if own in AUXILIARY else (tuple(pixels.mean), tuple(pixels.std))
    normalisation = averaged(mean, channels), averaged(std, channels)
    return Hub(net, name, len(names), names, normalisation, side if own.startswith(("vit", "maxvit")) else None)


def _of_texts(said: str, model: str | Maker | None, shape: TextShape, classes: tuple[str, ...]) -> LoadedTeacher:
    """A classifier of texts with the head that its files have."""
    if said == PRETRAINED:
        if not isinstance(model, str) or not is_text(model):
            raise InputError(
                f"{option(FLAG)} pretrained is for {option('teacher')} hf:NAME or hf:FOLDER where the data are texts"
            )
    elif model not in (None, said):
        raise InputError(f"{option(FLAG)} {said} says itself which network it is: leave out {option('teacher')}")
    spec = text_spec(str(model) if said == PRETRAINED else said, shape, len(classes))
    return LoadedTeacher(trained_text(spec, classes), spec, (), (), classes, spec.weights, said)


def _of_hub(
    folder: Path, said: str, model: str | Maker | None, size: int | None, shape: Shape, classes: tuple[str, ...]
) -> LoadedTeacher:
    hub = read_hub(folder, shape[0], FLAG)
    if isinstance(model, str) and is_library(model) and model != hub.name:
        raise InputError(f"{option(FLAG)} {said} holds {hub.name}, and {option('teacher')} is {model}")
    if model is not None and not isinstance(hub.net, Library) and model != hub.name:
        raise InputError(f"{option(FLAG)} {said} says itself which network it is: leave out {option('teacher')}")
    inside = folder / WEIGHTS
    sha256 = file_digest(inside) if inside.is_file() else digest(hub.net)
    return _named(hub, said, sha256, size, shape, classes)


def _named(hub: Hub, where: str, sha256: str, size: int | None, shape: Shape, classes: tuple[str, ...]) -> LoadedTeacher:
    """The classifier with one logit a class, in the order of `classes`: its own last layer, or a new one."""
    net, size = hub.net, size or hub.size
    last = net.classifier if isinstance(net, Library) else net.net.get_submodule(str(net.place))
    assert isinstance(last, nn.Linear), "it was looked for"
    fresh = hub.headless or hub.count != len(classes) or (bool(hub.classes) and set(hub.classes) != set(classes))
    if fresh:
        set_head(net, zero_head(last.in_features, len(classes)))
    elif hub.classes and hub.classes != classes:
        order = [hub.classes.index(name) for name in classes]
        last.load_state_dict({key: tensor[order] for key, tensor in last.state_dict().items()})
    net = net.eval()
    mean, std = hub.normalisation
    seen = (shape[0], size, size) if size else shape
    spec = (
        ModelSpec(hub.name, seen, len(classes)) if isinstance(net, Library) else _own_spec(net, hub, seen, len(classes), sha256)
    )
    return LoadedTeacher(net, spec, mean, std, classes, sha256, where, fresh, size)


def _own_spec(net: Own, hub: Hub, shape: Shape, classes: int, sha256: str) -> OwnSpec:
    channels = len(hub.normalisation[0])
    return trained_spec(net, (channels, *shape[1:]), classes).with_(name=hub.name, shape=shape, sha256=sha256)


def set_head(net: nn.Module, head: nn.Linear) -> None:
    """Put another last linear layer into a network that was loaded here."""
    if isinstance(net, Renormalised):
        return set_head(net.net, head)
    if isinstance(net, Own):
        net.net.set_submodule(str(net.place), head)
    else:
        net.set_submodule("classifier", head)


def head_of(net: nn.Module) -> nn.Linear:
    """The last linear layer of a network that was loaded here."""
    if isinstance(net, Renormalised):
        return head_of(net.net)
    found = net.net.get_submodule(str(net.place)) if isinstance(net, Own) else net.get_submodule("classifier")
    assert isinstance(found, nn.Linear), "what set_head puts there"
    return found


def zero_head(features: int, classes: int) -> nn.Linear:
    """A linear layer whose weights are all zero."""
    head = torch.nn.utils.skip_init(nn.Linear, features, classes)
    for p in head.parameters():
        nn.init.zeros_(p)
    return head


def _weights(path: Path) -> Path:
    """The file of tensors in a folder of ours; a file as it is."""
    if not path.is_dir():
        return path
    places = [path / WEIGHTS, path / "teacher" / WEIGHTS, path / "student" / WEIGHTS]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(
            f"{option(FLAG)} {path} holds no trained network: expected a run of `transfer`, its folder teacher or student, or "
            "a classifier of the Hub (config.json and model.safetensors)"
        )
    return found


def _of_file(path: Path, model: str | Maker | ModelSpec | None, shape: Shape, classes: tuple[str, ...]) -> LoadedTeacher:
    stored = read_model(path, FLAG)
    facts = stored.facts
    known, mean, std, size = (facts.get(key) for key in ("classes", "mean", "std", SIZE))
    if known is not None and tuple(known) != classes:
        raise InputError(
            f"{option(FLAG)} {path} knows {len(known)} classes ({_some(known)}), these data have {len(classes)} "
            f"({_some(classes)}): they must be the same, in the same order"
        )
    if mean is not None and not isinstance(shape, TextShape) and len(mean) != shape[0]:
        raise InputError(
            f"{option(FLAG)} {path} was trained on images of {len(mean)} channels, these data have {shape[0]}: they must be "
            "the same"
        )
    seen = shape if size is None else (shape[0], size, size)
    which = f"{option('teacher')} says which network it is, its width and norm too, as in convnet3:128:batch"
    if model is None and "model" not in facts:
        which = f"it does not say which network it holds: add {option('teacher', 'NETS.py:big')}, your own, or one by name"
        if isinstance(shape, TextShape):
            raise InputError(f"{option(FLAG)} {path}: {which}")
    spec = model if isinstance(model, ModelSpec) else stored_network(facts, model, None, None, seen, len(classes))
    net, _ = put(stored, spec.bare(torch.Generator().manual_seed(0)), spec.label, len(classes), which)
    normalisation: Normalisation = (tuple(mean), tuple(std)) if mean is not None and std is not None else ((), ())
    return LoadedTeacher(net, spec, *normalisation, classes, file_digest(path), str(path), size=size)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + " …" * (len(names) > 5)
