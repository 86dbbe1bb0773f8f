"""Mechanism 3 of KD-AIF (arXiv 2501.02705): teacher and student learn side by side, both from weighted instances,

min_T sum_i w_i(S'(T)) L_T(z_i; T, S'),     S' = S - eta grad sum_i w_i(S) L_S(z_i; T, S)
min_S sum_i w_i(S) L_S(z_i; T, S)
"""

from __future__ import annotations

from refluence.transfer.mechanism import Mechanism

METHOD = Mechanism(
    "joint",
    "KD-AIF's mechanism 3: teacher and student learn side by side, both weighted",
    "arXiv 2501.02705",
    weighs=True,
    teacher="weighted",
)
