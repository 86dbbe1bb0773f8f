"""A trained network as what a transfer makes: `student/model.safetensors`, its card, and a README that says how to load it."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.errors import InputError
from refluence.files import Json, read_json, write_json, write_text
from refluence.models import ModelSpec, OwnSpec, read_spec
from refluence.models.own import bare
from refluence.models.renormalised import Renormalised
from refluence.models.stored import put, read_model, save_model
from refluence.text import TextShape
from refluence.version import __version__

WEIGHTS, CARD, README = "model.safetensors", "card.json", "README.md"


@dataclass(frozen=True, eq=False)
class Student:
    """A trained classifier.

    Args:
        net: the network, in evaluation mode.
        model: what it takes to build it again.
        classes: names in the order of its logits.
        mean: `(C,)`, what its images are normalised by, on [0, 1] pixels.
        std: the same.

    Example:
        >>> import torch
        >>> import refluence as rf
        >>> run = rf.transfer("digits", "scratch", student="convnet1:4", epochs=1)
        >>> run.student.net(torch.zeros(1, 1, 8, 8)).shape
        torch.Size([1, 10])
    """

    kind: ClassVar[str] = "student"
    files: ClassVar[tuple[str, ...]] = (WEIGHTS,)

    net: nn.Module
    model: ModelSpec
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return self.parameters

    @property
    def parameters(self) -> int:
        """How many numbers it learned."""
        return sum(p.numel() for p in self.net.parameters())

    @property
    def stored_bytes(self) -> int:
        """Bytes of its parameters and buffers."""
        return sum(t.numel() * t.element_size() for t in self.net.state_dict().values())

    def state(self) -> dict[str, Tensor]:
        """Its parameters and buffers by name, those of a user's network by the names that it gives them."""
        return {name: tensor.detach().cpu().clone() for name, tensor in bare(self.net).state_dict().items()}

    def save(self, folder: str | Path, card: Json | None = None) -> None:
        """Write it into `folder/student`, the card last; `card`: further facts, as those of a run."""
        save_network(Path(folder) / self.kind, self, card or {})

    @classmethod
    def load(cls, place: Path) -> Student:
        """The network in a folder that `save_network` wrote. `InputError` where there is none, or it cannot be built here."""
        return read_network(place, read_spec(read_card(place)["model"]), torch.Generator().manual_seed(0))


@dataclass(frozen=True, eq=False)
class Taught:
    """The teacher of a run in its folder, beside the student: `teacher/model.safetensors`."""

    network: Student
    facts: Json

    def save(self, folder: Path) -> None:
        """Write it into `folder/teacher`."""
        save_network(folder / "teacher", self.network, self.facts)


def save_network(place: Path, network: Student, card: Json) -> None:
    """Weights, README and card of a network in the folder `place`; of one that sees images as its own were, the network itself
    and the numbers that those were normalised by."""
    if isinstance(network.net, Renormalised):
        mean, std = network.net.theirs
        network = replace(network, net=network.net.own(), mean=mean, std=std)
    place.mkdir(parents=True, exist_ok=True)
    save_model(place / WEIGHTS, network.net, network.model, network)
    own = {
        "model": network.model.to_json(),
        "sha256": hashlib.sha256((place / WEIGHTS).read_bytes()).hexdigest(),
        "classes": list(network.classes),
        "mean": list(network.mean),
        "std": list(network.std),
        "parameters": network.parameters,
        "version": __version__,
    }
    write_text(place / README, readme(network, place.name))
    write_json(place / CARD, {**card, **own})


def read_network(place: Path, model: ModelSpec, generator: torch.Generator) -> Student:
    """The network in a folder that `save_network` wrote, built by `model`. Of a file that has changed since, by what it makes
    now, with a warning: whether the weights fit decides.

    Raises:
        InputError: weights that do not fit, or a network that cannot be built here.
    """
    card, stored = read_card(place), read_model(place / WEIGHTS)
    now = model.as_now() if isinstance(model, OwnSpec) else model
    changed = isinstance(now, OwnSpec) and isinstance(model, OwnSpec) and now.sha256 != model.sha256
    file = model.name.rpartition(":")[0]
    try:
        net, _ = put(stored, now.bare(generator), now.label, now.classes)
    except InputError as error:
        if not changed:
            raise
        raise InputError(f"{file} has changed since the run, and does not make its network any more: {error}") from None
    if changed:
        warnings.warn(f"{file} has changed since the run: the weights in {place} fit what it makes now", stacklevel=2)
    return Student(net, now, tuple(card["classes"]), tuple(card["mean"]), tuple(card["std"]))


def read_card(place: Path) -> Json:
    """The card of a network that `save_network` wrote."""
    return read_json(place / CARD)


def readme(network: Student, what: str) -> str:
    """How to load it."""
    mean, std, shape = list(network.mean), list(network.std), network.model.shape
    takes = f"Pixels are of 0 to 1, then normalised: (x - mean) / std with mean {mean} and std {std}."
    if isinstance(shape, TextShape):
        takes = f"It takes token ids of {network.model.name}, at most {shape.length}, padded with {shape.pad}."
    return f"""# A {what}

{network.model.label}: {network.parameters:,} parameters, {len(network.classes)} classes. Made with Refluence {__version__};
`{CARD}` says how.

```python
{_lines(what)}
```

{_built(network)} Without Refluence, `safetensors.torch.load_file("{WEIGHTS}")` reads its tensors by name.

{takes}
"""


def _lines(what: str) -> str:
    """How to load it with Refluence."""
    if what == Student.kind:
        return """import refluence as rf

net = rf.StudentRun.load("RUN").student.net  # RUN: the folder that holds this one; logits in the order of the card's classes"""
    return """from pathlib import Path
from refluence.transfer.artifact import Student

net = Student.load(Path(".")).net  # of this folder; logits are in the order of the card's classes"""


def _built(network: Student) -> str:
    """How the network is built, without its weights."""
    model = network.model
    if type(model) is not ModelSpec:
        return f"It is a network {model.name}."
    call = f"ModelSpec({model.name!r}, {tuple(model.shape)}, {model.classes}, {model.width}, {model.norm!r})"
    said = f"{model.name}:{model.width}:{model.norm}"
    return f"The network, `{said}` (name:width:norm), is built by `refluence.models.{call}.bare(torch.Generator())`."
