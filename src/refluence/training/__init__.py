"""How networks are trained and called: one loop, its losses, optimisers and schedules, and prediction in chunks."""
