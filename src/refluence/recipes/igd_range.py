"""Fig. 2 of IGD (ICLR 2025): guidance in early steps alone against guidance in all steps, by the scale k; ImageWoof.

Two things are read off: the mean influence energy of the sets, which falls with k, and the accuracy, which is said to fall
too where strong guidance goes on to the end. `--quality` is on, so that the energy of every arm stands in the table.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.sampled import part

KS = ("1", "5", "10", "20", "50")
ENTIRE = "range=0%:100%"


def parts(size: str) -> tuple[Part, ...]:
    """The scales with guidance in the published range, then with guidance in every step."""
    data, ipc = ("digits", 5) if size == "cpu" else ("imagewoof", 100)
    early = ("dit", *(f"dit+influence:k={k}" for k in KS))
    entire = ("dit", *(f"dit+influence:k={k},{ENTIRE}" for k in KS))
    options = {"quality": True}
    return (part("early", data, ipc, early, size, options=options), part("entire", data, ipc, entire, size, options=options))


RECIPE = Recipe(
    name="igd-range",
    summary="influence guidance in early steps alone and in all steps, by its scale k",
    source="IGD (ICLR 2025), Fig. 2",
    parts=parts,
    claims=(
        "The influence energy of a set falls with k, more so with guidance in all steps.",
        "With guidance in all steps accuracy falls from k = 10 on; with guidance in early steps alone it does not.",
    ),
    picture="sweep",
)
