"""The version of rgb2act."""

__version__ = "0.1.0"
