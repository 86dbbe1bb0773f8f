"""What an arm of knowledge distillation is compared with, read as text.

A mechanism that weighs (`student`, `teacher`, `joint`, `staged`, and `kd+influence`, which is `student`) is compared, at the
same numbers but for those that mean nothing to the other arm (`joint:teacher_lr=.1,epochs=5` with `kd:epochs=5`),

    with `kd`: a fixed teacher, every instance weighs the same                                  UNIFORM
    with its own weights on the wrong instances (`joint+shuffled`; `kd+shuffled` is that of
    `student` and `kd+influence`)                                                               CONTROL
    with `kd:equal_seconds=joint`: no weights, but as many seconds                              EQUAL_SECONDS
    with cheaper weights (`kd+loss`, `kd+adapt`, `kd+small-loss`), random ones of the same
    entropy (`kd+random`), and `kd:also=validation`, which learns from more labels              RIVAL

`semi+influence` is compared with `semi` in the same way, and `semi` with `scratch`, which learns from labelled instances alone.
Other arms with weights, and `kd:also=validation`, are compared with `kd` too, and `kd` with `scratch`, the student without a
teacher (RANDOM: does a teacher help at all?).
"""

from __future__ import annotations

from refluence.arm import UNIFORM, Arm
from refluence.evaluate.relations import CONTROL, EQUAL_SECONDS, RANDOM, RIVAL

SCRATCH, KD, SEMI = "scratch", "kd", "semi"
BASE = {KD: SCRATCH, SEMI: SCRATCH, "student": KD, "teacher": KD, "joint": KD, "staged": KD}
"""What a mechanism without weights of another kind is compared with."""
EVEN = (SCRATCH, KD, SEMI)
"""The mechanisms whose instances weigh the same where an arm names no weights."""
INFLUENCE, SHUFFLED = "influence", "shuffled"
CHEAPER = ("loss", "adapt", "small-loss", "random")
ALSO, EQUAL = "also", "equal_seconds"

OF_SCORES = ("curvature", "damping", "solve", "fit", "risk", "parameters", "refresh")
OF_WEIGHTS = ("tau", "ess", "sign", "bag", "standardise", "link", "keep", "memory", "warmup", "carry")
OF_TEACHER = ("teacher_alpha", "teacher_gradient", "teacher_lr", "teacher_every")
OF_IMITATION = frozenset(("loss", "alpha", "temperature", "beta", "onset"))
OF_VIEWS = ("threshold", "smoothing", "operations", "magnitude")
OF_SEMI = ("mu", "lambda_u", *OF_VIEWS, "average", "rise", "ramp", "wait", "tune", "tune_lr", "tune_batch")
UNLIKE = frozenset((*OF_IMITATION, *OF_SEMI, "epochs", "steps", "batch", "schedule"))
"""Options in which `semi` and the `scratch` beside it, which learns from labelled instances alone, may differ."""
IDLE = frozenset((*OF_SCORES, *OF_WEIGHTS, *OF_TEACHER, ALSO, EQUAL))
"""Options that say nothing of the numbers of a plain `kd`."""


def is_student(arm: Arm) -> bool:
    """Whether the arm makes a student."""
    return arm.method == SCRATCH or arm.method in BASE


def by_influence(arm: Arm) -> bool:
    """Whether instances are weighted by influence, of the student or of a teacher that learns too."""
    return arm.kind == INFLUENCE or (arm.kind == UNIFORM and arm.method not in EVEN)


def by_chance(arm: Arm) -> bool:
    """Whether the weights of an arm know nothing of the instances: all equal, on the wrong instances, or random."""
    return arm.kind in (SHUFFLED, "random") or (arm.kind == UNIFORM and arm.method in EVEN)


def base(arm: Arm) -> Arm:
    """The arm that this one is compared with, at the same numbers.

    Example:
        >>> from refluence.arm import read_arm
        >>> base(read_arm("joint:epochs=5,teacher_lr=.1")).name, base(read_arm("kd:temperature=2")).name
        ('kd:epochs=5', 'scratch')
    """
    plain = arm.kind == UNIFORM and not _more_labels(arm)
    method = arm.method if arm.method in EVEN and not plain else BASE.get(arm.method, arm.method)
    return Arm(method, options=arm.without(IDLE | _beside(arm.method, method)).options)


def relation(arm: Arm, other: Arm) -> str:
    """What `other` is to `arm` (relations.py), "" where the two are not compared."""
    if other.same(arm) or arm.method == SCRATCH or not is_student(other) or not _same_numbers(arm, other):
        return ""
    if other.option(EQUAL) is not None:
        alike = (
            by_influence(arm) and other.method == base(arm).method and dict(other.without({EQUAL}).options) == dict(arm.options)
        )
        return EQUAL_SECONDS if alike and other.option(EQUAL) in _names(arm) else ""
    if other.kind == UNIFORM and other.method in EVEN:
        return _to_even(arm, other)
    if not by_influence(arm):
        return ""
    if other.kind == SHUFFLED:
        return CONTROL if _names(arm) & _names(other) and dict(other.options) == dict(arm.options) else ""
    return RIVAL if other.kind in CHEAPER and other.method in (base(arm).method, arm.method) else ""


def _to_even(arm: Arm, other: Arm) -> str:
    """What an arm whose instances weigh the same is to `arm`."""
    if other.method == SCRATCH and arm.method != SCRATCH and arm.method in EVEN and arm.kind == UNIFORM:
        return RANDOM
    if other.method != base(arm).method:
        return ""
    if by_influence(arm) and _more_labels(other) != _more_labels(arm):
        return RIVAL if _more_labels(other) else ""
    return "" if _more_labels(other) and not _more_labels(arm) else UNIFORM


def _same_numbers(arm: Arm, other: Arm) -> bool:
    idle = IDLE | _beside(arm.method, other.method)
    return dict(arm.without(idle).options) == dict(other.without(idle).options)


def _beside(*methods: str) -> frozenset[str]:
    """Options that mean something to one of two mechanisms alone."""
    if SCRATCH not in methods:
        return frozenset()
    return UNLIKE if SEMI in methods else OF_IMITATION


def _more_labels(arm: Arm) -> bool:
    """Whether it learns from the labels of the validation instances too that make weights."""
    return arm.option(ALSO) not in (None, "none")


def _names(arm: Arm) -> set[str]:
    """What an arm with influence or shuffled weights is called: `student` and `kd+influence` are the same."""
    method = "student" if arm.method == KD and arm.kind in (INFLUENCE, SHUFFLED) else arm.method
    return {method, *({INFLUENCE} if arm.kind == INFLUENCE or (arm.kind == UNIFORM and method == "student") else ())}
