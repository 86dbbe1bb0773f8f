"""What a distillation method declares (one page each): statistic x discrepancy x what is learned x inner data x schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from refluence.condense.networks import Networks, OnSynthetic
from refluence.condense.settings import Settings
from refluence.condense.statistics import Gradient, StatisticSpec
from refluence.errors import InputError
from refluence.fields import settings_of
from refluence.matching.discrepancies import BY_NAME, Discrepancy

__all__ = ["Method", "Settings"]


@dataclass(frozen=True)
class Method:
    """A method that learns images: the objective sum_t D(Phi_syn(S; theta_t), Phi_real(D, w; theta_t)) as one declaration.

    Args:
        name: what arms call it.
        summary: one line for `refluence ls`.
        source: the paper, such as "arXiv 2006.05929".
        discrepancy: D, how the two statistics are compared.
        settings: `settings(ipc, size, shape)` gives the published numbers at size "paper" and short ones at size "cpu".
        statistic: Phi, what is compared; gradients by default.
        networks: where theta_t comes from, and what trains it between image steps.
        unit_pixels: pixels are learned in [0, 1], clamped to it whenever a new network comes, and normalised inside; else
            they are learned normalised.
        class_steps: the image optimiser steps once for every class, not once for all classes together.

    Example:
        >>> import dataclasses
        >>> import refluence as rf
        >>> from refluence.matching import FlatCosine
        >>> mine = dataclasses.replace(rf.methods()["dm"], name="mine", discrepancy=FlatCosine())
        >>> len(rf.distill("digits", mine, ipc=1, iterations=1, width=4).set)
        10
    """

    name: str
    summary: str
    source: str
    discrepancy: Discrepancy
    settings: Callable[[int, str, tuple[int, int, int]], Settings]
    statistic: StatisticSpec = field(default_factory=Gradient)
    networks: type[Networks] = OnSynthetic
    unit_pixels: bool = False
    class_steps: bool = False

    def __post_init__(self) -> None:
        for part, needs in (("discrepancy", ("value", "uses")), ("statistic", ("at", "name"))):
            given = getattr(self, part)
            if isinstance(given, type):
                raise InputError(
                    f"method {self.name}: {part} is the class {given.__name__}: give an object, {given.__name__}()"
                )
            if lacking := [need for need in needs if not hasattr(given, need)]:
                raise InputError(f"method {self.name}: {part} is a {type(given).__name__}, which has no {lacking[0]}")
        if not callable(self.settings):
            kind = type(self.settings).__name__
            raise InputError(f"method {self.name}: settings is a {kind}: give a function (ipc, size, shape) -> Settings")
        if not isinstance(self.networks, type):
            raise InputError(f"method {self.name}: networks is a {type(self.networks).__name__}: give a class of networks")

    @property
    def inner_is_real(self) -> bool:
        """Whether networks are trained on the real set (S_inner = D), so that the influence has an implicit term."""
        return self.networks.trains_on == "real"

    def idle(self, name: str) -> bool:
        """Whether a setting means nothing for this method."""
        declared = settings_of(Settings).get(name)
        return declared is not None and bool(declared.of) and name not in self.networks.reads | self.statistic.reads

    def check(self, settings: Settings) -> None:
        """Refuse settings that mean nothing for this method (`InputError`)."""
        if settings.label_lr and not (self.statistic.sees_labels or settings.calibration):
            raise InputError(f"label_lr means nothing for {self.name}: its {self.statistic.name} does not see labels")
        if settings.iterations < settings.stages:
            raise InputError(
                f"iterations is {settings.iterations}, but there are {settings.stages} stages: give at least one to each"
            )
        if settings.lr_lr and self.networks is not OnSynthetic:
            raise InputError(f"lr_lr means nothing for {self.name}: its networks do not train on the synthetic set")
        if settings.lr_lr and not (settings.inner and settings.outer > 1):
            raise InputError(
                f"lr_lr needs networks that train between image steps, here outer is {settings.outer}, inner {settings.inner}"
            )

    def distance(self, settings: Settings) -> Discrepancy:
        """The discrepancy of a run: the method's own, unless the settings name another."""
        return BY_NAME[settings.distance] if settings.distance else self.discrepancy
