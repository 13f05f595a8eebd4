"""Recorded episodes of RoboTwin, read from the files of its collector and its converter."""
