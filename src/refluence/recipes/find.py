"""Recipes by name: every module of this package that declares a `RECIPE`. There is no registry."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import lru_cache

import refluence.recipes
from refluence.errors import InputError
from refluence.recipes.base import Recipe


@lru_cache
def recipes() -> dict[str, Recipe]:
    """Every recipe of the package by name."""
    modules = (
        importlib.import_module(f"{refluence.recipes.__name__}.{i.name}")
        for i in pkgutil.iter_modules(refluence.recipes.__path__)
    )
    found = [module.RECIPE for module in modules if hasattr(module, "RECIPE")]
    return {recipe.name: recipe for recipe in found}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; `InputError` lists what there is."""
    if name not in recipes():
        close = difflib.get_close_matches(name, recipes(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown recipe '{name}': {hint}there are {', '.join(recipes())}")
    return recipes()[name]
