"""Memory that runs out in a stage is one line that names the stage and the keys to lower."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline.stage_runner import finish
from rgb2act_core.pipeline.timings import Timer
from rgb2act_core.store.stage_folder import StageFolder
from rgb2act_core.store.stage_id import Stage, StageId

SMOKE = Path(__file__).parents[2] / "examples/smoke.toml"
# checks first, which imports all that the stage needs, then allows few bytes more than now
LIMITED = """
import resource, sys
import psutil
from rgb2act_core import cli
command, spec, root = sys.argv[1:]
assert cli.main(["check", spec, "--root", root, "--no-time"]) == 0
limit = psutil.Process().memory_info().vms + (400 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(cli.main([command, spec, "--root", root]))
"""


@pytest.mark.slow
def test_a_failed_allocation_of_a_stage_is_one_line(smoke_root: Path) -> None:
    spec, data = smoke_root / "large.toml", tomllib.loads(SMOKE.read_text())
    data["policy"]["batch_size"] = 1_000_000
    spec.write_text(tomli_w.dumps(data))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "train", spec, smoke_root], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "train: out of memory (" in last
    assert "lower policy.batch_size, policy.horizon or" in last


def _of_the_processor() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def _of_the_graphics_card() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")


@pytest.mark.parametrize("allocate", [_of_the_processor, _of_the_graphics_card])
@pytest.mark.parametrize("stage", Stage)
def test_every_stage_names_what_to_lower(
    tmp_path: Path, stage: Stage, allocate: Callable[[], None]
) -> None:
    def work(folder: Path) -> dict[str, Any]:
        allocate()
        return {}

    target = StageFolder.of(tmp_path, {})
    with pytest.raises(UserError, match=rf"{stage}: out of memory \(.*\); lower \w+\.\w+"):
        finish(StageId(stage), target, Timer(), work)
