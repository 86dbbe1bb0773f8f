"""From what is asked for to a network: a name, `FILE.py:FUNCTION`, or a function given in Python."""

from __future__ import annotations

from refluence.errors import InputError, option, stated
from refluence.files import Json
from refluence.models.build import ModelSpec, width_beside
from refluence.models.custom import OwnSpec, own_spec, refuse_beside
from refluence.models.families import family
from refluence.models.library import is_library
from refluence.models.text import NAMES as TEXT_NAMES
from refluence.models.text import TextSpec, is_text, text_spec
from refluence.models.user_file import Maker, Shape, is_own
from refluence.options import NORMS
from refluence.text import TextShape


def network(
    model: str | Maker,
    shape: Shape,
    classes: int,
    width: int | None = None,
    norm: str | None = None,
    *,
    convnet: int = 32,
    trains: bool = True,
) -> ModelSpec:
    """The network `model` for images `shape` (C, H, W), or for texts. Without a width: that of a ConvNet of width `convnet`, in
    proportion. `trains`: it is to be trained, and not loaded.

    Errors: `InputError` for what is no network, and for a width or norm beside a user's own.
    """
    if not isinstance(model, str) and not callable(model):
        raise InputError(
            f"{stated('model', model)}: it must be a name, FILE.py:FUNCTION, or a function (shape, classes) -> nn.Module"
        )
    if isinstance(model, str) and is_text(model):
        refuse_beside(model, width, norm)
        return text_spec(model, shape, classes)
    model, own_width, own_norm = read_name(model)
    for name, said, given in (("width", own_width, width), ("norm", own_norm, norm)):
        if None not in (said, given) and said != given:
            raise InputError(f"{stated('model', f'{model}:{said}')}: it has a {name} already, leave out {option(name, given)}")
    width, norm = width if own_width is None else own_width, norm or own_norm
    if not isinstance(model, str) or is_own(model) or model.endswith("()"):
        refuse_beside(model if isinstance(model, str) else getattr(model, "__name__", type(model).__name__), width, norm)
        return own_spec(model, shape, classes, trains=trains)
    if isinstance(shape, TextShape):
        raise InputError(f"{stated('model', model)}: it takes images, and the data are texts: {TEXT_NAMES} or FILE.py:FUNCTION")
    return ModelSpec(model, shape, classes, width=width_beside(model, convnet) if width is None else width, norm=norm)


def read_name(model: str | Maker) -> tuple[str | Maker, int | None, str | None]:
    """`convnet3:32:group` as name, width and norm, in any order; what is none of ours by name is left as it is.

    Example:
        >>> read_name("resnet18:instance")
        ('resnet18', None, 'instance')
    """
    if isinstance(model, str) and is_library(model):
        name, _, last = model.rpartition(":")
        return (name, None, last) if last in NORMS else (model, None, None)
    if not isinstance(model, str) or ":" not in model or family(name := model.split(":")[0]) is None:
        return model, None, None
    width, norm = None, None
    for word in model.split(":")[1:]:
        if word.isdecimal() and word.isascii() and width is None:
            width = int(word)
        elif word in NORMS and norm is None:
            norm = word
        else:
            raise InputError(
                f"{stated('model', model)}: behind the name stand a width and a norm, each once, as in {name}:32:group; "
                f"norms are {', '.join(NORMS)}"
            )
    return name, width, norm


def stored_network(
    facts: Json,
    model: str | Maker | None,
    width: int | None,
    norm: str | None,
    shape: Shape,
    classes: int,
    *,
    trains: bool = False,
) -> ModelSpec:
    """The network that is asked for; what is left open is as the file of its weights says in `facts`. See `network`."""
    name, own_width, own_norm = read_name(model or facts.get("model") or "convnet")
    if model is None or (isinstance(name, str) and not is_own(name)):
        model = model or name
        width = facts.get("width") if width is None and own_width is None else width
        norm = facts.get("norm") if norm is None and own_norm is None else norm
    return network(model, shape, classes, width, norm, trains=trains)


def another(spec: ModelSpec, model: str | Maker | None, width: int | None = None, norm: str | None = None) -> ModelSpec:
    """The network `model` (None: that of `spec`) for the same images and classes; see `ModelSpec.other` and `network`.

    A width or norm in the name stands before `width` and `norm`, which may be meant for several networks.
    """
    if model is None:
        return spec.other(None, width, norm)
    model, own_width, own_norm = read_name(model)
    width, norm = width if own_width is None else own_width, own_norm or norm
    if isinstance(model, str) and not is_own(model) and not model.endswith("()") and not isinstance(spec, OwnSpec):
        return spec.other(model, width, norm)
    return network(model, spec.shape, spec.classes, width, norm)


def handed_over(spec: ModelSpec, model: Maker) -> ModelSpec:
    """The network of a run, whose function is given again. `InputError` where it is another one."""
    found = network(model, spec.shape, spec.classes)
    if found != spec:
        raise InputError(f"model is {found.name}, and the run's network is another one, {spec.name}: give that function")
    return found


def read_spec(stored: Json) -> ModelSpec:
    """The spec that `to_json` wrote. A function given in Python is not in it: `verify` says so."""
    kind = TextSpec if "weights" in stored else OwnSpec if "sha256" in stored else ModelSpec
    shape = stored["shape"]
    return kind(**{**stored, "shape": TextShape(**shape) if isinstance(shape, dict) else tuple(shape)})
