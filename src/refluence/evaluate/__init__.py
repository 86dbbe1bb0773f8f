"""Named protocols: what a network trained on a small set is worth."""
