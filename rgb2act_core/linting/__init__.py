"""Checks of recorded data: find faults of a data set before hours are spent on it.

The rules judge episodes of any environment through ``interfaces.Episode`` and
``EnvironmentInfo``. They assume radians, and fractions for grippers, unless the environment
declares other units. An environment adds rules of its own with ``interfaces.DataChecks``.
"""

from .lint import check_episodes, invalid, merged
from .recordings import Sample
from .rules import NAMES

__all__ = ["NAMES", "Sample", "check_episodes", "invalid", "merged"]
