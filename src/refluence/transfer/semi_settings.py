"""Numbers of the mechanism `semi`, beside those that it shares with every transfer."""

from __future__ import annotations

from dataclasses import dataclass

from refluence.errors import InputError
from refluence.fields import described, same, setting
from refluence.transfer.settings import Settings

UNREAD = (
    "epochs",
    "augment",
    "loss",
    "alpha",
    "beta",
    "onset",
    "also",
    "teacher_alpha",
    "teacher_gradient",
    "teacher_lr",
    "teacher_every",
)
"""Numbers of other mechanisms that mean nothing here."""


@described
@dataclass(frozen=True)
class SemiSettings(Settings):
    """Numbers of a semi-supervised run: `semi:mu=7,lambda_u=8` sets any of them.

    At size paper those of Meta Pseudo Labels (arXiv 2003.10580) as a well-known implementation has them (kekmodel/MPL-pytorch);
    at size cpu ours.

    Raises:
        InputError: a value outside its range.
    """

    batch: int = same(Settings, "batch", default=32, help="Labelled instances of a step.")
    weight_decay: float = same(Settings, "weight_decay", default=5e-4)
    schedule: str = setting(
        "triangle",
        "The learning rate over a run: triangle, cosine (it rises for `rise` steps, then falls by half a cosine) or constant.",
        choices=("triangle", "cosine", "constant"),
    )
    temperature: float = same(Settings, "temperature", default=0.7, help="Temperature T_0 of the teacher's soft pseudo-labels.")
    refresh: int = same(Settings, "refresh", default=1, help="Steps from one scoring to the next (0: each).", least=0)
    steps: int = same(Settings, "steps", default=2000, help="Steps in which teacher and student learn.", least=1)
    mu: int = setting(2, "Instances without labels for each labelled one of a step.", least=1)
    lambda_u: float = setting(1.0, "Weight of the consistency term.", least=0)
    threshold: float = setting(0.6, "What is less sure than this is no pseudo-label.", least=0, below=1)
    smoothing: float = setting(0.15, "Label smoothing, of labels and of what the student learns.", least=0, below=1)
    operations: int = setting(2, "Operations of RandAugment on a strong view.", least=0)
    magnitude: int = setting(16, "Their strength at most, of 30.", least=1, most=30)
    average: float = setting(0.99, "Decay of the running average of the student, which is what is kept.", least=0, below=1)
    rise: int = setting(0, "Steps in which the rate of the schedule cosine rises.", least=0)
    ramp: int = setting(500, "Steps in which the consistency term reaches its weight.", least=0)
    wait: int = setting(
        300, "Steps that the student waits for its teacher; of a run of fewer steps than usual as large a share.", least=0
    )
    tune: int = setting(200, "Steps on the labelled instances alone, at the end.", least=0)
    tune_lr: float = setting(0.005, "Learning rate of these.", above=0)
    tune_batch: int = setting(64, "Instances in a batch of these.", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wait >= self.steps:
            raise InputError(f"wait={self.wait}: the student waits for fewer steps than there are, {self.steps}")

    @property
    def length(self) -> int:
        """How long both learn: steps."""
        return self.steps

    def lasting(self, length: int) -> SemiSettings:
        """The same for so many steps, of which the student waits for as large a share, and is tuned for no more."""
        wait = self.wait if length >= self.steps else self.wait * length // self.steps
        return self.with_(steps=length, tune=min(self.tune, length), wait=wait)

    def in_epochs(self, rows: int) -> SemiSettings:
        """The same: its length is steps."""
        return self

    def tried(self, steps: int, rows: int) -> SemiSettings:
        """The same for so many steps of at most so many labelled rows, in which every pseudo-label counts: does it start?"""
        few = {name: min(rows, getattr(self, name)) for name in ("batch", "tune_batch")}
        return self.lasting(steps).with_(threshold=0.0, **few)


CPU = SemiSettings()
PAPER = SemiSettings(
    batch=128,
    schedule="cosine",
    steps=300_000,
    mu=7,
    lambda_u=8.0,
    average=0.995,
    rise=5000,
    ramp=5000,
    wait=3000,
    tune=5000,
    tune_lr=3e-5,
    tune_batch=512,
)
"""`tune`: 625 epochs of 4,000 rows in batches of 512 are 5,000 steps."""
