"""Mechanism 2 of KD-AIF (arXiv 2501.02705; the numbering is ours): the teacher learns from weighted instances, the student
from all alike,

    min_T sum_i w_i(S'(T)) L_T(z_i; T, S'),     S' = S - eta grad L_S(S; T)     beside     min_S sum_i L_S(z_i; T, S)
"""

from __future__ import annotations

from refluence.transfer.mechanism import Mechanism

METHOD = Mechanism(
    "teacher",
    "KD-AIF's mechanism 2 (numbering ours): the teacher's instances weighted by influence on its student",
    "arXiv 2501.02705",
    teacher="weighted",
)
