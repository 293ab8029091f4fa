"""Training: the loop, its checkpoints, its schedule."""
