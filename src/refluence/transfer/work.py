"""A transfer as a work (work.py): the student's steps in blocks, instances scored and weighed anew every R of them.

    every R steps    phi of all training instances at the student as it is, weights from them      scoring.py, weights.py
    every step       (the teacher, where it learns: one step by teacher_step.py, at the looked-ahead student)
                     the student: theta <- optimiser(theta, grad 1/B sum_i w_i L_S(z_i; T, S))      training/loop.py

The first R steps (an epoch, unless `refresh` says another number; one where the bag is the batch) weigh all alike: scores of an
untrained student are noise. The teacher is called on the very batch that the student sees, augmented as it is; where nothing
is augmented and the teacher is fixed, its logits are kept by row. Where the bag is the batch, its risk is on as many instances
as a batch, drawn anew each time: with curvature identity and link relu that is learning to reweight (arXiv 1803.09050).

`staged` has two phases of equal length: in the first the teacher learns, beside a student of its own that is not weighted; in
the second it is fixed, and a fresh student learns with weights. (The released notebooks take the teacher's weights from an
earlier student once; here they follow the student that is trained beside it. Ours.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import InputError, RunError
from refluence.files import Json
from refluence.influence.links import effective_sample_size
from refluence.influence.losses import Loss, cross_entropy
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.objectives import Targets
from refluence.training.optimisers import make, optimiser_state, restore_optimiser
from refluence.training.predict import evaluating
from refluence.transfer.answers import Answers
from refluence.transfer.artifact import Student
from refluence.transfer.batches import Course, Instances, augmented, joined, logits_of
from refluence.transfer.events import TaughtSteps
from refluence.transfer.facts import sha256_of, table_of, weights_by_truth
from refluence.transfer.halves import halves
from refluence.transfer.job import Transferring
from refluence.transfer.learning import within
from refluence.transfer.losses import StudentLoss
from refluence.transfer.refresh import Ground, Weighed
from refluence.transfer.scoring import Measure
from refluence.transfer.weights import InstanceWeights
from refluence.work import Beside, Result

STUDENT, OPTIMISER, WEIGHTS = "student.", "student-optimiser.", "weights."  # before names in a state


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
            split = joined(split, dataset.val.take(weighing))
        self.rows = Instances(dataset, split, torch.arange(len(split)), self.device)
        self.weighing = Instances(dataset, dataset.val, weighing, self.device)
        self.watching = Instances(dataset, dataset.val, watching, self.device)
        self.course, self.step = Course(len(split), self.settings), 0
        self.total = self.settings.epochs * self.course.blocks_per_epoch
        self.augments = self.settings.augment and split.images.dim() == 4
        self.answers = None if teacher is None else Answers(teacher, fixed=True)
        self.student_accuracy: float | None = None
        self.teacher_accuracy = None if teacher is None else self._accuracy(teacher)
        self._begin()

    def _begin(self) -> None:
        """A fresh student, its optimiser and its weights."""
        how = self.settings
        self.student = self.model.bare(self.rng("network", 0)).to(self.device)
        self.optimiser = make(
            self.student,
            how.optimiser,
            how.lr,
            momentum=how.momentum,
            weight_decay=how.weight_decay,
            nesterov=how.schedule == "triangle" and how.momentum > 0,
        )
        self.loss: Loss = cross_entropy
        self.weighed: Weighed | None = None
        if self.answers is None:
            return
        self.loss = StudentLoss(how.loss, how.alpha, how.temperature, how.beta)
        if self.plan.weighs_student:
            train = self.rows.take(torch.arange(len(self.dataset.train)))
            ground = Ground(train, self.weighing, self.answers, how, self.course.per_epoch, self.rng)
            weights = InstanceWeights(self.plan.weighting, self.dataset.train.labels, self.course.total)
            measure = Measure(self.student, self.loss, self.plan.weighting.kind, how, len(self.dataset.classes))
            self.weighed = Weighed(weights, measure, ground)

    def steps(self) -> Iterator[TaughtSteps]:
        """The blocks that are left; `RunError` where numbers are no longer finite or cannot be made weights."""
        while self.step < self.total:
            try:
                yield self._block()
            except InputError as error:  # scores that cannot be made weights
                raise RunError(f"{error} in epoch {self.step // self.course.blocks_per_epoch + 1}") from None

    def _block(self) -> TaughtSteps:
        course, steps, losses = self.course, self.course.block(self.step), list[Tensor]()
        self.student.train()
        with self.compute.autocast():
            fit(
                self.student,
                self.optimiser,
                self._batches(steps),
                self.loss,
                schedule=lambda number: course.rate(steps[number]),
                generator=self.rng("training", steps[0]),
                device=self.device,
                seen=lambda batch, logits, value: losses.append(value),
            )
        if not all(bool(p.isfinite().all()) for p in self.student.parameters()):
            raise RunError(f"training diverged in epoch {steps[0] // course.per_epoch + 1}")
        if (steps[-1] + 1) % course.per_epoch == 0:
            self.student_accuracy = self._accuracy(self.student)
        self.step += 1
        omega = torch.ones(1) if self.weighed is None else self.weighed.weights.omega
        return TaughtSteps(
            self.step - 1,
            steps[0] // course.per_epoch,
            float(torch.stack(losses).double().mean()),
            course.rate(steps[-1]),
            effective_sample_size(omega),
            float((omega < 1).double().mean()),
            teacher_accuracy=self.teacher_accuracy,
            student_accuracy=self.student_accuracy,
        )

    def _batches(self, steps: range) -> Iterator[Batch[Targets]]:
        order = self.course.rows(steps[0], self.rng("order", steps[0] // self.course.per_epoch))
        for step, rows in zip(steps, order, strict=False):  # an epoch goes on in its next block
            x, y = self.rows.take(rows).batch()
            if self.augments:
                x = augmented(x, self.rng("augmentation", step))
            if self.answers is not None:
                y = self._targets(x, rows, self.answers)
            if self.weighed is None:
                yield Batch(x, y)
                continue
            self.weighed.refresh(step, x, y, rows)
            yield Batch(x, y, self.weighed.weights.of(rows).to(self.device))

    def _targets(self, x: Tensor, rows: Tensor, answers: Answers) -> tuple[Tensor, Tensor]:
        """Labels, and the teacher's logits of the batch as it is."""
        if self.augments or not answers.fixed:
            return self.rows.split.labels[rows].to(self.device), answers.of_batch(x)
        labels, logits = answers.beside(self.rows.take(rows)).targets()
        return labels, logits

    def _accuracy(self, net: nn.Module) -> float:
        """Percent of the watching half."""
        with evaluating(net):
            right = logits_of(net, self.watching).argmax(1).cpu() == self.dataset.val.labels[self.watching.positions]
        return 100 * float(right.double().mean())

    def state(self) -> dict[str, Tensor]:
        """The student, its optimiser, the weights, and what was measured last."""
        known = torch.tensor([-1.0 if self.student_accuracy is None else self.student_accuracy], dtype=torch.float64)
        own = {"step": torch.tensor(self.step), "known": known}
        own |= {f"{STUDENT}{name}": t for name, t in self.student.state_dict().items()}
        own |= {f"{OPTIMISER}{name}": t for name, t in optimiser_state(self.optimiser).items()}
        if self.weighed is not None:
            own |= {f"{WEIGHTS}{name}": t for name, t in self.weighed.weights.state().items()}
        return own

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the block at which `state` was taken."""
        self.step = int(state["step"])
        known = float(state["known"])
        self.student_accuracy = None if known < 0 else known
        self.student.load_state_dict(within(state, STUDENT))
        restore_optimiser(self.optimiser, within(state, OPTIMISER))
        if self.weighed is not None:
            self.weighed.weights.restore(within(state, WEIGHTS))

    def artifact(self) -> Student:
        """The student as it stands, in evaluation mode."""
        data = self.dataset
        return Student(self.student.eval(), self.model, data.classes, data.mean, data.std)

    def result(self) -> Result:
        """The student, what its card says, and the scores that weighed its instances last."""
        student = self.artifact()
        weights = None if self.weighed is None else self.weighed.weights
        card: Json = {
            "parameters": student.parameters,
            "teacher": self._teacher_facts(),
            "epochs": self.settings.epochs,
            "rows": len(self.rows.split),
            "accuracy_watching": self.student_accuracy,
            "ess": 1.0 if weights is None else effective_sample_size(weights.omega),
            "below_one": 0.0 if weights is None else float((weights.omega < 1).double().mean()),
            "weights": None if weights is None else weights_by_truth(self.dataset, weights),
        }
        beside: tuple[Beside, ...] = ()
        if weights is not None and bool(weights.scored.any()):
            beside = (table_of(self.dataset, weights, {"kind": self.plan.weighting.kind}),)
        return Result(student, card, beside)

    def _teacher_facts(self) -> Json | None:
        if self.answers is None or self.plan.teacher is None:
            return None
        net, told = self.answers.net, self.plan.teacher
        return {
            "model": told.model.label,
            "parameters": sum(p.numel() for p in net.parameters()),
            "sha256": told.loaded.sha256 if told.loaded is not None else sha256_of(net),
            "accuracy": self.teacher_accuracy,
        }
