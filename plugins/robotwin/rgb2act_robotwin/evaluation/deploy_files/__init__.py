"""Templates of the files that ``rgb2act deploy-robotwin`` writes.

The files run in RoboTwin's interpreter and need Python 3.10, numpy, msgpack and Pillow. The two
files of ``rgb2act-client`` are written next to them, so they import each other by their bare names.
"""
