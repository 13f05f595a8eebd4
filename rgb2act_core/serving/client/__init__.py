"""Files that run in another interpreter too: Python 3.10, the standard library, numpy, msgpack.

Simulators pin versions that exclude rgb2act's. What speaks to them puts this folder, and nothing
else of rgb2act, on their path; so its modules import each other by their bare names.
"""
