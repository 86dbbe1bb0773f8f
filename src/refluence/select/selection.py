"""What a selection method is: a name, a line about it, and a function from a dataset to positions in its training split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from refluence.errors import InputError, did_you_mean
from refluence.fields import read, setting
from refluence.models import ModelSpec


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Options that an arm of a selection may have, as `herding:factor=2`."""

    factor: int = setting(1, "factor x factor reduced images in the room of one (1: images as they are)", least=1)
    steps: int | None = setting(
        None, "steps of its pre-training, in place of its own number and whatever the image steps are", least=1
    )
    easiest: bool = setting(False, "1: the other end of the ranking (0: the published one)")
    on: str = setting(
        "objective",
        "what the influence is on: objective (the distance of gradient matching) or validation (the risk on validation data, "
        "by a table of scores; the default where validation comes from elsewhere)",
        choices=("objective", "validation"),
    )


@dataclass(frozen=True)
class Selection:
    """A method that keeps real images.

    Args:
        name: what arms call it.
        summary: one line for `refluence ls`.
        select: `select(dataset, counts, spec, rng, device, steps)` returns positions in `dataset.train`, class by class in
            ascending order of the class and `counts[class]` for each; a class that has fewer gives all it has. `rng(purpose,
            index)` gives CPU generators. `steps` bounds the pre-training of methods that need a network (None: their own
            default); the others take no notice of it, nor of `spec`. `easiest`, where `options` has it, is passed by name, and
            `weights (N,)` of the training instances where the selection `weighs` and an arm has any.
        steps: the steps of its own network, where it needs one.
        options: fields of `SelectionOptions` that mean something here.
        check_model: raises `InputError` for a network that lacks what the method asks of it.
        weighs: whether `select` takes `weights`.

    Example:
        >>> import torch
        >>> import refluence as rf
        >>> def first(dataset, counts, spec, rng, device, steps):
        ...     return torch.cat([dataset.train.members(label)[:count] for label, count in enumerate(counts)])
        >>> len(rf.select("digits", rf.Selection("first", "the first of each class", first), ipc=2).set)
        20
    """

    source: ClassVar[str] = ""  # of a method that learns images: the paper; here the summary says it

    name: str
    summary: str
    select: Callable[..., Tensor]
    steps: int = 0  # of its own network, where it needs one
    options: tuple[str, ...] = ("factor",)  # fields of `SelectionOptions` that mean something here
    check_model: Callable[[ModelSpec], None] = lambda spec: None
    weighs: bool = False

    def __post_init__(self) -> None:
        if not callable(self.select):
            raise InputError(f"selection {self.name}: select is a {type(self.select).__name__}: give a function")

    def read(self, options: Mapping[str, str]) -> dict[str, Any]:
        """Values of the options given as text, `{"factor": "2"}`; unknown or unreadable ones raise `InputError`."""
        for key, text in options.items():
            if key not in self.options:
                there = did_you_mean(key, self.options) if self.options else "it has no options"
                raise InputError(f"{key}={text} means nothing for {self.name}: {there}")
        return {key: read(SelectionOptions, key, text) for key, text in options.items()}
