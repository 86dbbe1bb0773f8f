"""Knowledge distillation (arXiv 1503.02531): min_S (1/B) sum_i (1 - alpha) T^2 KL(p_T || p_S) + alpha CE, T fixed.

With weights, `kd+influence`, it is the mechanism `student`.
"""

from __future__ import annotations

from refluence.transfer.mechanism import Mechanism

METHOD = Mechanism("kd", "knowledge distillation: the student imitates a fixed teacher", "arXiv 1503.02531")
