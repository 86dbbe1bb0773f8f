"""Mechanism 1 of KD-AIF (arXiv 2501.02705): a fixed teacher, the student's instances weighted by their influence,

min_S sum_i w_i L_S(z_i; T, S),     w_i = 2 / (1 + exp(phi_i)),     phi_i = -< H^-1 grad R_val(S), grad L_S(z_i; S) >
"""

from __future__ import annotations

from refluence.transfer.mechanism import Mechanism

METHOD = Mechanism(
    "student",
    "KD-AIF's mechanism 1: the student's instances weighted by influence; kd+influence",
    "arXiv 2501.02705",
    weighs=True,
)
