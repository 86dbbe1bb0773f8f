"""Mechanism 4 of KD-AIF (arXiv 2501.02705; the numbering is ours, the order is that of its released notebooks): first the
teacher learns from weighted instances, then, with it fixed, the student from its own."""

from __future__ import annotations

from refluence.transfer.mechanism import Mechanism

METHOD = Mechanism(
    "staged",
    "KD-AIF's mechanism 4 (numbering ours): first the teacher, then the student, both weighted",
    "arXiv 2501.02705",
    weighs=True,
    teacher="weighted",
    schedule="teacher_then_student",
)
