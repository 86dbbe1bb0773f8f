"""Sources of real data, and the distilled set on disk."""
