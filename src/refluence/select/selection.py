"""What a selection method is: a name, a line about it, and a function from a dataset to positions in its training split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from refluence.errors import InputError
from refluence.models import ModelSpec

OPTIONS: dict[str, str] = {
    "factor": "factor x factor reduced images in the room of one (1: images as they are)",
    "steps": "steps of its pre-training, in place of its own number and whatever --iterations says",
    "easiest": "1: the other end of the ranking (0: the published one)",
}
"""Options that an arm of a selection may have, as `herding:factor=2`."""


@dataclass(frozen=True)
class Selection:
    """A method that keeps real images.

    Args:
        name: what arms call it.
        summary: one line for `refluence ls`.
        select: `select(dataset, counts, spec, rng, device, steps)` returns positions in `dataset.train`, class by class in
            ascending order of the class and `counts[class]` for each; a class that has fewer gives all it has. `rng(purpose,
            index)` gives CPU generators. `steps` bounds the pre-training of methods that need a network (None: their own
            default); the others take no notice of it, nor of `spec`. `easiest`, where `options` has it, is passed by name.
        steps: the steps of its own network, where it needs one.
        options: keys of `OPTIONS` that mean something here.
        check_model: raises `InputError` for a network that lacks what the method asks of it.

    Example:
        >>> import torch
        >>> import refluence as rf
        >>> def first(dataset, counts, spec, rng, device, steps):
        ...     return torch.cat([dataset.train.members(label)[:count] for label, count in enumerate(counts)])
        >>> len(rf.select("digits", rf.Selection("first", "the first of each class", first), ipc=2).set)
        20
    """

    name: str
    summary: str
    select: Callable[..., Tensor]
    steps: int = 0  # of its own network, where it needs one
    options: tuple[str, ...] = ("factor",)  # keys of `OPTIONS` that mean something here
    check_model: Callable[[ModelSpec], None] = lambda spec: None

    def read(self, options: Mapping[str, str]) -> dict[str, int]:
        """Values of the options given as text, `{"factor": "2"}`; unknown or unreadable ones raise `InputError`."""
        return {key: self._value(key, text) for key, text in options.items()}

    def _value(self, key: str, text: str) -> int | bool:
        if key not in self.options:
            there = f"its options are {', '.join(self.options)}" if self.options else "it has no options"
            raise InputError(f"{key}={text} means nothing for {self.name}: {there}")
        if key == "easiest":
            if text not in ("0", "1"):
                raise InputError(f"easiest={text}: it must be 1 (the other end of the ranking) or 0")
            return text == "1"
        if not text.isdecimal() or int(text) < 1:
            raise InputError(f"{key}={text}: it must be a whole number, at least 1")
        return int(text)
