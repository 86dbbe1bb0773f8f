"""A network of the user's own: `FILE.py:FUNCTION`, or a function `(shape, classes) -> nn.Module` given in Python.

    weights     what the function draws from the global generators, seeded from ours and put back
    features    the input of the network's last linear layer (own.py), for methods that compare embeddings
    identity    the digest of the file, or of the function's code (digests.py)

A file is read again wherever the network is built. A function given in Python lives in its process: a folder holds its name and
digest, and another process asks for it.
"""

from __future__ import annotations

import copy
import pickle
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from refluence.digests import digest
from refluence.errors import InputError, option
from refluence.files import Json
from refluence.models import user_file
from refluence.models.build import ModelSpec
from refluence.models.library import SEEDS, norm_of, reason
from refluence.models.logits import of_images
from refluence.models.own import Own, last_linear
from refluence.models.plain import plain
from refluence.models.text_net import of_texts
from refluence.models.trial import TRIED, check, inputs, tried, unusable
from refluence.models.user_file import FUNCTION, Maker, Shape, file_digest
from refluence.randomness import seeded
from refluence.text import TextShape

_known: dict[tuple[str, str, Shape, int, bool], tuple[int, str, str | None]] = {}


@dataclass(frozen=True)
class OwnSpec(ModelSpec):
    """What it takes to build a user's network again. Its width is the length of its embedding, 0 where it has none.

    `name` is `FILE.py:FUNCTION`, or the name of a function given in Python with `()` behind it; `sha256` the digest of the file
    or of the function. `maker`: that function (None: not handed over in this process).
    """

    sha256: str = ""
    maker: Maker | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Everything was found by `own_spec`."""

    def to_json(self) -> Json:
        """Plain values, as config.json keeps them."""
        return {**super().to_json(), "sha256": self.sha256}

    def other(self, name: str | None = None, width: int | None = None, norm: str | None = None) -> ModelSpec:
        """This network, where no other is named."""
        if name is not None:
            return ModelSpec(name, self.shape, self.classes, width, norm)
        refuse_beside(self.name, width, norm)
        self.verify()
        return self

    def verify(self) -> None:
        """`InputError` where this network cannot be built here: its file has changed, or its function was given elsewhere."""
        self.function()

    def function(self) -> Maker:
        """What makes the network. Errors: as `verify`, and those of `FILE.py:FUNCTION`."""
        if self.maker is not None:
            return self.maker
        if self.name.endswith("()"):
            raise _elsewhere(self.name)
        path, name = user_file.place(self.name)
        if (now := file_digest(path)) != self.sha256:
            raise unusable(self.name, f"{path} has changed since the run (sha256 {self.sha256[:12]} then, {now[:12]} now)")
        return user_file.function(path, name, self.name, now)

    def as_now(self) -> OwnSpec:
        """This network as its file makes it now; a function given in Python as it is. Errors: those of `own_spec`."""
        return self if self.name.endswith("()") else own_spec(self.name, self.shape, self.classes, trains=False)

    def fresh(self, generator: torch.Generator) -> nn.Module:
        """See `ModelSpec`."""
        net = self.bare(generator)
        return Own(net, _facts(self)[2]).train()

    def bare(self, generator: torch.Generator) -> nn.Module:
        """The user's network as it is, in the mode it came in: `features` is not added."""
        return _made(self, generator)[0]

    @property
    def label(self) -> str:
        """`FILE.py:FUNCTION` without folders, or the name of the function."""
        file, colon, function = self.name.rpartition(":")
        return f"{Path(file).name}:{function}" if colon else self.name

    def __reduce__(self) -> tuple[type[OwnSpec], tuple[object, ...]]:
        """A worker in another process gets a function by its name, where it has one that can be imported."""
        if self.maker is not None:
            _check_portable(self.name, self.maker)
        return type(self), (self.name, self.shape, self.classes, self.width, self.norm, self.sha256, self.maker)


