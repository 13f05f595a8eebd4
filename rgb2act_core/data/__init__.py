"""Episodes and data sets: reading, recording, splits, windows and action layouts."""
