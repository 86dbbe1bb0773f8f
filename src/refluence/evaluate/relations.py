"""What a reference is to the arm that is compared with it."""

from __future__ import annotations

from refluence.arm import UNIFORM

CONTROL, EQUAL_SECONDS, RIVAL, RANDOM = "control", "equal_seconds", "rival", "random"
RELATIONS = (UNIFORM, RANDOM, CONTROL, EQUAL_SECONDS, RIVAL)
"""In the order in which an arm is compared: every instance alike, the method that knows nothing, weights on the wrong
instances, as many seconds, the same done by another."""
