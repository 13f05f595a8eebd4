"""RoboTwin's protocol from the command line, with a stand-in worker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
import rgb2act_process

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data/beat_block_hammer"
SPEC = """
name = "hammer"
[environment]
use = "robotwin"
task = "beat_block_hammer"
data = "{data}"
python = "{python}"
shader = "default"
planner = "mplib"
fps = "numpy"
overshoot = "clip"
step_seconds = 20
[[backbone]]
use = "patchstats"
[teacher]
use = "cloudstats"
[align]
fusion = {{ use = "weighted" }}
[policy]
condition = "single_backbone"
head = {{ use = "diffusion", denoiser = "mlp", train_steps = 4, sample_steps = 2 }}
horizon = 4
n_action_steps = 3
steps = 3
batch_size = 4
warmup = 1
holdout = 0.0
[act]
episodes = 5
parallel_episodes = 2
videos = 2
{act}
[compute]
device = "cpu"
threads = 1
simulator_workers = 2
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "beat_block_hammer"
    shutil.copytree(DATA, folder)
    recorded = folder / "demo_cpu/data/episode0.hdf5"
    shutil.copy(recorded, recorded.with_name("episode1.hdf5"))
    return folder


def run(
    root: Path, data: Path, python: Path, act: str = "", spec: str = SPEC, **env: str
) -> dict[str, Any]:
    """Run all stages and return the results of the act stage."""
    place = root / "hammer.toml"
    place.write_text(spec.format(data=data, python=python, act=act))
    done = rgb2act_process.run(["run", place, "--root", root, "--json"], env, timeout=240)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)["results"]["act"]
    stages = json.loads((root / "hammer/1/run.json").read_text())["stages"]
    folder = next(root / s["path"] for s in stages if s["stage"] == "act")
    return answer | {"folder": folder, "stderr": done.stderr}


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, data: Path, standin: Path
) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("evaluated"), data, standin)


def comparable(results: dict[str, Any]) -> dict[str, Any]:
    return {name: results[name] for name in results if name not in ("folder", "stderr")}


def root_of(results: dict[str, Any]) -> Path:
    """Return the results of a run."""
    folder: Path = results["folder"]
    return folder.parents[2]


def test_seeds_are_screened_and_facts_are_stored(evaluated: dict[str, Any]) -> None:
    accepted = [100_000, 100_001, 100_003, 100_005, 100_006]
    rejected = [
        {"seed": 100_002, "reason": "UnStableError: block moves"},
        {"seed": 100_004, "reason": "the expert failed"},
    ]
    assert evaluated["seeds"] == {
        "source": "screened",
        "accepted": accepted,
        "rejected": rejected,
    }
    episodes = evaluated["episodes"]
    assert [(e["seed"], e["steps"]) for e in episodes] == [(seed, 9) for seed in accepted]
    assert episodes[2]["instruction"] == "hammer block 100003"
    assert all(e["largest_hand_step"] > 0 for e in episodes)
    simulator = evaluated["simulator"]
    assert (simulator["commit"], simulator["shader"], simulator["planner"]) == (
        "13c3c47",
        "default",
        "mplib",
    )
    assert (simulator["fallbacks"], simulator["task_config"]) == (["planner", "fps"], "demo_clean")
    kept = json.loads((evaluated["folder"] / "seeds.json").read_text())
    assert kept["rejected"] == rejected
    assert kept["accepted"][0] == {"seed": 100_000, "info": {"{A}": "block 100000"}}


