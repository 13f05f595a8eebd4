"""Simulators in worker processes, evaluation seeds, batches of episodes and their metrics."""
