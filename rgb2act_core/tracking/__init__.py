"""Send the curves and results of a run to its loggers."""
