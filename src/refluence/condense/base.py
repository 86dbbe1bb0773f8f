"""What a distillation method declares (one page each): statistic x discrepancy x what is learned x inner data x schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from refluence.condense.networks import Networks, OnSynthetic
from refluence.condense.settings import OF_NETWORKS, OF_STATISTICS, Settings
from refluence.condense.statistics import Gradient, Statistic
from refluence.matching.discrepancies import BY_NAME, Discrepancy

__all__ = ["Method", "Settings"]


@dataclass(frozen=True)
class Method:
    """A declaration. `settings(ipc, size, shape)` gives the published numbers at size `paper` and short ones at size `cpu`.

    `statistic`: what is compared. `networks`: where theta_t comes from, and with it S_inner. `unit_pixels`: pixels are
    learned in [0, 1], clamped to it whenever a new network comes, and normalised inside; else they are learned normalised.
    `class_steps`: the image optimiser steps once for every class, not once for all classes together.
    """

    name: str
    summary: str
    source: str
    discrepancy: Discrepancy
    settings: Callable[..., Settings]
    statistic: Statistic = field(default_factory=Gradient)
    networks: type[Networks] = OnSynthetic
    unit_pixels: bool = False
    class_steps: bool = False

    @property
    def inner_is_real(self) -> bool:
        """Whether networks are trained on the real set (S_inner = D), so that the influence has an implicit term."""
        return self.networks.trains_on == "real"

    def idle(self, name: str) -> bool:
        """Whether a setting means nothing for this method."""
        return name in (OF_NETWORKS | OF_STATISTICS) - self.networks.reads - self.statistic.reads

    def distance(self, settings: Settings) -> Discrepancy:
        """The discrepancy of a run: the method's own, unless the settings name another."""
        return BY_NAME[settings.distance] if settings.distance else self.discrepancy
