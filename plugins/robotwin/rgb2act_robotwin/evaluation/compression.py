"""How the images of a served policy's observations are compressed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rgb2act_core import UserError, open_run

from ..config import Colours, Robotwin
from ..environment import RobotwinEnvironment


def compression_of(run_folder: Path) -> Colours:
    """Return the compression of a run's recorded images: ``bgr``, ``rgb`` or ``none``.

    If the recordings are not on this machine, it is that of the spec, or ``bgr``. Runs of other
    environments have ``none``.
    """
    config = open_run(run_folder).spec.environments[0].config
    if not isinstance(config, Robotwin):
        return "none"
    with contextlib.suppress(UserError):
        return RobotwinEnvironment(config).live_jpeg
    return config.live_jpeg
