"""The chain is killed, interrupted, starved of disk and broken by a plugin: then it goes on."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages import collect

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
SpecFile = Callable[..., Path]

# place and call that is tripped, stage that its error names, what is left to go on from
PLACES = {
    "collect": ("demonstrate", 2, "while recording the demonstration of seed 100002"),
    "scenes": ("scene", 1, "while recording the scenes of seeds 500000 to 500002"),
    "extract": ("encode", 4, "in extract puppet, episode episode_0100001"),
    "teacher": ("embed", 4, "in extract puppet, episode episode_0100001"),
    "align": ("fuse", 6, "in stage align"),
    "train": ("learn", 6, "in stage train"),
    "act": ("step", 30, "in the episode of seed 2, after 4 steps"),
}


def trip(stage: str, kind: str) -> str:
    place, call, _ = PLACES[stage]
    return f"{place}:{kind}:{call}"


def outcome(root: Path, name: str = "puppet") -> dict[str, Any]:
    """Return what a run came to: bytes of the weights, and each episode it acted in."""
    record = json.loads((root / name / "run.json").read_text())
    paths = {stage["stage"]: root / stage["path"] for stage in record["stages"]}
    measures = json.loads((paths["act"] / "stage.json").read_text())["results"]
    assert not [p for stage in ("align", "train", "act") for p in paths[stage].rglob(".*")]
    return {
        "align": (paths["align"] / "aligner.safetensors").read_bytes(),
        "align curve": (paths["align"] / "metrics.jsonl").read_bytes(),
        "train": (paths["train"] / "policy.safetensors").read_bytes(),
        "train curve": (paths["train"] / "metrics.jsonl").read_bytes(),
        "act": measures["episodes"],
        "names": sorted(p.name for p in paths["collect"].iterdir()),
    }


def partials(root: Path) -> list[Path]:
    """Return what unfinished writers left behind."""
    return [p for p in (root / "store").rglob("*") if ".partial" in p.name]


@pytest.mark.slow
def test_run_killed_in_each_stage_ends_in_the_same_bits(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, puppet_done: Path
) -> None:
    for stage in PLACES:  # one after another on one store; ``cli`` waits for orphans to go
        kind = "orphan" if stage in ("collect", "act") else "sigkill"
        done = cli("run", spec_file(), "--root", tmp_path, RGB2ACT_PUPPET=trip(stage, kind))
        assert done.returncode == -signal.SIGKILL, f"{stage}: {done.stderr}"
    done = cli("run", spec_file(), "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "act: runs (resumes an interrupted run)" in done.stderr
    assert outcome(tmp_path) == outcome(puppet_done)
    assert partials(tmp_path) == []


@pytest.mark.slow
def test_interrupted_run_says_so_and_resumes(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, puppet_done: Path
) -> None:
    spec = spec_file()
    for stage in PLACES:
        done = cli("run", spec, "--root", tmp_path, RGB2ACT_PUPPET=trip(stage, "sigint"))
        assert done.returncode == 130, f"{stage}: {done.stderr}"
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1] == (
            f"interrupted; progress is saved, resume with: rgb2act run {spec} --root {tmp_path}"
        )
    done = cli("run", spec, "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path) == outcome(puppet_done)
    assert partials(tmp_path) == []


@pytest.mark.slow
def test_training_goes_on_from_its_checkpoint(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, puppet_done: Path
) -> None:
    for stage in ("align", "train"):
        for call in (5, 2):  # of the second process, that begins at step 5
            place = PLACES[stage][0]
            done = cli(
                "run", spec_file(), "--root", tmp_path, RGB2ACT_PUPPET=f"{place}:sigkill:{call}"
            )
            assert done.returncode == -signal.SIGKILL
        assert f"{stage}: resumes at step 5 of 12" in done.stderr
    done = cli("run", spec_file(), "--root", tmp_path)
    assert "train: resumes at step 7 of 12" in done.stderr
    assert outcome(tmp_path) == outcome(puppet_done)


EVERYTHING = {  # that a fusion which can be cut leaves room for
    "tokens": 3,
    "adapter": "wide",
    "context": {"layers": 1, "heads": 2, "position": "learned", "dropout": 0.2},
    "sample": "window",
    "window": 3,
    "stride": 2,
    "aggregate": "attention",
    "precision": "bfloat16",
    "micro_batch": 3,
    "ema": 0.9,
    "augment": {"token_dropout": 0.2, "noise": 0.1, "backbone_dropout": 0.2},
    "loss": {
        "negatives": "gradcache",
        "sigmoid": 0.1,
        "self_contrast": 0.1,
        "entropy": 0.1,
        "local": 0.1,
        "chamfer": 0.1,
        "learn_temperature": True,
    },
}


@pytest.mark.slow
def test_alignment_with_every_option_is_killed_and_ends_in_the_same_bits(
    cli: Cli, spec_file: SpecFile, tmp_path: Path
) -> None:
    backbones = [{"use": "puppet"}, {"use": "puppet", "patch": 2}]
    teacher = {"use": "cloudstats"}
    spec = spec_file(backbone=backbones, teacher=teacher, align=EVERYTHING)
    found = []
    for name in ("killed", "whole"):
        if name == "killed":
            trips = {"RGB2ACT_PUPPET": "fuse:sigkill:40"}
            done = cli("align", spec, "--root", tmp_path / name, **trips)
            assert done.returncode == -signal.SIGKILL, done.stderr
        done = cli("align", spec, "--root", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert ("align: resumes at step" in done.stderr) == (name == "killed")
        (path,) = (tmp_path / name).glob("store/align/*/aligner.safetensors")
        found.append(path.read_bytes())
    assert found[0] == found[1]


SIZES: dict[str, dict[str, Any]] = {
    "mlp": {"width": 16, "blocks": 1},
    "unet": {"down_dims": [16, 32]},
    "transformer": {"width": 16, "layers": 1, "heads": 2},
}
HEADS = {
    f"{use}-{net}": {"use": use, "denoiser": net, net: sizes}
    for use in ("diffusion", "flow")
    for net, sizes in SIZES.items()
}


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_training_of_every_head_goes_on_from_its_checkpoint(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, puppet_done: Path, head: str
) -> None:
    policy = {"head": HEADS[head], "condition": "end_to_end"}  # its fusion is trained with the head
    spec, weights = spec_file(policy=policy), []
    for name in ("killed", "whole"):
        root = shutil.copytree(puppet_done, tmp_path / name)
        if name == "killed":
            trips = {"RGB2ACT_PUPPET": "fuse:sigkill:5"}
            done = cli("train", spec, "--root", root, **trips)
            assert done.returncode == -signal.SIGKILL, done.stderr
        done = cli("train", spec, "--root", root)
        assert done.returncode == 0, done.stderr
        assert ("resumes at step" in done.stderr) is (name == "killed")
        record = json.loads((root / "puppet" / "run.json").read_text())
        (path,) = [stage["path"] for stage in record["stages"] if stage["stage"] == "train"]
        weights.append((root / path / "policy.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_smoke_run_killed_from_outside_ends_in_the_same_bits(
    puppet_site: Path, cli: Cli, spec_file: SpecFile, tmp_path: Path, smoke_done: Path
) -> None:
    spec = spec_file("smoke", compute={"checkpoint_seconds": 0.0})
    for sign in (
        "episodes/*/.*.partial-*",
        "features/*/.*.partial-*",
        "align/*.partial/checkpoint.safetensors",
        "policy/*.partial/checkpoint.safetensors",
        "act/*.partial/videos",
    ):
        kill_when(spec, tmp_path, lambda sign=sign: any((tmp_path / "store").glob(sign)))
    done = cli("run", spec, "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path, "smoke") == outcome(smoke_done, "smoke")
    assert partials(tmp_path) == []


def kill_when(spec: Path, root: Path, seen: Callable[[], bool]) -> None:
    """Start a run and kill it as soon as something is seen."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rgb2act_core", "run", str(spec), "--root", str(root)],
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    while process.poll() is None and not seen():
        pass
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_plugin_that_raises_is_named_and_the_next_run_goes_on(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, puppet_done: Path
) -> None:
    for stage, (_, _, words) in PLACES.items():
        done = cli("run", spec_file(), "--root", tmp_path, RGB2ACT_PUPPET=trip(stage, "raise"))
        assert done.returncode == 1
        assert "the puppet's strings are cut" in done.stderr, stage
        assert words in done.stderr, stage
    done = cli("run", spec_file(), "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(tmp_path) == outcome(puppet_done)
    assert partials(tmp_path) == []


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("stage", ["collect", "act"])
def test_worker_that_dies_is_told(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    more = (
        spec_file(collect={"episodes": 6})
        if stage == "collect"
        else spec_file(act={"parallel_episodes": 1})
    )
    monkeypatch.setenv("RGB2ACT_PUPPET", trip(stage, "die").rpartition(":")[0] + ":1")
    with pytest.raises(UserError, match=rf"{stage}: .*a worker process .* run again"):
        chain.run_pipeline(read_spec(more), puppet_root)
    assert partials(puppet_root) in ([], list(puppet_root.glob("store/act/*.partial*")))


@pytest.mark.usefixtures("puppet")
def test_what_a_killed_runs_worker_leaves_is_swept_if_it_ends_late(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = puppet_root.glob("store/episodes/puppet-*/")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as orphan:
        name = f".episode_0100000.partial-{socket.gethostname()}-{orphan.pid}-0123abcd"
        (folder / name).mkdir()
        record = collect._record_scenes

        def later(*args: Any) -> None:
            record(*args)
            assert partials(puppet_root) == [folder / name]  # while it lives
            orphan.kill()
            orphan.wait()

        monkeypatch.setattr(collect, "_record_scenes", later)
        chain.run_pipeline(read_spec(spec_file(collect={"episodes": 6})), puppet_root, "collect")
    assert partials(puppet_root) == []


@pytest.mark.slow
def test_interrupt_while_workers_start_prints_no_traceback(
    cli: Cli, spec_file: SpecFile, tmp_path: Path
) -> None:
    done = cli("collect", spec_file(), "--root", tmp_path, RGB2ACT_PUPPET="import:sigint:0")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(
    cli: Cli, spec_file: SpecFile, tmp_path: Path, puppet_done: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    spec = spec_file()
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: cli("run", spec, "--root", tmp_path), range(2)))
    assert [done.returncode for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert outcome(tmp_path) == outcome(puppet_done)
    assert partials(tmp_path) == []
    trained = sum("train: runs" in done.stderr for done in both)
    assert trained == 1


# --- disks ---


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a small disk, or gives the mounted one other options."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        how = ["-o", f"remount,{options}"] if mounted else ["-t", "tmpfs", "-o", options, "none"]
        done = subprocess.run(["mount", *how, place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"needs to mount a tmpfs: {done.stderr.strip()}")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", place], check=True)


def fill(root: Path, leave: int) -> Path:
    """Fill a disk up to some bytes."""
    ballast = root / "ballast"
    free = shutil.disk_usage(root).free - leave
    with ballast.open("wb") as file:
        for _ in range(free // 4096):
            file.write(bytes(4096))
    return ballast


@pytest.mark.slow
def test_full_disk_is_told_and_the_next_run_goes_on(
    cli: Cli,
    spec_file: SpecFile,
    disk: Callable[[str], Path],
    puppet_done: Path,
) -> None:
    root = disk("size=4m")
    spec = spec_file()
    for stage, leave in {
        "collect": 24 << 10,
        "extract": 24 << 10,
        "align": 24 << 10,
        "train": 24 << 10,
        "act": 12 << 10,
    }.items():
        ballast = fill(root, leave)
        done = cli(stage, spec, "--root", root)
        assert done.returncode == 2, f"{stage}: {done.stderr}"
        assert "Traceback" not in done.stderr
        said = done.stderr.splitlines()[-1]
        assert str(root) in said, stage
        assert "disk is full" in said, stage
        ballast.unlink()
        assert cli(stage, spec, "--root", root).returncode == 0
    assert outcome(root) == outcome(puppet_done)
    assert partials(root) == []


@pytest.mark.slow
def test_read_only_store_is_told(
    cli: Cli, spec_file: SpecFile, disk: Callable[[str], Path], puppet_done: Path
) -> None:
    root = disk("size=8m")
    shutil.copytree(puppet_done, root, dirs_exist_ok=True)
    disk("ro")
    for spec in (spec_file(), spec_file(seed=1)):
        done = cli("run", spec, "--root", root)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert "choose another folder" in done.stderr.splitlines()[-1]
    assert cli("verify", "puppet", "--root", root).returncode == 0
    assert cli("check", spec_file(), "--root", root).returncode == 0


# --- data ---


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("encode", "extract puppet: episode episode_0100000: {array} 'tokens' frame 3 holds NaN"),
        ("embed", "extract puppet: episode episode_0100000: {array} 'embeddings' frame 3 holds"),
    ],
)
def test_features_that_are_not_finite_are_told(
    spec_file: SpecFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    words: str,
) -> None:
    spec = read_spec(spec_file())
    shown = int(place == "encode")  # the probe picture comes first
    monkeypatch.setenv("RGB2ACT_PUPPET", f"{place}:nan:{_calls(place) + shown}")
    with pytest.raises(UserError) as caught:
        chain.run_pipeline(spec, tmp_path, "extract")
    first, _, last = words.partition(" {array} ")
    assert str(caught.value).startswith(first)
    assert f"array {last}" in str(caught.value)
    assert partials(tmp_path) == []
    chain.run_pipeline(spec, tmp_path, "extract")  # the fault was of one call


def _calls(place: str) -> int:
    import rgb2act_puppet

    return int(rgb2act_puppet._calls[place])


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("place", "stage", "words"),
    [
        ("fuse", "align", r"align: step 3: loss is nan, .*batch of .*(episode|scenes)_"),
        ("learn", "train", r"train: step 3: loss is nan, .*batch of episode_\d+"),
    ],
)
def test_loss_that_is_not_finite_stops_with_step_and_episodes(
    spec_file: SpecFile,
    puppet_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    stage: str,
    words: str,
) -> None:
    spec = read_spec(spec_file(seed=5))
    chain.run_pipeline(spec, puppet_root, "extract")
    import rgb2act_puppet  # noqa: F401 its counter is of this process

    monkeypatch.setenv("RGB2ACT_PUPPET", f"{place}:nan:{_calls(place) + 3}")
    with pytest.raises(UserError, match=words):
        chain.run_pipeline(spec, puppet_root, stage)


@pytest.mark.usefixtures("puppet")
def test_learning_rate_that_is_too_large_stops_the_training(
    spec_file: SpecFile, puppet_root: Path
) -> None:
    spec = read_spec(spec_file(policy={"lr": 1e30, "steps": 40, "grad_clip": 1e30}))
    with pytest.raises(UserError, match=r"train: step \d+: loss is .* lower the learning rate"):
        chain.run_pipeline(spec, puppet_root, "train")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("one name", "episode 'twin': a second one of this name"),
        ("other cameras", r"episode recorded_1: cameras \('ear',\), the environment has"),
        ("narrow", "episode recorded_1: actions: expected width 4, got width 3"),
        ("nan actions", "episode 'recorded_1' frame 0: actions holds NaN"),
        ("few clouds", "episode recorded_1: has 8 clouds for 9 frames"),
        ("no frames", "episode 'recorded_1': has no frame"),
        ("no clouds", "episode recorded_1: has no point clouds, which the teacher needs"),
    ],
)
def test_recorded_episodes_that_do_not_fit_are_told(
    spec_file: SpecFile, tmp_path: Path, fault: str, words: str
) -> None:
    spec = read_spec(spec_file(environment={"use": "puppet", "recorded": 3, "fault": fault}))
    with pytest.raises(UserError, match=words):
        chain.run_pipeline(spec, tmp_path, "extract")
    assert partials(tmp_path) == []