def own_spec(model: str | Maker, shape: Shape, classes: int, *, trains: bool = True) -> OwnSpec:
    """The network of a file or function for images `shape` (C, H, W), tried on a few (trial.py). `trains`: it is to be trained.

    Errors: `InputError` for a file or function that is not there or fails, and for a network that no run could use or repeat.
    """
    if isinstance(model, nn.Module):
        raise unusable(
            f"a {type(model).__name__} that is made already",
            "every run starts new ones, so give the function (shape, classes) -> nn.Module that makes it",
        )
    if isinstance(model, str):
        if model.endswith("()"):
            raise _elsewhere(model)
        path, name = user_file.place(model)
        sha256, maker = file_digest(path), None
        user_file.function(path, name, model, sha256)
        spec = OwnSpec(model, shape, classes, None, None, sha256, maker)
    else:
        spec = OwnSpec(f"{_name(model)}()", shape, classes, None, None, digest(model), model)
    width, norm, _ = _facts(spec, trains)
    return spec.with_(width=width, norm=norm)


def trained_spec(net: nn.Module, shape: Shape, classes: int) -> OwnSpec:
    """A network that is trained already, as it is: `bare` gives a copy of it. Tried on a few images `shape` (C, H, W).

    The output of a classifier of transformers is taken for its logits. Errors: `InputError` for one that does not give logits
    `(n, classes)` in evaluation mode, or is random there.
    """
    name, net = f"{type(net).__name__}()", of_images(net)
    spec = OwnSpec(name, shape, classes, 0, "none", digest(net), lambda shape, classes: copy.deepcopy(net))
    check(lambda: spec.bare(torch.Generator().manual_seed(0)), name, shape, classes, trains=False)
    return spec


def refuse_beside(name: str, width: int | None, norm: str | None) -> None:
    """`InputError` for a width or norm that is asked of a user's network."""
    for asked, value in (("width", width), ("norm", norm)):
        if value is not None:
            raise InputError(f"{option(asked)} {value} is for a convnet or a resnet: {name} decides that itself")


def _facts(spec: OwnSpec, trains: bool = False) -> tuple[int, str, str | None]:
    """Length of the embedding, kinds of norm layers, and place of the last linear layer, of a network that was tried."""
    key = (spec.name, spec.sha256, spec.shape, spec.classes)
    if found := _known.get((*key, trains)) or _known.get((*key, True)):
        return found
    check(lambda: _made(spec, torch.Generator().manual_seed(0))[0], spec.name, spec.shape, spec.classes, trains)
    net, words = _made(spec, torch.Generator().manual_seed(0))
    for each in words:
        warnings.warn(f"{spec.name}: {each}", stacklevel=2)
    place, width = last_linear(net, inputs(spec.shape), spec.classes)
    return _known.setdefault((*key, trains), (width, norm_of(net), place))


def _made(spec: OwnSpec, generator: torch.Generator) -> tuple[nn.Module, list[str]]:
    """A network, and in words what was taken off it; the user's function draws from global generators, which are seeded for the
    call and put back."""
    function, shape, classes = spec.function(), spec.shape, spec.classes
    with seeded(int(torch.randint(SEEDS, (), generator=generator))):
        try:
            net = function(shape, classes)
        except (Exception, SystemExit) as error:
            raise unusable(
                spec.name, f"{_name(function)}({shape}, {classes}) failed ({reason(error)}); expected {FUNCTION}"
            ) from error
        if not isinstance(net, nn.Module):
            raise unusable(spec.name, f"{_name(function)} returned a {type(net).__name__}; expected an nn.Module")
        net, words = plain(net)
        net = of_texts(net, shape) if isinstance(shape, TextShape) else of_images(net)
        if any(is_lazy(t) for t in (*net.parameters(), *net.buffers())):  # they draw their weights in the first pass
            with tried(spec.name, shape, TRIED):
                net.eval()(inputs(shape))
    return net, words


def _name(function: Maker) -> str:
    while (inner := getattr(function, "func", None)) is not None:  # functools.partial
        function = inner
    return getattr(function, "__name__", type(function).__name__)


def _elsewhere(name: str) -> InputError:
    again = "hand it over again, with model= (rf.distill continues the run, rf.evaluate judges it, rf.score scores against it)"
    return unusable(name, f"the run was made with this function given in Python: {again}")


def _check_portable(name: str, maker: Maker) -> None:
    """`InputError` for a function that another process could not import by its name."""
    main = sys.modules["__main__"]
    where = getattr(maker, "__module__", None)
    try:
        pickle.dumps(maker)
        lost = where == "__main__" and not hasattr(main, "__file__")
    except Exception:
        lost = True
    if lost:
        serial = option("executor", "serial")
        raise unusable(name, f"other processes cannot import it: write it into a file (FILE.py:FUNCTION), or use {serial}")
