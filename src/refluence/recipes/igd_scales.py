"""Fig. 6 of IGD (ICLR 2025): the scale k of influence guidance and gamma of deviation guidance; ImageNette."""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.sampled import part

KS = ("1", "5", "10", "15", "20", "50")
GAMMAS = ("10", "50", "100", "120", "200")


def parts(size: str) -> tuple[Part, ...]:
    """k at the gamma of Table 12, then gamma at its k, for each denoiser; at size cpu for digits and DiT alone."""
    if size == "cpu":
        of_k = ("dit", *(f"dit+igd:k={k},gamma=50" for k in KS))
        of_gamma = ("dit", *(f"dit+igd:k=5,gamma={gamma}" for gamma in GAMMAS))
        return (part("digits-k", "digits", 5, of_k, size), part("digits-gamma", "digits", 5, of_gamma, size))
    found = []
    for method, usual_k, usual_gamma in (("dit", "5", "120"), ("minimax", "15", "10")):
        of_k = (method, *(f"{method}+igd:k={k},gamma={usual_gamma}" for k in KS))
        of_gamma = (method, *(f"{method}+igd:k={usual_k},gamma={gamma}" for gamma in GAMMAS))
        found += [part(f"{method}-k", "imagenette", 50, of_k, size), part(f"{method}-gamma", "imagenette", 50, of_gamma, size)]
    return tuple(found)


RECIPE = Recipe(
    name="igd-scales",
    summary="the scales of influence guidance (k) and deviation guidance (gamma)",
    source="IGD (ICLR 2025), Fig. 6",
    parts=parts,
    claims=(
        "For DiT accuracy rises with both scales, and falls where k is too large.",
        "For Minimax gamma matters little; accuracy rises with k, and falls where it is too large.",
    ),
    picture="sweep",
)
