"""Networks."""

from refluence.models.build import ModelSpec, build

__all__ = ["ModelSpec", "build"]
