"""What scenes depend on, and states and clouds that agree with those of recorded episodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rgb2act_robotwin import Robotwin, build
from rgb2act_robotwin.simulator.dataset_recorder import record

from rgb2act_core import UserError

pytestmark = pytest.mark.slow

TASK = "handover_block"
CPU = {"shader": "default", "planner": "mplib", "fps": "numpy"}
Config = Callable[..., Robotwin]


@pytest.fixture(scope="module")
def recorded(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with three episodes, which tests must not change."""
    folder = tmp_path_factory.mktemp("recorded")
    record(config(), folder, 3)
    return folder


def inputs_of(config: Robotwin) -> Any:
    return json.loads(json.dumps(build(config).scene_inputs()))


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 2},
        {"duplicates": "drop"},
        {"limit": 1},
        {"skip": ("demo_clean-episode_0000001",)},
        {"instructions": "unseen"},
        {"step_seconds": 7.0},
    ],
    ids=str,
)
def test_scenes_do_not_depend_on_the_choice_of_frames(
    config: Config, recorded: Path, change: dict[str, Any]
) -> None:
    first = inputs_of(config(data=recorded))
    assert inputs_of(config(data=recorded, **change)) == first


def test_scenes_depend_on_the_settings_of_the_simulator(config: Config) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"cameras": ("front_camera",)},
        {"clouds": "none"},
        {"clouds": "depth"},
        {"clouds": "depth", "crop_low": (-0.5, -0.3, 0.75)},
        {"clouds": "depth", "cloud_cameras": ("front_camera",)},
        {"task_config": "demo_randomized"},
        {"duplicates": "mark"},  # one more state
    ]
    keys = [inputs_of(config(**change)) for change in changes]
    assert all(a != b for i, a in enumerate(keys) for b in keys[:i])


def test_scenes_depend_on_the_recorded_joints(config: Config, tmp_path: Path) -> None:
    folder = record(config(), tmp_path, 2)
    first = inputs_of(config(data=tmp_path))
    with h5py.File(folder / "data/episode1.hdf5", "a") as file:
        file["joint_action/vector"][-1] += 0.1
    assert inputs_of(config(data=tmp_path)) != first


def test_scenes_of_another_image_size_are_refused(config: Config, recorded: Path) -> None:
    message = r"'L515' have images of \(180, 320\) pixels, the recorded episodes \(240, 320\)"
    with pytest.raises(UserError, match=message):
        build(config(data=recorded, camera="L515")).scene_inputs()


def rename_actors(folder: Path, number: int, names: list[str]) -> None:
    with h5py.File(folder / f"data/episode{number}.hdf5", "a") as file:
        file["rgb2act"].attrs["names"] = names


def test_true_states_of_other_actors_are_refused(config: Config, tmp_path: Path) -> None:
    """Between recordings, in scenes, in the live simulator, and when recording goes on."""
    folder = record(config(), tmp_path, 2)
    rename_actors(folder, 1, ["box", "hammer"])
    message = "episode1.hdf5: .* it has hammer in addition and lacks target_box"
    with pytest.raises(UserError, match=message):
        build(config(data=tmp_path)).recorded()
    rename_actors(folder, 0, ["box", "hammer"])
    environment = build(config(data=tmp_path))
    assert len(environment.recorded()) == 2
    message = "the simulator: .* it has target_box in addition and lacks hammer"
    with pytest.raises(UserError, match=message):
        environment.make()
    with pytest.raises(UserError, match=message):
        environment.scene(0)
    environment._recorder.close()
    recording = json.loads((folder / "recording.json").read_text())
    recording["simulator"]["actors"] = ["box", "hammer"]
    (folder / "recording.json").write_text(json.dumps(recording))
    with pytest.raises(UserError, match="was recorded with actors"):
        record(config(), tmp_path, 3)


def test_actors_in_another_order_are_refused(config: Config, tmp_path: Path) -> None:
    folder = record(config(), tmp_path, 2)
    rename_actors(folder, 1, ["target_box", "box"])
    with pytest.raises(UserError, match="it has the order target_box, box"):
        build(config(data=tmp_path)).recorded()


@pytest.mark.parametrize("source", ["depth", "auto"])
def test_clouds_while_acting_equal_recorded_ones_from_depth(
    config: Config, tmp_path: Path, source: str
) -> None:
    """The double's depth is constant. With ``auto`` the recorded files decide."""
    spec: dict[str, Any] = {
        "cameras": ("left_camera",),
        "cloud_cameras": ("head_camera",),
        "crop_low": (0.0, 0.0, 1.0),
        "crop_high": (1.0, 1.0, 2.0),
    }
    record(config(clouds="depth", **spec), tmp_path, 1)
    environment = build(config(data=tmp_path, clouds=source, **spec))
    assert environment.info.cloud_problem == ""
    (episode,) = environment.recorded()
    env = environment.make()
    env.observe_clouds = True
    observation, first = env.reset(seed=1)
    _, *_, later = env.step(np.zeros(14, np.float32))
    env.close()
    scene = environment.scene(1)
    environment._recorder.close()
    assert episode.clouds is not None
    assert scene.clouds is not None
    assert observation["rgb"].shape[0] == 1  # the camera of the clouds is not the policy's
    for found in (first["cloud"], later["cloud"], scene.clouds[0]):
        np.testing.assert_array_equal(found.xyz, episode.clouds[0].xyz)


def test_clouds_of_mixed_sources_are_a_problem_for_acting(config: Config, tmp_path: Path) -> None:
    record(config(), tmp_path, 1)
    (tmp_path / "depth").mkdir()
    record(config(clouds="depth"), tmp_path / "depth", 1)
    info = build(config(data=tmp_path)).info
    assert "different sources (depth, stored)" in info.cloud_problem
    assert info.clouds


def test_depth_is_only_rendered_on_request(ask: Any) -> None:
    ask.start(**CPU, cameras=["left_camera"], depth_cameras=["head_camera"])
    without = ask("begin", seed=1, instruction_seed=1)["observation"]
    assert (list(without["rgb"]), without["depth"]) == (["left_camera"], None)
    observed = ask("begin", seed=1, instruction_seed=1, depth=True)["observation"]
    assert observed["depth"].keys() == {"left_camera", "head_camera"}
    later = ask("step", action=np.zeros(14), observe=True)["observation"]
    assert later["depth"] is None


def test_the_environment_states_whether_there_are_clouds(config: Config, tmp_path: Path) -> None:
    record(config(clouds="none"), tmp_path, 1)
    configs = [config(clouds="none"), config(), config(data=tmp_path), config(clouds="depth")]
    assert [build(each).info.clouds for each in configs] == [False, True, False, True]
