"""What is drawn at random, and how the machine is used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from refluence.fields import setting
from refluence.options.base import Options


@dataclass(frozen=True, kw_only=True)
class SeedOptions(Options):
    """What is drawn at random, and how often."""

    seed: int = setting(0, "Everything random follows from it.", least=0, most=math.inf)
    seeds: int = setting(3, "How many paired seeds; 5 or more give useful intervals.", least=1)


@dataclass(frozen=True, kw_only=True)
class MachineOptions(Options):
    """How the machine is used."""

    group: ClassVar[str] = "machine"

    device: str = setting("auto", "auto | cpu | cuda | cuda:1 | mps.")
    threads: int = setting(
        0, "Processor threads (0: automatic). Bit-identical results need the same number.", least=0, most=1024
    )
    precision: str = setting(
        "fp32",
        "bf16: distil with real gradients and networks in bfloat16; evaluation and scores stay in float32.",
        choices=("fp32", "bf16"),
    )
    compile: bool = setting(
        False,
        "Compile distillation and judging: about a minute first, then faster; pays on long runs.",
        pair=True,
    )
