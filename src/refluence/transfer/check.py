"""What cannot be a transfer is refused before anything is trained, in one line with both numbers; what is odd is remarked."""

from __future__ import annotations

from fnmatch import fnmatchcase

import torch
from torch import nn

from refluence.data import Dataset
from refluence.data.dataset import Split
from refluence.errors import InputError, option, stated
from refluence.influence.weighting import BY_INFLUENCE
from refluence.models import ModelSpec
from refluence.seeds import streams
from refluence.training.predict import evaluating
from refluence.transfer.halves import halves
from refluence.transfer.job import Transferring
from refluence.transfer.settings import PARAMETERS

PER_CLASS = 2  # validation instances: one makes weights, one watches
LOOKED_AT = 1000  # validation instances, up to twice as many, that are looked for in the test split
TRIED = 2  # training instances that a teacher is called with
UNROLLED = 1_000_000  # parameters of a student up to which its step is differentiated through without a remark


def check(plan: Transferring, dataset: Dataset, model: ModelSpec) -> None:
    """`InputError` for networks that do not fit the data or each other, and validation instances that cannot serve.

    Args:
        plan: with its teacher, where it has one.
        dataset: the source.
        model: the student.
    """
    _check_classes("student", model, dataset)
    if plan.teaches_itself:
        check_unlabelled(plan, dataset)
    _check_parameters(plan, model)
    if plan.teacher is not None:
        _check_classes("teacher", plan.teacher.model, dataset)
        if plan.teacher.loaded is not None and plan.teacher.loaded.net is not None:
            _check_logits(plan.teacher.loaded.net, plan.teacher.loaded.where or plan.teacher.model.name, dataset)
    if dataset.validation != "cut from train":
        _check_apart(dataset)
    if validates(plan):
        _check_validation(dataset)
    else:
        halves(dataset.val)  # raises where nothing would be left to watch


def validates(plan: Transferring) -> bool:
    """Whether something is learned from the labels of validation instances: weights, a teacher, or the control of both."""
    by_validation = plan.weighting.kind in (*BY_INFLUENCE, "adapt")
    return by_validation or plan.mechanism.teacher == "weighted" or plan.settings.also == "validation"


def remarks(plan: Transferring, model: ModelSpec) -> list[str]:
    """What is no error and worth a line: a student that is not the smaller network, a step that is costly to unroll."""
    lines, own = [], parameters(model)
    if plan.teacher is not None:
        loaded = plan.teacher.loaded
        of_teacher = parameters(plan.teacher.model) if loaded is None or loaded.net is None else _count(loaded.net)
        if own >= of_teacher:
            lines.append(f"the student has {own:,} parameters, its teacher {of_teacher:,}: it is not the smaller network")
    if plan.mechanism.teacher == "weighted" and plan.settings.teacher_gradient == "unrolled" and own > UNROLLED:
        lines.append(
            f"{option('teacher_gradient', 'unrolled')} differentiates through each step of a student of {own:,} parameters, "
            f"with the graph of both passes in memory: {option('teacher_gradient', 'influence')} is its approximation"
        )
    return lines


def parameters(model: ModelSpec) -> int:
    """How many numbers a network learns."""
    return _count(model.bare(streams(0)("parameters", 0)))


def _count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def check_unlabelled(plan: Transferring, dataset: Dataset) -> None:
    """`InputError` for data from which nothing without labels can be learned, and a teacher that was trained before."""
    if dataset.train.images.dim() != 4:
        raise InputError("semi changes images to see more of them: it is not for text")
    if dataset.unlabelled is None:
        raise InputError(
            f"semi learns from training instances without labels too, and all have one: {option('labelled', 100)} takes away "
            "those of all but 100"
        )
    if plan.teacher is not None and plan.teacher.loaded is not None:
        raise InputError(
            f"semi trains its teacher beside the student: leave out {option('load_teacher')}, name the network alone"
        )


def _check_classes(who: str, model: ModelSpec, dataset: Dataset) -> None:
    classes = len(dataset.classes)
    if model.classes != classes:
        hint = f": {option('load_teacher')} needs one of the same classes" if who == "teacher" else ""
        raise InputError(f"the {who} {model.name} has {model.classes} classes, {dataset.source} has {classes}{hint}")


