"""Real set to a real subset; one file a method."""

from refluence.select.base import Selection

__all__ = ["Selection"]
