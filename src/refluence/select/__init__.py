"""Real set to a real subset; one file a method."""

from refluence.select.selection import Selection

__all__ = ["Selection"]
