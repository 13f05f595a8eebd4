"""Templates for the folder ``XPolicyLab/policy/NAME``."""
