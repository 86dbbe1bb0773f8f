"""A transfer as a work (work.py): the student's steps in blocks, instances scored and weighed anew every R of them.

    every R steps    phi of all training instances at the student as it is, weights from them      scoring.py, weights.py
    every step       where the teacher learns, its own step, at the looked-ahead student           learning.py
                     theta <- optimiser(theta, grad 1/B sum_i w_i L_S(z_i; T, S))                  training/loop.py

The first R steps (an epoch, unless `refresh` says another number; one where the bag is the batch) weigh all alike: scores of an
untrained student are noise. The teacher is called on the very batch that the student sees, augmented as it is; where nothing
is augmented and the teacher is fixed, its logits are kept by row. Where the bag is the batch, its risk is on as many instances
as a batch, drawn anew each time: with curvature identity and link relu that is learning to reweight (arXiv 1803.09050).

`staged` has two phases of equal length: in the first the teacher learns, beside a student of its own that is not weighted; in
the second it is fixed, and a fresh student learns with weights. (The released notebooks take the teacher's weights from an
earlier student once; here they follow the student that is trained beside it. Ours.)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import InputError, RunError
from refluence.files import Json
from refluence.influence.losses import Loss, cross_entropy
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Targets
from refluence.training.optimisers import make, optimiser_state, restore_optimiser
from refluence.transfer.answers import Answers
from refluence.transfer.artifact import Student, Taught
from refluence.transfer.batches import Course, Instances, accuracy, augmented, joined
from refluence.transfer.events import TaughtSteps
from refluence.transfer.facts import shown, table_of, teacher_facts, weights_by_truth
from refluence.transfer.halves import halves
from refluence.transfer.job import Transferring
from refluence.transfer.learning import LearningTeacher, within
from refluence.transfer.losses import StudentLoss
from refluence.transfer.refresh import Ground, Weighed
from refluence.transfer.scoring import Measure
from refluence.transfer.watched import WatchedRun
from refluence.transfer.weights import InstanceWeights
from refluence.work import Beside, Cost, Result

STUDENT, OPTIMISER, WEIGHTS, WATCHED = "student.", "student-optimiser.", "weights.", "watched."  # before names in a state
TEACHER, LEARNING = "teacher.", "learning."


@dataclass(frozen=True)
class Phase:
    """Who learns how, for all epochs: whether the student's instances are weighted, whether the teacher learns."""

    weighs: bool
    teaches: bool
    purpose: str = ""