def test_results_and_videos_have_robotwins_format(evaluated: dict[str, Any]) -> None:
    place = evaluated["folder"] / "eval_result/beat_block_hammer/RGB2ACT/demo_clean/hammer"
    (time,) = place.iterdir()
    lines = (time / "_result.txt").read_text().split("\n\n")
    assert lines == [f"Timestamp: {time.name}", "Instruction Type: unseen", "0.0"]
    assert sorted(p.name for p in time.glob("*.mp4")) == ["episode0.mp4", "episode1.mp4"]
    with av.open(time / "episode0.mp4") as film:
        (stream,) = film.streams.video
        assert (stream.width, stream.height, int(stream.average_rate)) == (320, 240, 10)
        assert sum(1 for _ in film.decode(stream)) == 10


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "spoil",
    ["step:die:5", *(pytest.param(s, marks=SLOW) for s in ("begin:garbage:1", "screen:die:1"))],
)
def test_a_lost_simulator_changes_no_result(
    tmp_path: Path, data: Path, standin: Path, evaluated: dict[str, Any], spoil: str
) -> None:
    mark = tmp_path / "spoiled"
    shutil.copytree(root_of(evaluated), tmp_path, dirs_exist_ok=True)
    for stage in ("act", "seeds"):
        shutil.rmtree(tmp_path / "store" / stage)
    results = run(tmp_path, data, standin, RGB2ACT_STANDIN=f"{spoil}:{mark}")
    assert mark.exists()
    assert comparable(results) == comparable(evaluated)
    if not spoil.startswith("screen"):
        losses = json.loads((results["folder"] / "lost.json").read_text())["lost"]
        assert losses  # both workers may die before either has created the file
        for loss in losses:
            assert f"its last output:\nabout to {spoil.split(':')[1]}" in loss["why"]
            assert f"restarting the episode with seed {loss['seed']}" in results["stderr"]


@SLOW
def test_a_lower_limit_of_steps_is_not_robotwins_protocol(
    tmp_path: Path, data: Path, standin: Path, evaluated: dict[str, Any]
) -> None:
    shutil.copytree(root_of(evaluated), tmp_path, dirs_exist_ok=True)
    results = run(tmp_path, data, standin, "max_steps = 5")
    assert results["max_steps"] == 5
    assert {(e["success"], e["steps"]) for e in results["episodes"]} == {(False, 5)}
    written = {p.name: (p / "eval_result").exists() for p in tmp_path.glob("store/act/*")}
    assert len(written) == 2
    assert [name for name in written if written[name]] == [evaluated["folder"].name]


@SLOW
def test_another_policy_gets_the_same_scenes(
    tmp_path: Path, data: Path, standin: Path, evaluated: dict[str, Any]
) -> None:
    shutil.copytree(root_of(evaluated), tmp_path, dirs_exist_ok=True)
    # screening would kill a worker, so this checks that none screens again
    never = f"screen:die:0:{tmp_path / 'never'}"
    again = run(tmp_path, data, standin, "candidates = 2", RGB2ACT_STANDIN=never)
    assert again["seeds"] == evaluated["seeds"]
    seeds = evaluated["folder"] / "seeds.json"
    fixed = run(tmp_path, data, standin, f'seeds = "{seeds}"')
    assert fixed["seeds"]["source"] == "file"
    assert fixed["episodes"] == evaluated["episodes"]
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("environment", "stride", "steps"),
    [
        ("", 1, 4),
        ("", 2, 2),
        ("stride = 2", 1, 3),  # frames 0, 2 and 3, whose actions lead to 2, 3 and 4
        ("stride = 2", 2, 2),
        ('duplicates = "drop"', 1, 2),  # frames 0 and 3: all are close to 0, and 3 is the last
    ],
)
def test_replay_of_recorded_actions_succeeds(
    tmp_path: Path, data: Path, standin: Path, environment: str, stride: int, steps: int
) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data/demo_cpu/seed.txt").write_text("3 8 ")
    spec = SPEC.replace("episodes = 5", f"replay = true\nreplay_stride = {stride}")
    spec = spec.replace("[[backbone]]", f"{environment}\n[[backbone]]")
    results = run(tmp_path, tmp_path / "data", standin, spec=spec)
    rows = [(e["seed"], e["success"], e["steps"]) for e in results["episodes"]]
    assert rows == [(3, True, steps), (8, True, steps)]
    assert results["replay"] == {"stride": stride, "joint_error": 0.0}
    (text,) = results["folder"].glob("eval_result/*/*/*/*/*/_result.txt")
    assert text.read_text().endswith("\n1.0")
