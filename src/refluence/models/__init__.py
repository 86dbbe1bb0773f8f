"""Networks."""

from refluence.models.build import ModelSpec, build, width_beside
from refluence.models.library import is_library

__all__ = ["ModelSpec", "build", "is_library", "width_beside"]
