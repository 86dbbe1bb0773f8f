"""The extra `generate`: what sampling and the UNet need beside Refluence, found out before any work."""

from __future__ import annotations

from importlib.util import find_spec

from refluence.errors import InputError


def need_diffusers(what: str) -> None:
    """`InputError` where diffusers is not installed. Nothing is imported."""
    if find_spec("diffusers") is None:
        raise InputError(f"{what} needs diffusers, which is not installed: pip install refluence[generate]")