class TransferWork:
    """The student on its way; a step is a block of at most 100 steps of its optimiser, inside an epoch."""

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "A smaller lr may help, in a new run"

    def __init__(
        self,
        plan: Transferring,
        dataset: Dataset,
        model: ModelSpec,
        rng: Rng,
        compute: Compute,
        teacher: nn.Module | None,
    ):
        self.plan, self.dataset, self.model, self.rng, self.compute = plan, dataset, model, rng, compute
        self.settings, self.device = plan.settings, compute.device
        weighing, watching = halves(dataset.val)
        split = dataset.train
        if self.settings.also == "validation":
            split = joined(dataset, split, dataset.val.take(weighing))
        self.rows = Instances(dataset, split, torch.arange(len(split)), self.device)
        self.weighing = Instances(dataset, dataset.val, weighing, self.device)
        self.watching = Instances(dataset, dataset.val, watching, self.device)
        self.teaches = plan.mechanism.teacher == "weighted"
        self.phases: tuple[Phase, ...] = (Phase(plan.weighs_student, self.teaches),)
        if plan.mechanism.schedule == "teacher_then_student":
            self.phases = (Phase(False, self.teaches, "teacher-"), Phase(plan.weighs_student, False))
        self.course, self.step = Course(len(split), self.settings), 0
        self.total = len(self.phases) * self.course.blocks
        self.augments = self.settings.augment and split.images.dim() == 4
        self.teacher, self.teacher_stopped = teacher, False
        self.teacher_accuracy: float | None = None
        self.teacher_facts: Json = {}
        if teacher is not None and plan.teacher is not None:
            self.teacher_accuracy = accuracy(teacher, self.watching)
            self.teacher_facts = teacher_facts(plan.teacher, teacher, self.teacher_accuracy)
            self.teacher = copy.deepcopy(teacher) if self.teaches else teacher  # the caller's stays as it is
        self._begin()

    @property
    def phase(self) -> Phase:
        """The phase of the next step, or of the last."""
        return self.phases[min(self.step // self.course.blocks, len(self.phases) - 1)]

    def _begin(self) -> None:
        """What a phase begins with: a fresh student, its optimiser, even weights, and the teacher as it is."""
        how, phase = self.settings, self.phase
        self.student = self.model.bare(self.rng(f"{phase.purpose}network", 0)).to(self.device)
        self.called = self.compute.compiled(self.student)
        nesterov = how.schedule == "triangle" and how.momentum > 0
        decay, momentum = how.weight_decay, how.momentum
        self.optimiser = make(self.student, how.optimiser, how.lr, momentum=momentum, weight_decay=decay, nesterov=nesterov)
        self.student_accuracy: float | None = None
        self.watched = WatchedRun(phase.weighs)
        self.loss: Loss = cross_entropy
        self.weighed: Weighed | None = None
        self.answers: Answers | None = None
        self.learner: LearningTeacher | None = None
        if self.teacher is None:
            return
        self.loss = loss = StudentLoss(how.loss, how.alpha, how.temperature, how.beta)
        self.answers = Answers(self.teacher, fixed=not phase.teaches)
        rows, kind = self.rows.take(torch.arange(len(self.dataset.train))), self.plan.weighting.kind
        ground = Ground(rows, self.weighing, self.watching, self.answers, how, self.course.per_epoch, self.rng)
        if phase.weighs:
            measure = Measure(self.student, loss, kind, how, len(self.dataset.classes))
            self.weighed = Weighed(self._even(), measure, ground)
        if phase.teaches:
            weighed = None
            if self.plan.weighting.scored:
                measure = Measure(copy.deepcopy(self.student), loss, kind, how, len(self.dataset.classes))
                weighed = Weighed(self._even(), measure, replace(ground, purpose="teacher-"))
            self.learner = LearningTeacher(self.teacher, loss, ground, weighed, self.teacher_accuracy or 0.0)

    def _even(self) -> InstanceWeights:
        """Weights before anything is scored."""
        return InstanceWeights(self.plan.weighting, self.dataset.train.labels, self.course.total)

    def steps(self) -> Iterator[TaughtSteps]:
        """The blocks that are left; `RunError` where numbers are no longer finite or cannot be made weights."""
        while self.step < self.total:
            if self.step and self.step % self.course.blocks == 0:
                self._begin()
            try:
                yield self._block()
            except InputError as error:  # scores that cannot be made weights
                raise RunError(str(error)) from None

    def _block(self) -> TaughtSteps:
        course, steps, losses = self.course, self.course.block(self.step % self.course.blocks), list[Tensor]()
        epoch, purpose = steps[0] // course.per_epoch, self.phase.purpose
        self.student.train()
        with self.compute.autocast():
            fit(
                self.called,
                self.optimiser,
                self._batches(steps, purpose),
                self.loss,
                schedule=lambda number: course.rate(steps[number]),
                generator=self.rng(f"{purpose}training", steps[0]),
                device=self.device,
                seen=lambda batch, logits, value: losses.append(value),
            )
        for who, net in (("the student", self.student), ("the teacher", self.teacher if self.learner else None)):
            if net is not None and not all(bool(p.isfinite().all()) for p in net.parameters()):
                raise RunError(f"training of {who} diverged in epoch {epoch + 1}")
        if (steps[-1] + 1) % course.per_epoch == 0:
            self._epoch_ends()
        self.step += 1
        return TaughtSteps(
            self.step - 1,
            epoch,
            float(torch.stack(losses).double().mean()),
            course.rate(steps[-1]),
            teacher_accuracy=self.teacher_accuracy,
            student_accuracy=self.student_accuracy,
            teacher_stopped=self.teacher_stopped,
            **self.watched.newest(),
        )

    def _epoch_ends(self) -> None:
        self.student_accuracy = accuracy(self.student, self.watching)
        if self.learner is not None and self.answers is not None and not self.teacher_stopped:
            self.teacher_accuracy = accuracy(self.learner.net, self.watching)
            self.teacher_stopped = self.answers.fixed = self.learner.falls(self.teacher_accuracy)

    def _batches(self, steps: range, purpose: str) -> Iterator[Batch[Targets]]:
        order = self.course.rows(steps[0], self.rng(f"{purpose}order", steps[0] // self.course.per_epoch))
        for step, rows in zip(steps, order, strict=False):  # an epoch goes on in its next block
            some, rate = self.rows.take(rows), self.course.rate(step)
            x, weights = some.inputs(), None
            if self.augments:
                x = augmented(x, self.rng(f"{purpose}augmentation", step))
            if self.answers is None:
                yield Batch(x, some.labels())
                continue
            y = self.answers.targets(x, some, self.augments)
            if self.weighed is not None:
                weights = self.weighed.refresh(step, x, y, rows, rate, self.watched)
            if self.learner is not None and not self.teacher_stopped:
                self.learner.learn(step, self.student, x, y, rows, weights, rate, None if self.weighed else self.watched)
                y = self.answers.targets(x, some, self.augments)
            yield Batch(x, y, weights)

    def costs(self) -> list[Cost]:
        """What comes beside the steps, for an estimate: the scorings of the last phase."""
        every = min((w.every for w in (self.weighed, self.learner and self.learner.weighed) if w), default=0)
        if not every:
            return []

        def score(times: int) -> None:
            for _ in range(times):
                next(self._batches(range(every, every + 1), self.phase.purpose))

        return [Cost("scoring", len(self.phases) * self.course.total / every, score)]

    def state(self) -> dict[str, Tensor]:
        """The student, its optimiser, the weights, a teacher that learns or has learned, and what was measured last."""
        known = [-1.0 if x is None else x for x in (self.student_accuracy, self.teacher_accuracy)]
        own = {"step": torch.tensor(self.step), "known": torch.tensor([*known, self.teacher_stopped], dtype=torch.float64)}
        parts = {
            STUDENT: self.student.state_dict(),
            OPTIMISER: optimiser_state(self.optimiser),
            WATCHED: self.watched.state(),
            WEIGHTS: {} if self.weighed is None else self.weighed.weights.state(),
            TEACHER: self.teacher.state_dict() if self.teacher is not None and self.teaches else {},
            LEARNING: {} if self.learner is None else self.learner.state(),
        }
        return {**own, **{f"{prefix}{name}": t for prefix, part in parts.items() for name, t in part.items()}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the block at which `state` was taken."""
        step = int(state["step"])
        self.step = max(0, step - 1)  # its phase, which a step may have ended
        self._begin()
        self.step = step
        student, teacher, stopped = state["known"].tolist()
        self.student_accuracy, self.teacher_accuracy = (None if x < 0 else x for x in (student, teacher))
        self.teacher_stopped = bool(stopped)
        self.student.load_state_dict(within(state, STUDENT))
        restore_optimiser(self.optimiser, within(state, OPTIMISER))
        self.watched.restore(within(state, WATCHED))
        if self.weighed is not None:
            self.weighed.weights.restore(within(state, WEIGHTS))
        if self.teacher is not None and self.teaches:
            self.teacher.load_state_dict(within(state, TEACHER))
        if self.learner is not None and self.answers is not None:
            self.learner.restore(within(state, LEARNING))
            self.answers.fixed = self.teacher_stopped

    def artifact(self) -> Student:
        """The student as it stands, in evaluation mode."""
        return self._named(self.student, self.model)

    def _named(self, net: nn.Module, model: ModelSpec) -> Student:
        data = self.dataset
        return Student(net.eval(), model, data.classes, data.mean, data.std)

    def result(self) -> Result:
        """The student, what its card says, the scores that weighed its instances last, and a teacher that learned."""
        student, beside = self.artifact(), list[Beside]()
        weighed = self.weighed or (None if self.learner is None else self.learner.weighed)
        card: Json = {
            "parameters": student.parameters,
            "teacher": self.teacher_facts or None,
            "epochs": self.settings.epochs,
            "rows": len(self.rows.split),
            "accuracy_watching": self.student_accuracy,
            **self.watched.facts(),
            "weights": None if weighed is None else weights_by_truth(self.dataset, weighed.weights),
        }
        if weighed is not None and bool(weighed.weights.scored.any()):
            beside.append(table_of(self.dataset, weighed.weights, {"weights": asdict(self.plan.weighting)}))
            beside.append(shown(self.dataset, weighed.weights))
        if self.teacher is not None and self.plan.teacher is not None and self.teaches:
            learned = {"accuracy_before": self.teacher_facts["accuracy"], "accuracy": self.teacher_accuracy}
            learned["stopped"] = self.teacher_stopped
            card["teacher"] = {**self.teacher_facts, "learned": learned}
            beside.append(Taught(self._named(self.teacher, self.plan.teacher.model), card["teacher"]))
        return Result(student, card, tuple(beside))
