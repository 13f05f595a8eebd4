"""What ``rgb2act deploy-robotwin`` writes: these files run in RoboTwin's interpreter.

Python 3.10, the standard library, numpy and msgpack; beside them lie the thin client's files, so
that they import each other by their bare names.
"""
