"""LeRobot's default processors, which normalise nothing for this policy."""

from __future__ import annotations

from typing import Any

from lerobot.processor import make_default_pre_post_processors

from .configuration_rgb2act import Rgb2ActConfig


def make_rgb2act_pre_post_processors(
    config: Rgb2ActConfig, dataset_stats: Any = None, **_: Any
) -> tuple[Any, Any]:
    """Return the pre- and post-processor that LeRobot expects by this name."""
    return make_default_pre_post_processors(config, dataset_stats)
