"""LeRobot itself opens an exported data set and decodes the same frames.

Runs where ``LEROBOT_PYTHON`` names an interpreter with LeRobot 0.4.4 or newer.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rgb2act_lerobot.export.dataset_writer import ExportOptions, export

from rgb2act_core import open_demonstrations

PYTHON = os.environ.get("LEROBOT_PYTHON", "")
SAMPLE = Path(__file__).parents[1] / "data/v30_chunked"
CODE = """
import json, sys
from lerobot.datasets import LeRobotDataset

data = LeRobotDataset("local/check", root=sys.argv[1], video_backend="pyav")
rows = [data[i] for i in range(len(data))]
mean = [(r["observation.images.top"].mean((1, 2)) * 255).tolist() for r in rows]
tasks = [row["task"] for row in rows]
print(json.dumps({"tasks": tasks, "mean": mean, "action": [r["action"].tolist() for r in rows]}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="LEROBOT_PYTHON names no interpreter with LeRobot")
def test_lerobot_reads_the_same_values(tmp_path: Path, opened: Any) -> None:
    export(open_demonstrations(SAMPLE), tmp_path / "set", ExportOptions())
    output = subprocess.check_output(
        [PYTHON, "-c", CODE, str(tmp_path / "set")],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        text=True,
    )
    found = json.loads(output.splitlines()[-1])
    episodes = opened(tmp_path / "set").recorded()
    actions = np.concatenate([episode.actions for episode in episodes])
    assert np.array_equal(np.array(found["action"], np.float32), actions)
    assert found["tasks"] == [e.instruction for e in episodes for _ in range(len(e.actions))]
    means = np.concatenate([episode.rgb[:][:, 0].mean((1, 2)) for episode in episodes])
    # float32 means of 12,288 pixels, and other builds of the colour conversion
    np.testing.assert_allclose(found["mean"], means, atol=1.0)
