"""What learns in a phase of a transfer: a student with its optimiser and weights, and a teacher that is fixed or learns too.

A mechanism has one phase; `staged` has two of equal length: in the first the teacher learns, beside a student of its own that
is not weighted; in the second it is fixed, and a fresh student learns with weights. (The released notebooks take the teacher's
weights from an earlier student once; here they follow the student that is trained beside it. Ours.)
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.influence.losses import Loss, cross_entropy
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.training.loop import Batch
from refluence.training.objectives import Targets
from refluence.training.optimisers import make, optimiser_state, restore_optimiser
from refluence.transfer.answers import Answers
from refluence.transfer.batches import BLOCK, Course, Instances, accuracy, augmented, joined
from refluence.transfer.halves import halves
from refluence.transfer.job import Transferring
from refluence.transfer.learning import LearningTeacher, within
from refluence.transfer.losses import Rising, StudentLoss
from refluence.transfer.refresh import Ground, Weighed
from refluence.transfer.scoring import Measure
from refluence.transfer.watched import WatchedRun
from refluence.transfer.weights import InstanceWeights

STUDENT, OPTIMISER, WEIGHTS, WATCHED, LEARNING = "student.", "student-optimiser.", "weights.", "watched.", "learning."
NOT_FINITE = "the numbers of the teacher that learns are no longer finite"


@dataclass(frozen=True)
class Phase:
    """Who learns how, for all epochs: whether the student's instances are weighted, whether the teacher learns."""

    weighs: bool
    teaches: bool
    purpose: str = ""


def phases_of(plan: Transferring) -> tuple[Phase, ...]:
    """The phases of a mechanism."""
    teaches = plan.mechanism.teacher == "weighted"
    if plan.mechanism.schedule == "teacher_then_student":
        return Phase(False, teaches, "teacher-"), Phase(plan.weighs_student, False)
    return (Phase(plan.weighs_student, teaches),)


class Setting:
    """What stays the same over all phases: the plan, the instances, and where randomness comes from.

    `rows`: all instances that are trained on; `weighing` and `watching`: the halves of the validation split.
    """

    def __init__(self, plan: Transferring, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute):
        self.plan, self.dataset, self.model, self.rng, self.compute = plan, dataset, model, rng, compute
        weighing, watching = halves(dataset.val)
        split = dataset.train
        if plan.settings.also == "validation":
            split = joined(dataset, split, dataset.val.take(weighing))
        device = compute.device
        self.rows = Instances(dataset, split, torch.arange(len(split)), device)
        self.weighing = Instances(dataset, dataset.val, weighing, device)
        self.watching = Instances(dataset, dataset.val, watching, device)
        self.course = Course(len(split), plan.settings, plan.block or BLOCK)
        self.augments = plan.settings.augment and split.images.dim() == 4