def _check_parameters(plan: Transferring, model: ModelSpec) -> None:
    """Whether a pattern that chooses parameters names some that learn."""
    pattern = plan.settings.parameters
    if pattern in PARAMETERS or not plan.weighting.scored:
        return
    learning = [name for name, p in model.bare(streams(0)("parameters", 0)).named_parameters() if p.requires_grad]
    if not any(fnmatchcase(name, pattern) for name in learning):
        raise InputError(
            f"{stated('parameters', pattern)}: no parameter of {model.name} that learns has such a name, as "
            f"{' and '.join(learning[:2])} have"
        )


def _check_logits(net: nn.Module, name: str, dataset: Dataset) -> None:
    """Whether a teacher that is there gives logits of the classes for instances of this source."""
    x = dataset.pixels(dataset.train, slice(TRIED))
    one = " x ".join(map(str, x.shape[1:]))
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    try:
        with evaluating(net), torch.no_grad():
            logits = net(x.to(device))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        why = str(error).strip().partition("\n")[0]
        raise InputError(f"the teacher {name} cannot take the instances of {dataset.source}, {one}: {why}") from None
    wanted = (len(x), len(dataset.classes))
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != wanted:
        given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(
            f"the teacher {name} gives {given} for {len(x)} instances of {dataset.source}: it must give logits {wanted}, one "
            "for each class"
        )


def _check_apart(dataset: Dataset) -> None:
    """Whether the validation split is the test split or the training split, or holds it: half of the instances would do."""
    val, within = dataset.val, _contents(dataset.val)
    for other, name, why in (
        (dataset.test, "test", "what is chosen on them is measured on them"),
        (dataset.train, "training", "what is learned on them is judged on them"),
    ):
        mine, theirs = _some(val), _some(other)
        shared, held = len(mine & _contents(other)), len(theirs & within)
        if mine and 2 * shared >= len(mine):
            said = f"is the {name} split: {shared} of {len(mine)} of its instances are {name} instances of {dataset.source}"
        elif theirs and 2 * held >= len(theirs):
            said = f"holds the {name} split: {held} of {len(theirs)} {name} instances of {dataset.source} are in it"
        else:
            continue
        remedy = f"leave out {option('validation')}, or name other data"
        raise InputError(f"the validation split ({dataset.validation}) {said}, and {why}: {remedy}")


def _some(split: Split) -> set[bytes]:
    """Contents of the instances that are looked for elsewhere: all of a small split."""
    return _contents(split.take(torch.arange(0, len(split), max(1, len(split) // LOOKED_AT))))


def _contents(split: Split) -> set[bytes]:
    return {image.contiguous().numpy().tobytes() for image in split.images}


def _check_validation(dataset: Dataset) -> None:
    counts = torch.bincount(dataset.val.labels, minlength=len(dataset.classes)).tolist()
    fewest = min(range(len(counts)), key=counts.__getitem__)
    if counts[fewest] >= PER_CLASS:
        return _check_halves(dataset)
    few = sum(count < PER_CLASS for count in counts)
    others = f" (and {few - 1} other classes have too few)" if few > 1 else ""
    more = f"a larger {option('val_fraction')}" if dataset.validation == "cut from train" else "more of its instances"
    raise InputError(
        f"class '{dataset.classes[fewest]}' has {counts[fewest]} validation instances ({dataset.validation}), and "
        f"{PER_CLASS} are needed, one to make weights and one to watch{others}: give {more}"
    )


def _check_halves(dataset: Dataset) -> None:
    """Whether both halves have each class: groups stay whole, so that one of them may get none of it."""
    for half, what in zip(halves(dataset.val), ("makes weights", "watches"), strict=True):
        counts = torch.bincount(dataset.val.labels[half], minlength=len(dataset.classes)).tolist()
        if 0 in counts:
            more = f"a larger {option('val_fraction')}" if dataset.validation == "cut from train" else "more groups of it"
            raise InputError(
                f"the half of the validation split ({dataset.validation}) that {what} has no instance of class "
                f"'{dataset.classes[counts.index(0)]}', whose instances lie in too few groups, which stay whole: give {more}"
            )
