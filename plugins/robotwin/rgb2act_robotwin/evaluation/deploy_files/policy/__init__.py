"""Templates for the folder ``policy/NAME``."""
