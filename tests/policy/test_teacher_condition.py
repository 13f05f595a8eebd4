"""``condition = "teacher"``: the policy observes the teacher's embedding of the true cloud."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.preflight import check_compatibility
from rgb2act_core.pipeline.status import check
from rgb2act_core.pipeline.verify import verify
from rgb2act_core.policy.planner import load_planner
from rgb2act_core.serving.server import load_server
from rgb2act_core.spec.reader import read_spec

SpecFile = Callable[..., Path]


@pytest.fixture(scope="module")
def finished(spec_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run on the tabletop, with trials during training."""
    root = tmp_path_factory.mktemp("teacher")
    spec = spec_in(
        root,
        "smoke",
        collect={"scenes": 0},
        policy={
            "condition": "teacher",
            "n_obs_steps": 2,
            "closed_loop": {"every": 60, "episodes": 2},
        },
        act={"baselines": ["proprio_only"], "videos": 0},
    )
    return chain.run_pipeline(read_spec(spec), root)


def stages(folder: Path) -> list[str]:
    record = json.loads((folder / "run.json").read_text())
    return [stage["stage"] for stage in record["stages"]]


def policy_of(folder: Path) -> Path:
    record = json.loads((folder / "run.json").read_text())
    paths = [stage["path"] for stage in record["stages"] if stage["stage"] == "train"]
    return Path(folder.parents[1] / paths[0])


@pytest.mark.slow
def test_it_needs_embeddings_but_neither_backbones_nor_an_aligner(finished: Path) -> None:
    assert (finished.parents[1] / "store" / "embeddings").exists()
    assert not (finished.parents[1] / "store" / "features").exists()
    assert not (finished.parents[1] / "store" / "align").exists()
    policy = json.loads((policy_of(finished) / "policy.json").read_text())
    assert len(policy["config"]["parts"]) == 1


@pytest.mark.slow
def test_what_it_observes_online_equals_the_stored_embeddings(finished: Path) -> None:
    found = verify(finished)
    assert found.problems == ()
    assert found.frames > 0
    assert 0 <= found.feature_error < 0.01  # the tolerance of verify


@pytest.mark.slow
def test_it_cannot_act_where_there_are_only_images(finished: Path) -> None:
    with pytest.raises(UserError, match="true state or point cloud, which observe"):
        load_planner(policy_of(finished), device="cpu")
    with pytest.raises(UserError, match="true state or point cloud, which clients do not send"):
        load_server(finished)


@pytest.mark.slow
def test_another_teacher_gives_another_policy(
    finished: Path, spec_in: Callable[..., Path], tmp_path: Path
) -> None:
    policies = []
    for teacher in ({"use": "cloudstats"}, {"use": "cloudstats", "width": 0.1}):
        policy = {"condition": "teacher", "steps": 5}
        changes = {"collect": {"scenes": 0}, "teacher": teacher, "policy": policy}
        spec = read_spec(spec_in(tmp_path, "smoke", name="other", **changes))
        policies.append(policy_of(chain.run_pipeline(spec, finished.parents[1], "train")))
    assert policies[0] != policies[1]


@pytest.mark.usefixtures("puppet")
def test_an_environment_without_cloud_observations_is_refused(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    for changes, key in (
        ({"policy": {"condition": "teacher"}}, "policy.condition"),
        ({"act": {"baselines": ["teacher"]}}, "act.baselines"),
    ):
        with pytest.raises(UserError, match=f"{key}: 'teacher' needs point clouds while the"):
            check(read_spec(spec_file(**changes)), tmp_path)


@pytest.mark.usefixtures("puppet")
def test_check_names_a_recorded_episode_without_clouds(spec_file: SpecFile, tmp_path: Path) -> None:
    environment = {"use": "puppet", "recorded": 3, "fault": "no clouds"}
    spec = read_spec(spec_file(environment=environment, collect={"scenes": 0}))
    with pytest.raises(UserError, match=r"recorded_\d: has no point clouds, .*\d of 3 episodes"):
        check(spec, tmp_path)
    proprio = spec_file(
        environment=environment, collect={"scenes": 0}, policy={"condition": "proprio_only"}
    )
    check(read_spec(proprio), tmp_path)  # does not raise


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("condition", "baselines", "change", "message"),
    [
        ("aligned", [], {"clouds": False}, "not all episodes and scenes have point clouds"),
        ("proprio_only", ["teacher"], {"clouds": False}, "not all episodes and scenes have"),
        ("teacher", [], {"cloud_problem": "they differ"}, "policy.condition: 'teacher' .* differ;"),
        ("oracle", [], {"clouds": False, "cloud_problem": "they differ"}, ""),
    ],
)
def test_clouds_that_are_missing_or_differ_while_acting_are_refused_at_once(
    spec_file: SpecFile, condition: str, baselines: list[str], change: dict[str, Any], message: str
) -> None:
    spec = read_spec(spec_file(policy={"condition": condition}, act={"baselines": baselines}))
    info = attrs.evolve(spec.environments[0].build().info, **change)
    if not message:
        check_compatibility(spec, info)
        return
    with pytest.raises(UserError, match=message):
        check_compatibility(spec, info)
