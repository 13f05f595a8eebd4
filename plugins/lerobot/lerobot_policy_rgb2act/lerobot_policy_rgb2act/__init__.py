"""Policies of rgb2act for LeRobot. Importing this package registers the type ``rgb2act``."""

from .configuration_rgb2act import Rgb2ActConfig

__all__ = ["Rgb2ActConfig"]
