"""Refluence: find which training instances matter, and make training small with it."""

__version__ = "0.1.0"
