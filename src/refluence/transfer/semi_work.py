"""The mechanism `semi` as a work (work.py): teacher and student side by side, then the student on labelled instances alone.

    every step   views of instances without labels, the teacher's pseudo-labels for them      semi_views.py, semi_losses.py
                 phi of those that count, at the student as it is, and weights from them      scoring.py, weights.py
                 the teacher, then the student: a step of each                                the equations: semi.py

What is kept is a running average of the student's weights, which is tuned at the end. True labels of instances that have none
here are read once, after the last step, for what the card says of pseudo-labels.
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
from refluence.influence.links import effective_sample_size
from refluence.influence.weighting import SMALLEST_BAG
from refluence.models import ModelSpec
from refluence.randomness import seeded
from refluence.seeds import Rng
from refluence.training.loop import Batch, fit
from refluence.training.optimisers import Average, make, optimiser_state, restore_optimiser, set_rate
from refluence.training.predict import evaluating
from refluence.transfer import semi_views
from refluence.transfer.artifact import Student, Taught
from refluence.transfer.batches import BLOCK, Instances, augmented, logits_of
from refluence.transfer.facts import sha256_of, shown, table_of
from refluence.transfer.halves import halves
from refluence.transfer.job import Transferring
from refluence.transfer.learning import within
from refluence.transfer.scoring import Measure
from refluence.transfer.semi_course import SemiCourse, Stream
from refluence.transfer.semi_losses import Pseudo, Smoothed, pseudo, teacher_objective
from refluence.transfer.semi_settings import SemiSettings
from refluence.transfer.watch import chi_square
from refluence.transfer.weights import InstanceWeights
from refluence.work import Beside, Result

TEACHER, STUDENT, AVERAGE, WEIGHTS = "teacher.", "student.", "average.", "weights."  # before names in a state
OPTIMISERS = ("teacher-optimiser.", "student-optimiser.")
SUMS = ("sure", "ess", "below_one", "chi_square", "steps")
"""What is summed over steps in which the student learns; chi-square is that of the weights."""


@dataclass(frozen=True)
class SemiSteps:
    """Some steps, of both networks or, where `tuned`, of the student on labelled instances.

    `loss`: the student's mean loss, None while it waits; `teacher_loss`; `lr`: the student's rate at the last; `sure`: the
    share of instances whose pseudo-label counts. Of the weights of these: effective sample size (a share) and share below 1.
    Accuracies are in percent, of the half of the validation split that watches, as they were measured last; None: not yet.
    """

    step: int
    tuned: bool
    lr: float
    sure: float | None = None
    ess: float | None = None
    below_one: float | None = None
    loss: float | None = None
    teacher_loss: float | None = None
    teacher_accuracy: float | None = None
    student_accuracy: float | None = None


class SemiWork:
    """Both networks on their way; a step is a block of at most 100 of their steps."""

    means: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "A smaller lr may help, in a new run"

    def __init__(self, plan: Transferring, dataset: Dataset, model: ModelSpec, rng: Rng, compute: Compute, teacher: nn.Module):
        """Both networks before their first step. `teacher`: as it begins."""
        assert isinstance(plan.settings, SemiSettings), "of this mechanism"
        assert dataset.unlabelled is not None, "check.py"
        self.plan, self.dataset, self.model, self.rng, self.compute = plan, dataset, model, rng, compute
        self.device, self.settings, self.unlabelled = compute.device, plan.settings, dataset.unlabelled
        how = self.settings
        self.course, self.step = SemiCourse(how, plan.block or BLOCK), 0
        self.total = self.course.total
        self.labelled = Instances(dataset, dataset.train, torch.arange(len(dataset.train)), self.device)
        self.watching = Instances(dataset, dataset.val, halves(dataset.val)[1], self.device)
        self.known = Stream("labelled", len(dataset.train), how.batch, rng)
        self.others = Stream("unlabelled", len(self.unlabelled), how.batch * how.mu, rng)
        self.operations = semi_views.operations(semi_views.photometric(self.unlabelled))
        self.teacher = teacher.to(self.device)
        self.student = model.bare(rng("network", 0)).to(self.device)
        self.optimisers = [self._optimiser(self.teacher, how.lr), self._optimiser(self.student, how.lr)]
        self.average = Average(self.student, how.average)
        self.loss = Smoothed(how.smoothing)
        self.weights, self.measure = self._weighed()
        self.sums = torch.zeros(len(SUMS), dtype=torch.float64)
        self.accuracies: list[float | None] = [None, None]

    def _optimiser(self, net: nn.Module, lr: float, weight_decay: float | None = None) -> torch.optim.Optimizer:
        how = self.settings
        decay = how.weight_decay if weight_decay is None else weight_decay
        nesterov = how.optimiser == "sgd" and how.momentum > 0
        return make(net, how.optimiser, lr, momentum=how.momentum, weight_decay=decay, nesterov=nesterov)

    def _weighed(self) -> tuple[InstanceWeights | None, Measure | None]:
        weighting = self.plan.weighting
        if not weighting.scored:
            return None, None
        if weighting.bag == "all":  # those of the step are all that are scored at this student
            weighting = weighting.with_(bag="batch")
        none = torch.zeros(len(self.unlabelled), dtype=torch.int64)
        weights = InstanceWeights(weighting, none, self.settings.steps)
        return weights, Measure(self.student, self.loss, weighting.kind, self.settings, len(self.dataset.classes))

    def steps(self) -> Iterator[SemiSteps]:
        """The blocks that are left; `RunError` where numbers are no longer finite or cannot be made weights."""
        while self.step < self.total:
            number, steps = self.step, self.course.block(self.step)
            try:
                event = self._tuned(number, steps) if self.course.tunes(number) else self._taught(number, steps)
            except InputError as error:  # scores that cannot be made weights
                raise RunError(f"{error} at step {steps[0] + 1}") from None
            for net in (self.teacher, self.student):
                if not all(bool(p.isfinite().all()) for p in net.parameters()):
                    raise RunError(f"training diverged at step {steps[-1] + 1}")
            self.step += 1
            yield event

    def _taught(self, number: int, steps: range) -> SemiSteps:
        """Both networks learn."""
        taught = list[Tensor]()
        seen = list[Tensor]()
        before = self.sums.clone()
        self.teacher.train()
        self.student.train()
        waiting = [step for step in steps if step < self.settings.wait]
        learning = steps[len(waiting) :]
        with self.compute.autocast(), seeded(self.rng("semi", steps[0]), self.device):
            for step in waiting:
                self._teach(step, taught)
            if learning:
                fit(
                    self.student,
                    self.optimisers[1],
                    (self._teach(step, taught) for step in learning),
                    self.loss,
                    schedule=lambda at: self.course.student_rate(learning[at]),
                    seen=lambda batch, logits, value: seen.append(value),
                    stepped=lambda: self.average.update(self.student),
                )
        if self.course.watches(number):
            self.accuracies = [self._accuracy(self.teacher), self._accuracy(self._averaged())]
        sure, ess, below = ((self.sums - before)[:3] / max(1, len(learning))).tolist()
        of_teacher, of_student = self.accuracies
        if not learning:
            return SemiSteps(number, False, 0.0, teacher_loss=_mean(taught), teacher_accuracy=of_teacher)
        rate = self.course.student_rate(steps[-1])
        return SemiSteps(number, False, rate, sure, ess, below, _mean(seen), _mean(taught), of_teacher, of_student)

    def _teach(self, step: int, losses: list[Tensor]) -> Batch[Tensor]:
        """One step of the teacher, and what the student learns from in this step."""
        how, rows, known = self.settings, self.others.batch(step), self.known.batch(step)
        generator = self.rng("views", step)
        weak, strong = semi_views.views(
            self.dataset, self.unlabelled, rows, how.operations, how.magnitude, generator, self.device, self.operations
        )
        some = self.labelled.take(known)
        x, y = some.inputs(), some.labels()
        with torch.no_grad():
            target = pseudo(self.teacher(weak), how.temperature, how.threshold)
        weights = torch.ones(len(rows))
        if step >= how.wait:
            weights = self._weights(step, strong, target, rows, known)
            self._sum(rows[target.sure.cpu()], len(rows))
        weights = weights.to(self.device)
        logits = self.teacher(torch.cat([augmented(x, generator), strong]))
        objective = teacher_objective(
            logits[: len(x)], y, logits[len(x) :], target, weights, self.course.consistency(step), how.smoothing
        )
        optimiser = self.optimisers[0]
        set_rate(optimiser, self.course.teacher_rate(step))
        optimiser.zero_grad(set_to_none=True)
        objective.backward()
        optimiser.step()
        losses.append(objective.detach())
        return Batch(strong, target.labels, weights * target.counts)

    def _weights(self, step: int, strong: Tensor, target: Pseudo, rows: Tensor, known: Tensor) -> Tensor:
        """w_u `(U,)` of a step, of mean 1 over those that count; 1 elsewhere, and where too few count."""
        omega, sure = torch.ones(len(rows)), target.sure.cpu()
        if self.weights is None or self.measure is None or int(sure.sum()) < SMALLEST_BAG:
            return omega
        mine, scores, every = rows[sure], None, max(1, self.settings.refresh)
        self.weights.labels[mine] = target.labels[target.sure].cpu()
        if (step - self.settings.wait) % every == 0:
            train = [(strong[target.sure], target.labels[target.sure])]
            with torch.autocast(self.device.type, enabled=False), evaluating(self.student):
                scores = self.measure(train, self.labelled.take(known), train)
        self.weights.refresh(mine, scores, step, self.rng("weights", step))
        omega[sure] = self.weights.of(mine)
        return omega

    def _sum(self, sure: Tensor, of: int) -> None:
        """Add what is known of a step whose pseudo-labels at the positions `sure` count."""
        values = (1.0, 0.0, 0.0)
        if self.weights is not None and len(sure):
            omega = self.weights.omega[sure]
            values = (effective_sample_size(omega), float((omega < 1).double().mean()), chi_square(omega))
        self.sums += torch.tensor([len(sure) / of, *values, 1.0], dtype=torch.float64)

    def _tuned(self, number: int, steps: range) -> SemiSteps:
        """The student learns from labelled instances alone."""
        if steps[0] == 0:
            self._keep_average()
        how, seen = self.settings, list[Tensor]()
        stream = Stream("tuning", len(self.dataset.train), how.tune_batch, self.rng)

        def batches() -> Iterator[Batch[Tensor]]:
            for step in steps:
                some = self.labelled.take(stream.batch(step))
                yield Batch(augmented(some.inputs(), self.rng("tuning-views", step)), some.labels())

        self.student.train()
        with self.compute.autocast():
            fit(
                self.student,
                self.optimisers[1],
                batches(),
                self.loss,
                generator=self.rng("tuning-net", steps[0]),
                device=self.device,
                seen=lambda batch, logits, value: seen.append(value),
            )
        if self.course.watches(number):
            self.accuracies[1] = self._accuracy(self.student)
        return SemiSteps(
            number,
            True,
            how.tune_lr,
            loss=_mean(seen),
            teacher_accuracy=self.accuracies[0],
            student_accuracy=self.accuracies[1],
        )

    def _keep_average(self) -> None:
        """The student becomes its running average, with a new optimiser."""
        if self.average.steps:
            self.average.put(self.student)
        self.optimisers[1] = self._optimiser(self.student, self.settings.tune_lr, 0.0)

    def _averaged(self) -> nn.Module:
        """A copy of the student with the running average of its weights; once it is tuned, the student."""
        if self.step > self.course.together or not self.average.steps:
            return self.student
        net = copy.deepcopy(self.student)
        self.average.put(net)
        return net

    def _accuracy(self, net: nn.Module) -> float:
        """Percent of the instances that watch."""
        with evaluating(net):
            right = logits_of(net, self.watching).argmax(1).cpu() == self.dataset.val.labels[self.watching.positions]
        return 100 * float(right.double().mean())

    def state(self) -> dict[str, Tensor]:
        """Both networks and their optimisers, the average, the weights, and what was summed."""
        watched = torch.tensor([-1.0 if a is None else a for a in self.accuracies], dtype=torch.float64)
        own = {"step": torch.tensor(self.step), "sums": self.sums.clone(), "watched": watched}
        own["averaged"] = torch.tensor(self.average.steps)
        own |= {f"{AVERAGE}{number}": t for number, t in enumerate(self.average.hidden)}
        for net, optimiser, before in zip((self.teacher, self.student), self.optimisers, OPTIMISERS, strict=True):
            name = TEACHER if net is self.teacher else STUDENT
            own |= {f"{name}{key}": t for key, t in net.state_dict().items()}
            own |= {f"{before}{key}": t for key, t in optimiser_state(optimiser).items()}
        if self.weights is not None:
            own |= {f"{WEIGHTS}{key}": t for key, t in self.weights.state().items()}
            own[f"{WEIGHTS}labels"] = self.weights.labels
        return own

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on after the block at which `state` was taken."""
        self.step, self.sums = int(state["step"]), state["sums"].clone()
        self.accuracies = [None if a < 0 else a for a in state["watched"].tolist()]
        if self.step > self.course.together:
            self.optimisers[1] = self._optimiser(self.student, self.settings.tune_lr, 0.0)
        self.average.steps = int(state["averaged"])
        for number, hidden in enumerate(self.average.hidden):
            hidden.copy_(state[f"{AVERAGE}{number}"])
        for net, optimiser, before in zip((self.teacher, self.student), self.optimisers, OPTIMISERS, strict=True):
            net.load_state_dict(within(state, TEACHER if net is self.teacher else STUDENT))
            restore_optimiser(optimiser, within(state, before))
        if self.weights is not None:
            own = within(state, WEIGHTS)
            self.weights.labels.copy_(own.pop("labels"))
            self.weights.restore(own)

    def artifact(self) -> Student:
        """The student as it stands, in evaluation mode."""
        return self._network(self._averaged(), self.model)

    def result(self) -> Result:
        """The student, its teacher beside it, and what is known of pseudo-labels and weights."""
        made = self.artifact()
        teacher = self._network(self.teacher, self.plan.teacher.model if self.plan.teacher else self.model)
        about = {"model": teacher.model.label, "parameters": teacher.parameters, "sha256": sha256_of(teacher.net)}
        means = (self.sums[:-1] / self.sums[-1].clamp_min(1)).tolist()
        card: Json = {
            "parameters": made.parameters,
            "teacher": {**about, "accuracy": self.accuracies[0]},
            "student_accuracy": self.accuracies[1],
            "steps": self.settings.steps,
            "labelled": len(self.dataset.train),
            "unlabelled": len(self.unlabelled),
            **dict(zip(SUMS, means, strict=False)),
            **self._pseudo_labels(),
        }
        beside: list[Beside] = [Taught(teacher, {"source": self.dataset.source})]
        if self.weights is not None and bool(self.weights.scored.any()):
            weighed = replace(self.dataset, train=replace(self.unlabelled, labels=self.weights.labels.clone()))
            beside.append(table_of(weighed, self.weights, {"weights": asdict(self.plan.weighting)}))
            beside.append(shown(weighed, self.weights))
        return Result(made, card, tuple(beside))

    def _pseudo_labels(self) -> Json:
        """How many pseudo-labels of the teacher count and are right, and the weights of those that are and that are not."""
        from sklearn.metrics import roc_auc_score

        every = Instances(self.dataset, self.unlabelled, torch.arange(len(self.unlabelled)), self.device)
        with evaluating(self.teacher):
            target = pseudo(logits_of(self.teacher, every), self.settings.temperature, self.settings.threshold)
        sure, labels, truth = target.sure.cpu(), target.labels.cpu(), self.unlabelled.stored
        if truth is None or not bool(sure.any()):
            return {"pseudo": {"share": float(sure.double().mean()), "accuracy": None}}
        wrong = (labels != truth)[sure]
        found: Json = {"pseudo": {"share": float(sure.double().mean()), "accuracy": 100 * float((~wrong).double().mean())}}
        if self.weights is not None and bool(wrong.any()) and not bool(wrong.all()):
            omega = self.weights.omega[sure]
            auc = float(roc_auc_score(wrong.numpy(), -omega.numpy()))
            found["weights"] = {"clean": float(omega[~wrong].mean()), "noisy": float(omega[wrong].mean()), "auc": auc}
        return found

    def _network(self, net: nn.Module, model: ModelSpec) -> Student:
        data = self.dataset
        return Student(net.eval(), model, data.classes, data.mean, data.std)


def _mean(values: list[Tensor]) -> float | None:
    return float(torch.stack(values).double().mean()) if values else None
