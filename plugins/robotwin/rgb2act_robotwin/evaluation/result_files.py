"""Result files in the format and folders of RoboTwin's own evaluation."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Robotwin
from ..tasks import step_limit

POLICY = "RGB2ACT"
TIME = "%Y-%m-%d %H:%M:%S"


def publish(config: Robotwin, folder: Path, name: str, results: Mapping[str, Any]) -> None:
    """Write ``eval_result/<task>/RGB2ACT/<config>/<run>/<time>/``: ``_result.txt`` and videos.

    Videos are numbered by episode, as in RoboTwin. With fewer steps than RoboTwin's own limit,
    nothing is written, because its protocol was not followed.
    """
    shutil.rmtree(folder / "eval_result", ignore_errors=True)  # of an interrupted attempt
    if results["max_steps"] < step_limit(config.task):
        return
    now = time.strftime(TIME)
    target = folder / "eval_result" / config.task / POLICY / config.task_config / name / now
    target.mkdir(parents=True, exist_ok=True)
    rate = results["successes"] / len(results["episodes"])
    target.joinpath("_result.txt").write_text(
        f"Timestamp: {now}\n\nInstruction Type: {config.eval_instructions}\n\n{rate}",
        encoding="utf-8",
    )
    for i, episode in enumerate(results["episodes"]):
        if episode["video"]:
            shutil.copyfile(folder / episode["video"], target / f"episode{i}.mp4")
