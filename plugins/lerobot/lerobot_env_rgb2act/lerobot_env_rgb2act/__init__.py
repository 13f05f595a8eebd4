"""Environments of rgb2act for LeRobot. Importing this package registers the type ``rgb2act``."""

import gymnasium

from .configuration_rgb2act import GYM_ID, Rgb2ActEnv

__all__ = ["Rgb2ActEnv"]

if GYM_ID not in gymnasium.registry:
    gymnasium.register(GYM_ID, entry_point="lerobot_env_rgb2act.environment:LeRobotEnv")