@pytest.mark.usefixtures("puppet")
def test_environment_without_episodes_and_expert_is_told(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = read_spec(spec_file(environment={"use": "puppet", "fault": "nothing"}))
    with pytest.raises(UserError, match="no recorded episodes were found"):
        chain.run_pipeline(spec, tmp_path, "collect")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("recorded", [1, 3])
def test_episodes_of_one_frame_can_be_learned_from(
    spec_file: SpecFile, tmp_path: Path, recorded: int
) -> None:
    table = {"use": "puppet", "recorded": recorded, "lengths": [1]}
    policy = {"n_obs_steps": 3, "horizon": 8, "n_action_steps": 8}
    spec = read_spec(spec_file(environment=table, policy=policy))
    folder = chain.run_pipeline(spec, tmp_path, "train")
    assert "NaN" not in (folder / "run.json").read_text()


def damaged_shards(root: Path, folder: str) -> Iterator[Path]:
    groups = sorted(p for p in (root / "store" / folder).glob("*/*") if p.is_dir())
    yield next(p for p in groups[0].rglob("c.*"))
    yield groups[1] / "zarr.json"


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("folder", ["episodes", "features", "embeddings"])
def test_truncated_store_is_told_and_mended_by_deleting(
    spec_file: SpecFile, puppet_root: Path, folder: str
) -> None:
    spec = read_spec(spec_file(align={"steps": 2}))
    for file in damaged_shards(puppet_root, folder):
        file.write_bytes(file.read_bytes()[:-3])
        with pytest.raises(UserError) as caught:
            chain.run_pipeline(spec, puppet_root, "align")
        assert str(file) in str(caught.value)
        assert "run again" in str(caught.value)
        shutil.rmtree(next(p for p in file.parents if p.parent.parent.name == folder))
    chain.run_pipeline(spec, puppet_root, "align")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("policy.json", b"{"),
        ("policy.json", b"[]"),
        ("policy.json", b'{"format": 1, "aligner": 3}'),
        ("policy.json", b'{"format": 1, "shape": {}, "head": {"use": "puppet"}}'),
        ("policy.json", None),
        ("policy.safetensors", b"short"),
        ("policy.safetensors", None),
    ],
)
def test_damaged_policy_is_told(
    spec_file: SpecFile, puppet_root: Path, file: str, content: bytes | None
) -> None:
    (path,) = puppet_root.glob(f"store/policy/*/{file}")
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        chain.run_pipeline(read_spec(spec_file(act={"first_seed": 7})), puppet_root)


