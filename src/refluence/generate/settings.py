"""How one set is sampled: steps, classifier-free guidance, the guidance by influence and deviation, or a pool to select from.

    z_{t-1} = s(z_t, t, eps) - rho_t grad_z G_I(z0_hat) - gamma_t grad_z G_D(z_t)                      (IGD eq. 9)
    rho_t   = kappa k sqrt(1 - abar_t) |eps| / |grad_z G_I|,      gamma_t = gamma d / 4096

kappa and the scale of gamma are ours: the literal rho (kappa 1) with k = 5 moves z by 4.5 times its norm at every guided
step, with .002 by about a hundredth; gamma was published for latents of d = 4096 numbers, and moves z by gamma / d of its norm.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from refluence.options import SamplingOptions
from refluence.options.ranges import HIGH, LOW, RANGES, USUAL_RANGE, read_range


@dataclass(frozen=True)
class Guidance:
    """What steers the steps whose log-SNR lies in `low` … `high`, or whose share of the steps left lies in `fraction`.

    `memory`: how many earlier images of a class the deviation looks at; None: all. `through`: back through the denoiser;
    False stops the gradient at eps, dz0/dz = 1 / sqrt(abar). `averaging` of checkpoints: trained, by their rates, or equal.
    `scaled_gamma`: gamma d / 4096; False: gamma as it is. `entropy`, `modes` and `learnability` have pages of their own, and a
    lambda each.
    """

    influence: bool = False
    deviation: bool = False
    k: float = 5.0
    gamma: float = 50.0
    kappa: float = 0.002
    low: float = LOW
    high: float = HIGH
    fraction: tuple[float, float] | None = None
    memory: int | None = None
    through: bool = True
    scaled_gamma: bool = True
    averaging: str = "trained"
    entropy: bool = False
    modes: bool = False
    entropy_scale: float = 10.0
    mode_scale: float = 0.1
    learnability: bool = False
    learnability_scale: float = 0.2
    omega: float = 1.0
    stages: int = 5
    candidates: int = 2

    @property
    def steers(self) -> bool:
        """Whether there is anything to steer by."""
        others = (self.entropy and self.entropy_scale != 0) or (self.modes and self.mode_scale != 0)
        learned = self.learnability and (self.learnability_scale != 0 or self.k != 0)
        return others or learned or (self.influence and self.k != 0) or (self.deviation and self.gamma != 0)


@dataclass(frozen=True)
class Pool:
    """`factor` times as many images as are kept, selected by herding or by influence.

    None: as many as fit the seconds of guidance, which a comparison measures; alone, `FACTOR`.
    """

    factor: float | None = None
    by: str = "herding"


@dataclass(frozen=True)
class Settings:
    """How a set is sampled. `batch` images share a batch, classes in turn: who shares one is part of the result.

    `strength`: the share of the steps that are gone through, from a noised mode of the class (modes.py); None: all, from noise.
    """

    cfg: float = 2.0
    solver: str = "ddim"
    steps: int = 50
    batch: int = 50
    guidance: Guidance = field(default_factory=Guidance)
    pool: Pool | None = None
    strength: float | None = None


def settings_from(asked: SamplingOptions, variant: str, from_modes: bool = False) -> Settings:
    """The settings of a variant: uniform, influence, deviation, igd, entropy, modes, learnability or pool; of images that begin
    at modes.

    Raises:
        InputError: a range that cannot be read.
    """
    low, high, fraction = read_range(RANGES.get(variant, USUAL_RANGE) if asked.range is None else asked.range)
    guidance = Guidance(
        influence=variant in ("influence", "igd"),
        deviation=variant in ("deviation", "igd", "learnability"),
        k=asked.k,
        gamma=asked.gamma,
        kappa=asked.kappa,
        low=low,
        high=high,
        fraction=fraction,
        memory=None if isinstance(asked.memory, str) else asked.memory,  # the word says all
        through=asked.through == "full",
        scaled_gamma=not asked.raw_gamma,
        averaging=asked.averaging,
        entropy=variant == "entropy",
        modes=variant == "modes",
        entropy_scale=asked.entropy_scale,
        mode_scale=asked.mode_scale,
        learnability=variant == "learnability",
        learnability_scale=asked.learnability_scale,
        omega=asked.omega,
        stages=asked.stages,
        candidates=asked.candidates,
    )
    pool = Pool(asked.factor, asked.by) if variant == "pool" else None
    strength = asked.strength if from_modes else None
    return Settings(asked.cfg, asked.solver, asked.steps, asked.sample_batch, guidance, pool, strength)


def deciding(stored: dict[str, Any]) -> dict[str, Any]:
    """Of the settings that `dataclasses.asdict` wrote what decides the images: no number of guidance that is off."""
    guidance = stored["guidance"]
    influence = guidance["influence"] or guidance.get("learnability")
    steers = any(guidance.get(kind) for kind in ("influence", "deviation", "entropy", "modes", "learnability"))
    idle: set[str] = set() if steers else {"low", "high", "fraction", "through"}
    idle |= set() if influence else {"k", "kappa", "averaging"}
    idle |= set() if guidance["deviation"] else {"gamma", "memory", "scaled_gamma"}
    for kind, numbers in (
        ("entropy", {"entropy_scale"}),
        ("modes", {"mode_scale"}),
        ("learnability", {"learnability_scale", "omega", "stages", "candidates"}),
    ):
        idle |= set() if guidance.get(kind) else numbers
    return {**stored, "guidance": {key: value for key, value in guidance.items() if key not in idle}}


def settings_of_json(stored: dict[str, Any]) -> Settings:
    """The settings that `dataclasses.asdict` wrote."""
    guidance = dict(stored["guidance"])
    guidance["fraction"] = None if guidance["fraction"] is None else tuple(guidance["fraction"])
    pool = None if stored["pool"] is None else Pool(**stored["pool"])
    return replace(Settings(), **{**stored, "guidance": Guidance(**guidance), "pool": pool})
