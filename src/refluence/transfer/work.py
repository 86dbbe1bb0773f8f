"""A transfer as a work (work.py): the student's steps in blocks, instances scored and weighed anew every R of them.

    every R steps    phi of all training instances at the student as it is, weights from them      scoring.py, weights.py
    every step       where the teacher learns, its own step, at the looked-ahead student           learning.py
                     theta <- optimiser(theta, grad 1/B sum_i w_i L_S(z_i; T, S))                  training/loop.py

The first R steps (an epoch, unless `refresh` says another number; one where the bag is the batch) weigh all alike: scores of an
untrained student are noise. The teacher is called on the very batch that the student sees, augmented as it is; where nothing
is augmented and the teacher is fixed, its logits are kept by row. Where the bag is the batch, its risk is on as many instances
as a batch, drawn anew each time: with curvature identity and link relu that is learning to reweight (arXiv 1803.09050).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import ClassVar

import torch
from torch import Tensor, nn

from refluence.compute import Compute
from refluence.data.dataset import Dataset
from refluence.errors import InputError, RunError, option
from refluence.files import Json
from refluence.models import ModelSpec
from refluence.seeds import Rng
from refluence.training.loop import fit
from refluence.transfer.artifact import Student, Taught
from refluence.transfer.batches import accuracy, logits_of
from refluence.transfer.events import TaughtSteps
from refluence.transfer.facts import shown, table_of, teacher_facts, weights_by_truth
from refluence.transfer.job import Transferring
from refluence.transfer.learning import within
from refluence.transfer.stage import Setting, Stage, phases_of
from refluence.work import Beside, Cost, Result

TEACHER = "teacher."  # before its names in a state
PART = 256  # rows of which a teacher is asked in a try


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
        self.plan, self.teacher, self.step = plan, teacher, 0
        self.setting, self.phases = Setting(plan, dataset, model, rng, compute), phases_of(plan)
        self.course = self.setting.course
        self.total = len(self.phases) * self.course.blocks
        self.teaches = plan.mechanism.teacher == "weighted"
        self.teacher_facts: Json = {}
        if teacher is not None and plan.teacher is not None:
            self.teacher_facts = teacher_facts(plan.teacher, teacher, accuracy(teacher, self.setting.watching))
            self.teacher = copy.deepcopy(teacher) if self.teaches else teacher  # the caller's stays as it is
        self.stage = self._stage(0, self.teacher_facts.get("accuracy"))
        if (every := self.stage.every) >= self.course.total:
            warnings.warn(
                f"nothing is scored, so every instance weighs the same: the first scoring would be after step {every} of "
                f"{self.course.total}; more {option('epochs')} or a smaller refresh may help",
                stacklevel=2,
            )

    def _stage(self, number: int, accuracy: float | None) -> Stage:
        """The beginning of a phase. `accuracy`: the teacher's."""
        return Stage(self.setting, self.phases[number], self.teacher, accuracy)

    @property
    def student(self) -> nn.Module:
        """The student of this phase."""
        return self.stage.student

    def steps(self) -> Iterator[TaughtSteps]:
        """The blocks that are left; `RunError` where numbers are no longer finite or cannot be made weights."""
        while self.step < self.total:
            phase, number = divmod(self.step, self.course.blocks)
            if phase and not number:
                before = self.stage
                self.stage = self._stage(phase, before.teacher_accuracy)
                self.stage.teacher_stopped = before.teacher_stopped
            try:
                yield self._block(self.course.block(number))
            except InputError as error:  # scores that cannot be made weights
                raise RunError(str(error)) from None

    def units(self, step: int) -> int:
        """Steps of the optimiser after so many blocks."""
        phase, number = divmod(step, self.course.blocks)
        return phase * self.course.total + self.course.block(number).start

    def _block(self, steps: range) -> TaughtSteps:
        course, stage, losses = self.course, self.stage, list[Tensor]()
        epoch, compute = steps[0] // course.per_epoch, self.setting.compute
        stage.student.train()
        with compute.autocast():
            fit(
                stage.called,
                stage.optimiser,
                stage.batches(steps),
                stage.loss,
                schedule=lambda number: course.rate(steps[number]),
                generator=self.setting.rng(f"{stage.phase.purpose}training", steps[0]),
                device=compute.device,
                seen=lambda batch, logits, value: losses.append(value),
            )
        if not all(bool(p.isfinite().all()) for p in stage.student.parameters()):
            raise RunError(f"training of the student diverged in epoch {epoch + 1}")
        stage.check_teacher()
        if (steps[-1] + 1) % course.per_epoch == 0:
            stage.epoch_ends()
        self.step += 1
        return TaughtSteps(
            self.step - 1,
            epoch,
            float(torch.stack(losses).double().mean()),
            course.rate(steps[-1]),
            teacher_accuracy=stage.teacher_accuracy,
            student_accuracy=stage.student_accuracy,
            teacher_stopped=stage.teacher_stopped,
            **stage.watched.newest(),
        )

    def costs(self) -> list[Cost]:
        """What comes beside the steps, for an estimate: what a fixed teacher says once of all rows, and the scorings."""
        stage, every, rows = self.stage, self.stage.every, self.setting.rows
        answers, costs = stage.answers, list[Cost]()
        if answers is not None and answers.fixed and not self.setting.augments:
            part, net = rows.take(torch.arange(min(len(rows.positions), PART))), answers.net

            def answer(times: int) -> None:
                for _ in range(times):
                    logits_of(net, part)

            costs.append(Cost("the teacher's answers", len(rows.positions) / len(part.positions), answer))
        if not every:
            return costs

        def score(times: int) -> None:
            for _ in range(times):
                next(stage.batches(range(every, every + 1)))

        return [*costs, Cost("scoring", len(self.phases) * self.course.total / every, score)]

    def state(self) -> dict[str, Tensor]:
        """The student, its optimiser, the weights, a teacher that learns or has learned, and what was measured last."""
        own = {"step": torch.tensor(self.step), **self.stage.state()}
        if self.teacher is not None and self.teaches:
            own |= {f"{TEACHER}{name}": t for name, t in self.teacher.state_dict().items()}
        return own

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the block at which `state` was taken."""
        self.step = int(state["step"])
        if self.teacher is not None and self.teaches:
            self.teacher.load_state_dict(within(state, TEACHER))
        self.stage = self._stage(max(0, self.step - 1) // self.course.blocks, None)
        self.stage.restore(state)

    def artifact(self) -> Student:
        """The student as it stands, in evaluation mode."""
        return self._named(self.student, self.setting.model)

    def _named(self, net: nn.Module, model: ModelSpec) -> Student:
        data = self.setting.dataset
        return Student(net.eval(), model, data.classes, data.mean, data.std)

    def result(self) -> Result:
        """The student, what its card says, the scores that weighed its instances last, and a teacher that learned."""
        student, stage, beside = self.artifact(), self.stage, list[Beside]()
        dataset, weighed = self.setting.dataset, self.stage.telling
        card: Json = {
            "parameters": student.parameters,
            "teacher": self.teacher_facts or None,
            "epochs": self.plan.settings.epochs,
            "rows": len(self.setting.rows.split),
            "accuracy_watching": stage.student_accuracy,
            **stage.watched.facts(),
            "weights": None if weighed is None else weights_by_truth(dataset, weighed.weights),
        }
        if weighed is not None and bool(weighed.weights.scored.any()):
            beside.append(table_of(dataset, weighed.weights, {"weights": asdict(self.plan.weighting)}))
            beside.append(shown(dataset, weighed.weights))
        if self.teacher is not None and self.plan.teacher is not None and self.teaches:
            learned = {"accuracy_before": self.teacher_facts["accuracy"], "accuracy": stage.teacher_accuracy}
            before = {name: fact for name, fact in self.teacher_facts.items() if name != "sha256"}  # another network's now
            card["teacher"] = {**before, "learned": {**learned, "stopped": stage.teacher_stopped}}
            beside.append(Taught(self._named(self.teacher, self.plan.teacher.model), card["teacher"]))
        return Result(student, card, tuple(beside))
