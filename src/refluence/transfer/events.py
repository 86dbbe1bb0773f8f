"""What a block of steps says of itself, a line of metrics.jsonl."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaughtSteps:
    """Some steps of the student's optimiser, all of one epoch.

    `loss`: their mean training loss; `lr`: the rate of the last. The weights as they are then: effective sample size (a
    share), share below 1, correlation with the losses, chi-square, and the worst-case risk of Theorem 2; what one step with
    them changes the risk by beside one without, on the half of the validation split that made them and on the other (Theorem
    1). None: not measured yet, or nothing is weighted. Accuracies are in percent, on the watching half, at the last end of an
    epoch.
    """

    step: int
    epoch: int
    loss: float
    lr: float
    ess: float = 1.0
    below_one: float = 0.0
    correlation: float | None = None
    chi_square: float | None = None
    worst_case: float | None = None
    gain_weighing: float | None = None
    gain_watching: float | None = None
    teacher_accuracy: float | None = None
    student_accuracy: float | None = None
    teacher_stopped: bool = False
