"""The noise of a sample: how much of it there is at each step, which steps are gone through, and which are guided.

    z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps,      log-SNR = log(abar_t / (1 - abar_t))

abar is that of the denoiser, DiT's unless it was loaded with another. Steps that a range means are told by their
log-SNR, which is the same noise in any schedule; a share of the steps left is another amount of noise in each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from refluence.errors import InputError, stated
from refluence.generate.predictions import STEPS, linear_abar
from refluence.generate.settings import Guidance, Settings

ROUNDING = 1e-9  # 45 of 50 steps are a share of .9


def log_snr(abar: Tensor) -> Tensor:
    """log(abar / (1 - abar)), of the same shape."""
    return torch.logit(abar.double())


def timesteps(solver: str, count: int, length: int = STEPS) -> tuple[int, ...]:
    """The `count` steps of a solver, indices into an abar of `length`, the noisiest first.

    They lie as the schedulers of diffusers put them. ddim and ddpm: multiples of length / count from 0 on. It is rounded down
    for each step and not once for all (ours), so that any number of steps begins near the noisiest. dpm: `count` of
    count + 1 points from `length` - 1 down, without 0.

    Example:
        >>> timesteps("ddim", 4), timesteps("dpm", 4)
        ((750, 500, 250, 0), (999, 749, 500, 250))

    Raises:
        InputError: more steps than there are.
    """
    if count > length:
        raise InputError(f"{stated('steps', count)}: the denoiser's schedule has {length} steps, so it can be at most that")
    if count == length:
        return tuple(range(length - 1, -1, -1))
    if solver == "dpm":
        return tuple(round(i * ((length - 1) / count)) for i in range(count, 0, -1))
    return tuple(i * length // count for i in range(count - 1, -1, -1))


def steps_of(settings: Settings, length: int = STEPS) -> tuple[int, ...]:
    """The steps that are gone through: those of the solver, or the last of them where images begin at a noised mode.

    Example:
        >>> steps_of(Settings(steps=4)), steps_of(Settings(steps=4, strength=0.5))
        ((750, 500, 250, 0), (250, 0))
    """
    steps = timesteps(settings.solver, settings.steps, length)
    if settings.strength is None:
        return steps
    return steps[len(steps) - math.ceil(settings.strength * len(steps) - ROUNDING) :]


def deviation_at(abar: Tensor, steps: Sequence[int], number: int) -> float:
    """The deviation of q(z_{t-1} | z_t, z_0), the noise that ddpm adds at a step: 0 at the last one."""
    ours, after = float(abar[steps[number]]), float(abar[steps[number + 1]]) if number + 1 < len(steps) else 1.0
    return math.sqrt((1 - after) / (1 - ours) * (1 - ours / after))


def guided_steps(guidance: Guidance, steps: Sequence[int], abar: Tensor | None = None) -> tuple[int, ...]:
    """Which of the steps are guided.

    Args:
        guidance: has the range, in log-SNR or as a share of the steps left (the first of n steps has n left).
        steps: the solver's, as `timesteps` gives them.
        abar: of the denoiser `(T,)`; DiT's linear schedule by default.

    Returns:
        Their positions in `steps`, in order.

    Raises:
        InputError: none lies in the range.

    Example:
        >>> fifty = timesteps("ddim", 50)
        >>> [fifty[i] for i in guided_steps(Guidance(), fifty)] == list(range(900, 599, -20))
        True
        >>> guided_steps(Guidance(), fifty) == guided_steps(Guidance(fraction=(0.62, 0.92)), fifty)
        True
    """
    ratios = log_snr(linear_abar() if abar is None else abar.cpu())[list(steps)]
    if guidance.fraction is not None:
        low, high = guidance.fraction
        left = [(len(steps) - i) / len(steps) for i in range(len(steps))]
        found = tuple(i for i, share in enumerate(left) if low - ROUNDING <= share <= high + ROUNDING)
    else:
        low, high = guidance.low, guidance.high
        found = tuple(i for i, ratio in enumerate(ratios.tolist()) if low <= ratio <= high)
    if not found:
        asked = f"{low:g}:{high:g}" if guidance.fraction is None else f"{100 * low:g}%:{100 * high:g}%"
        raise InputError(
            f"{stated('range', asked)}: it holds none of the {len(steps)} steps, which go from log-SNR {ratios[0]:.1f} to "
            f"{ratios[-1]:.1f}; a wider range, or more steps, would hold some"
        )
    return found


def described(guided: Sequence[int], steps: Sequence[int], abar: Tensor | None = None) -> str:
    """One line that says which of the steps are guided.

    Example:
        >>> fifty = timesteps("ddim", 50)
        >>> described(guided_steps(Guidance(), fifty), fifty)
        '16 of 50 steps are guided, 5 to 20, counted from the noisiest (t from 900 to 600, log-SNR from -8.2 to -3.6)'
    """
    ratios = log_snr(linear_abar() if abar is None else abar.cpu())
    first, last = steps[guided[0]], steps[guided[-1]]
    return (
        f"{len(guided)} of {len(steps)} steps are guided, {guided[0] + 1} to {guided[-1] + 1}, counted from the noisiest "
        f"(t from {first} to {last}, log-SNR from {ratios[first]:.1f} to {ratios[last]:.1f})"
    )
