"""Real set to a real subset; one file a method."""
