"""Seeds, devices, checkpoints, progress: what only a run on a machine needs."""
