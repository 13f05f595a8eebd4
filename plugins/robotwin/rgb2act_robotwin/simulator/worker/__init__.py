"""The worker, which runs in RoboTwin's interpreter: Python 3.10, the standard library, numpy.

RoboTwin's interpreter gets this folder on its path and the file ``rgb2act_wire.py``, and nothing
else of rgb2act. ``rgb2act_robotwin_worker`` documents the requests.
"""
