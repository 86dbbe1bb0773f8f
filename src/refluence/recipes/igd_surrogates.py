"""Table 4 of IGD (ICLR 2025): which network guides, and which network is trained on the set.

A part for each network that is trained; its arms differ in the surrogate. Networks that guide nothing: igd_networks.py.
"""

from __future__ import annotations

from refluence.recipes.base import Part, Recipe
from refluence.recipes.sampled import IPCS, cells, part, saying, scaled

SURROGATES = ("convnet6", "resnetap10", "resnet18")
TABLE = {
    "imagenette": {
        "convnet6": {
            "convnet6": "61.9±1.9 80.9±0.9 84.5±0.7",
            "resnetap10": "66.5±1.1 81.0±1.2 85.2±0.5",
            "resnet18": "67.7±0.3 81.0±0.7 84.4±0.8",
        },
        "resnetap10": {
            "convnet6": "58.9±0.4 79.5±0.8 83.7±0.4",
            "resnetap10": "66.2±0.8 82.3±0.2 84.4±0.8",
            "resnet18": "66.7±0.6 82.3±0.9 85.4±0.4",
        },
        "resnet18": {
            "convnet6": "62.2±0.3 78.5±0.9 80.1±0.3",
            "resnetap10": "63.3±1.6 79.5±0.9 82.1±0.5",
            "resnet18": "63.1±0.3 80.3±0.7 83.3±1.4",
        },
    },
    "imagewoof": {
        "convnet6": {
            "convnet6": "35.0±0.8 54.2±0.7 61.1±1.0",
            "resnetap10": "41.0±0.8 62.7±1.2 69.7±0.9",
            "resnet18": "44.8±0.8 62.0±1.1 70.6±1.8",
        },
        "resnetap10": {
            "convnet6": "33.8±1.0 53.5±0.3 60.0±0.4",
            "resnetap10": "39.6±0.4 61.5±0.8 68.8±0.5",
            "resnet18": "43.6±0.5 65.5±0.7 69.3±0.4",
        },
        "resnet18": {
            "convnet6": "34.3±0.8 54.3±0.8 61.0±1.8",
            "resnetap10": "39.5±1.1 61.0±1.4 68.7±0.7",
            "resnet18": "43.8±1.4 62.9±1.0 69.5±0.4",
        },
    },
}


def guided_by(arm: str, surrogate: str) -> str:
    """The arm with its surrogate."""
    return saying(arm, f"surrogate={surrogate}")


def parts(size: str) -> tuple[Part, ...]:
    """Sets, numbers of images and networks; at size cpu digits, with networks that fit 8 pixels."""
    if size == "cpu":
        networks = ("convnet", "resnetap10:group", "resnet10")  # instance norm leaves nothing of a map of one pixel
        arms = ("dit", *(guided_by("dit+igd", network) for network in networks))
        return tuple(
            part(f"digits-ipc5-{network.partition(':')[0]}", "digits", 5, arms, size, options={"model": network})
            for network in networks
        )
    return tuple(
        part(
            f"{data}-ipc{ipc}-{model}",
            data,
            ipc,
            ("dit", *(guided_by(scaled("dit+igd", data, ipc), surrogate) for surrogate in SURROGATES)),
            size,
            model=model,
        )
        for data in TABLE
        for ipc in IPCS
        for model in SURROGATES
    )


RECIPE = Recipe(
    name="igd-surrogates",
    summary="surrogates that guide, by networks that are trained on the set",
    source="IGD (ICLR 2025), Table 4",
    parts=parts,
    by_network={
        (data, ipc, guided_by(scaled("dit+igd", data, ipc), surrogate), model): cell
        for data, by_surrogate in TABLE.items()
        for surrogate, by_model in by_surrogate.items()
        for model, line in by_model.items()
        for ipc, cell in zip(IPCS, cells(line), strict=True)
    },
    claims=("A ConvNet guides about as well as larger networks, whichever network is trained on the set.",),
    picture="arms",
)
