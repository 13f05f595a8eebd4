"""The training loop, its random numbers, checkpoints and metrics."""