@pytest.mark.usefixtures("puppet")
def test_damaged_record_is_written_anew(spec_file: SpecFile, puppet_root: Path) -> None:
    record = puppet_root / "puppet" / "run.json"
    for content in ("{", "[]", "{}", '{"stages": 3}', '{"stages": [3]}'):
        record.write_text(content)
        chain.run_pipeline(read_spec(spec_file()), puppet_root)
        assert json.loads(record.read_text())["stages"][-1]["stage"] == "act"


@pytest.mark.usefixtures("puppet")
def test_damaged_stage_is_told(spec_file: SpecFile, puppet_root: Path) -> None:
    for content in ("{", "[]", "{}"):
        (path,) = puppet_root.glob("store/act/*/stage.json")
        path.write_text(content)
        with pytest.raises(UserError, match=str(path)):
            chain.run_pipeline(read_spec(spec_file()), puppet_root)


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 200])
def test_damaged_checkpoint_is_told(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    spec = read_spec(spec_file(seed=6, policy={"condition": "proprio_only"}))
    monkeypatch.setenv("RGB2ACT_PUPPET", f"learn:raise:{_calls('learn') + 4}")
    with pytest.raises(RuntimeError, match="strings"):
        chain.run_pipeline(spec, puppet_root, "train")
    (path,) = puppet_root.glob("store/policy/*.partial/checkpoint.safetensors")
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: damaged .*delete it and run again"):
        chain.run_pipeline(spec, puppet_root, "train")
    path.unlink()
    chain.run_pipeline(spec, puppet_root, "train")


def test_torn_files_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    from rgb2act_core.store.stage_folder import StageFolder

    folder = StageFolder.of(tmp_path, {"a": 1})
    (folder.open() / "videos").mkdir()
    torn = [".checkpoint.safetensors.12", "videos/.seed_1.mp4.12.part", "metrics.jsonl.12.part"]
    for name in torn:
        (folder.partial / name).touch()
    (folder.partial / "metrics.jsonl").touch()
    folder.open()
    assert sorted(p.name for p in folder.partial.rglob("*")) == [
        "inputs.json",
        "metrics.jsonl",
        "videos",
    ]
