"""What a mechanism of knowledge distillation declares: three switches (KD-AIF, arXiv 2501.02705).

student    min_S  sum_i w_i L_S(z_i; T, S)      L_S = (1 - alpha) L_kd(S, T) + alpha L_ce(S)
teacher    min_T  sum_i w_i(S'(T)) L_T(z_i; T, S')
"""

from __future__ import annotations

from dataclasses import dataclass

from refluence.errors import InputError

TEACHERS = ("none", "frozen", "weighted")
SCHEDULES = ("joint", "teacher_then_student", "semi")


@dataclass(frozen=True)
class Mechanism:
    """A way from a teacher to a student.

    Args:
        name: what arms call it.
        summary: one line for `refluence ls`.
        source: the paper, such as "arXiv 2501.02705".
        weighs: whether the student's instances are weighted by influence where the arm names no weights.
        teacher: none, frozen, or weighted: it learns too, its instances weighted by influence at the student that one step
            leads to.
        schedule: joint: both learn side by side; teacher_then_student: first the teacher, then the student; semi: labelled and
            unlabelled instances.

    Example:
        >>> import refluence as rf
        >>> rf.methods()["joint"].teacher
        'weighted'
    """

    name: str
    summary: str
    source: str = ""
    weighs: bool = False
    teacher: str = "frozen"
    schedule: str = "joint"

    def __post_init__(self) -> None:
        for name, value, known in (("teacher", self.teacher, TEACHERS), ("schedule", self.schedule, SCHEDULES)):
            if value not in known:
                raise InputError(f"mechanism {self.name}: {name} is {value!r}: it must be one of {', '.join(known)}")
