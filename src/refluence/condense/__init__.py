"""Real set to a few learned images; one file a method, opening with its equation."""