class Stage:
    """A phase under way.

    Args:
        setting: of the run.
        phase: which.
        teacher: in evaluation mode, moved in place where it learns; none: the student learns from labels alone.
        accuracy: the teacher's, in percent on the watching half.
    """

    def __init__(self, setting: Setting, phase: Phase, teacher: nn.Module | None, accuracy: float | None):
        self.setting, self.phase, self.teacher_accuracy, self.teacher_stopped = setting, phase, accuracy, False
        self.student_accuracy: float | None = None
        how, device = setting.plan.settings, setting.compute.device
        self.student = setting.model.bare(setting.rng(f"{phase.purpose}network", 0)).to(device)
        self.called = setting.compute.compiled(self.student)
        nesterov = how.schedule == "triangle" and how.momentum > 0
        decay, momentum = how.weight_decay, how.momentum
        self.optimiser = make(self.student, how.optimiser, how.lr, momentum=momentum, weight_decay=decay, nesterov=nesterov)
        self.watched = WatchedRun(phase.weighs)
        self.loss: Loss = cross_entropy
        self.answers: Answers | None = None
        self.weighed: Weighed | None = None
        self.learner: LearningTeacher | None = None
        self.rising: Rising | None = None
        if teacher is not None:
            self._taught_by(teacher)

    def _taught_by(self, teacher: nn.Module) -> None:
        setting, how = self.setting, self.setting.plan.settings
        whole = StudentLoss(how.loss, how.alpha, how.temperature, how.beta)
        self.rising = Rising(whole, how.onset) if how.onset else None
        self.loss = loss = self.rising or whole
        self.answers = Answers(teacher, fixed=not self.phase.teaches)
        rows = setting.rows.take(torch.arange(len(setting.dataset.train)))
        per_epoch, rng = setting.course.per_epoch, setting.rng
        ground = Ground(rows, setting.weighing, setting.watching, self.answers, how, per_epoch, rng)
        if self.phase.weighs:
            self.weighed = self._even(self.student, loss, ground)
        if self.phase.teaches:
            weighed = None
            if setting.plan.weighting.scored:
                weighed = self._even(copy.deepcopy(self.student), loss, replace(ground, purpose="teacher-"))
            self.learner = LearningTeacher(teacher, loss, ground, weighed, self.teacher_accuracy or 0.0)

    def _even(self, net: nn.Module, loss: StudentLoss | Rising, ground: Ground) -> Weighed:
        """Weights before anything is scored."""
        setting, weighting = self.setting, self.setting.plan.weighting
        weights = InstanceWeights(weighting, setting.dataset.train.labels, setting.course.total)
        measure = Measure(net, loss, weighting.kind, setting.plan.settings, len(setting.dataset.classes))
        return Weighed(weights, measure, ground)

    def batches(self, steps: range) -> Iterator[Batch[Targets]]:
        """The batches of some steps of an epoch; before each, what is due: new weights, a step of the teacher."""
        setting, purpose, course = self.setting, self.phase.purpose, self.setting.course
        if self.rising is not None:
            self.rising.begin(steps[0] // course.per_epoch)
        order = course.rows(steps[0], setting.rng(f"{purpose}order", steps[0] // course.per_epoch))
        for step, rows in zip(steps, order, strict=False):  # an epoch goes on in its next block
            some, rate = setting.rows.take(rows), course.rate(step)
            x, weights = some.inputs(), None
            if setting.augments:
                x = augmented(x, setting.rng(f"{purpose}augmentation", step))
            if self.answers is None:
                yield Batch(x, some.labels())
                continue
            y = self.answers.targets(x, some, setting.augments)
            if self.weighed is not None:
                weights = self.weighed.refresh(step, x, y, rows, rate, self.watched)
            if self.learner is not None and not self.teacher_stopped:
                self.learner.learn(step, self.student, x, y, rows, weights, rate, None if self.weighed else self.watched)
                y = self.answers.targets(x, some, setting.augments)
                if not bool(y[1].isfinite().all()):  # the student must not learn from such
                    self._stop_teacher(NOT_FINITE)
                    y = self.answers.targets(x, some, setting.augments)
            yield Batch(x, y, weights)

    def epoch_ends(self) -> None:
        """Accuracies on the watching half; a teacher that falls learns no more."""
        self.student_accuracy = accuracy(self.student, self.setting.watching)
        if self.learner is not None and self.answers is not None and not self.teacher_stopped:
            self.teacher_accuracy = accuracy(self.learner.net, self.setting.watching)
            if self.learner.falls(self.teacher_accuracy):
                now, best = self.teacher_accuracy, self.learner.best
                self._stop_teacher(f"the teacher that learns fell from {best:.1f} to {now:.1f} % on the watching half")

    def check_teacher(self) -> None:
        """A teacher whose numbers are no longer finite learns no more."""
        if self.learner is not None and not self.teacher_stopped and not self.learner.finite:
            self._stop_teacher(NOT_FINITE)

    def _stop_teacher(self, why: str) -> None:
        """Back to where it was best, with a warning."""
        assert self.learner is not None, "it learns"
        assert self.answers is not None, "there is a teacher"
        self.learner.go_back()
        self.teacher_stopped = self.answers.fixed = True
        self.teacher_accuracy = self.learner.best
        warnings.warn(
            f"{why}: it goes back to where it was best and learns no more; a smaller teacher_lr may help", stacklevel=2
        )

    @property
    def every(self) -> int:
        """Steps from one scoring to the next; 0: nothing is scored."""
        return min((w.every for w in (self.weighed, self.learner and self.learner.weighed) if w), default=0)

    @property
    def telling(self) -> Weighed | None:
        """The weights that the table of scores has: the student's, or where only the teacher weighs, its own."""
        return self.weighed or (None if self.learner is None else self.learner.weighed)

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on, but the teacher's own numbers."""
        known = [-1.0 if x is None else x for x in (self.student_accuracy, self.teacher_accuracy)]
        parts = {
            STUDENT: self.student.state_dict(),
            OPTIMISER: optimiser_state(self.optimiser),
            WATCHED: self.watched.state(),
            WEIGHTS: {} if self.weighed is None else self.weighed.weights.state(),
            LEARNING: {} if self.learner is None else self.learner.state(),
        }
        own = {f"{prefix}{name}": t for prefix, part in parts.items() for name, t in part.items()}
        return {**own, "known": torch.tensor([*known, self.teacher_stopped], dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        student, teacher, stopped = state["known"].tolist()
        self.student_accuracy, self.teacher_accuracy = (None if x < 0 else x for x in (student, teacher))
        self.teacher_stopped = bool(stopped)
        self.student.load_state_dict(within(state, STUDENT))
        restore_optimiser(self.optimiser, within(state, OPTIMISER))
        self.watched.restore(within(state, WATCHED))
        if self.weighed is not None:
            self.weighed.weights.restore(within(state, WEIGHTS))
        if self.learner is not None and self.answers is not None:
            self.learner.restore(within(state, LEARNING))
            self.answers.fixed = self.teacher_stopped
