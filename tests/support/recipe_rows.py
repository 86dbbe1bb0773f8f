"""Rows as `refluence run` writes them, made up."""

from __future__ import annotations

import random

from refluence.recipes.base import Part, Recipe


def row(recipe: Recipe, part: Part, arm: str, seed: int, accuracy: float, **changes) -> dict:
    facts = {"recipe": recipe.name, "part": part.name, "set": part.data, "data": part.data, "size": "paper", "ipc": part.ipc}
    numbers = {"model": part.model, "width": 8, "norm": "instance", "real_batch": 4, "split": "test", "iterations": 3}
    unit = {"arm": arm, "seed": seed, "protocol": part.protocols[0], "accuracy": accuracy, "nets": [accuracy] * 2}
    return {**facts, **numbers, **unit, "ess": 0.5 if "+" in arm else None, "seconds": 1.0, **changes}


def made_up(recipe: Recipe, seeds: int = 3) -> list[dict]:
    """Rows of every part, arm, seed and protocol of the published size."""
    draw = random.Random(0)
    return [
        row(recipe, part, arm, seed, draw.uniform(20, 60), protocol=protocol)
        for part in recipe.parts("paper")
        for seed in range(seeds)
        for arm in part.arms
        for protocol in part.protocols
    ]
