"""What readers of recorded data sets share: motion, units and images of episodes.

The module ``hdf5`` reads arrays of HDF5 files that others wrote; it needs h5py.
"""

from .action_meaning import describe_actions
from .guessed_units import unit_keys
from .images import cameras_of_one_size, common_size, decode_image, resized
from .motion import MotionKeys, is_gripper, joints_and_actions, kept_rows

__all__ = [
    "MotionKeys",
    "cameras_of_one_size",
    "common_size",
    "decode_image",
    "describe_actions",
    "is_gripper",
    "joints_and_actions",
    "kept_rows",
    "resized",
    "unit_keys",
]
