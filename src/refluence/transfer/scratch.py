"""The student without a teacher: min_S (1/B) sum_i w_i CE(S(x_i), y_i). Every teacher that is trained here is made so too."""

from __future__ import annotations

from refluence.transfer.mechanism import Mechanism

METHOD = Mechanism("scratch", "control: the student trained without a teacher", teacher="none")
