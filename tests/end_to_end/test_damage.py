"""Bad data, damaged files and diverging training fail with a message that names them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.spec.reader import read_spec

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]
Files = Callable[..., Any]


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "encode",
            "extract puppet: episode episode_0100000: {array} 'tokens' frame 3 contains NaN",
        ),
        ("embed", "extract puppet: episode episode_0100000: {array} 'embeddings' frame 3 contains"),
    ],
)
def test_features_with_nan_are_reported(
    files: Files,
    spec_file: SpecFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    message: str,
) -> None:
    spec = read_spec(spec_file())
    probe_calls = int(function == "encode")  # the probe image comes first
    monkeypatch.setenv("RGB2ACT_PUPPET", f"{function}:nan:{_calls(function) + probe_calls}")
    with pytest.raises(UserError) as caught:
        chain.run_pipeline(spec, tmp_path, "extract")
    first, _, last = message.partition(" {array} ")
    assert str(caught.value).startswith(first)
    assert f"array {last}" in str(caught.value)
    assert files(tmp_path).partials() == []
    chain.run_pipeline(spec, tmp_path, "extract")  # only one call failed


def _calls(function: str) -> int:
    import rgb2act_puppet

    return int(rgb2act_puppet._calls[function])


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("function", "stage", "message"),
    [
        ("fuse", "align", r"align: step 3: loss is nan, .*batch of .*(episode|scenes)_"),
        ("learn", "train", r"train: step 3: loss is nan, .*batch of episode_\d+"),
    ],
)
def test_loss_that_is_not_finite_is_reported_with_step_and_episodes(
    spec_file: SpecFile,
    puppet_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    stage: str,
    message: str,
) -> None:
    spec = read_spec(spec_file(seed=5))
    chain.run_pipeline(spec, puppet_root, "extract")
    import rgb2act_puppet  # noqa: F401 its counter is of this process

    monkeypatch.setenv("RGB2ACT_PUPPET", f"{function}:nan:{_calls(function) + 3}")
    with pytest.raises(UserError, match=message):
        chain.run_pipeline(spec, puppet_root, stage)


@pytest.mark.usefixtures("puppet")
def test_too_large_learning_rate_stops_training(spec_file: SpecFile, puppet_root: Path) -> None:
    spec = read_spec(spec_file(policy={"lr": 1e30, "steps": 40, "grad_clip": 1e30}))
    with pytest.raises(UserError, match=r"train: step \d+: loss is .* lower the learning rate"):
        chain.run_pipeline(spec, puppet_root, "train")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("one name", "episode 'twin': duplicate name"),
        ("other cameras", r"episode recorded_1: cameras are \('ear',\), the environment has"),
        ("narrow", "episode recorded_1: actions: expected 4 values per frame, got 3"),
        ("nan actions", "episode 'recorded_1' frame 0: actions contains NaN"),
        ("few clouds", "episode recorded_1: has 8 point clouds for 9 frames"),
        ("no frames", "episode 'recorded_1': has no frame"),
        ("no clouds", "episode recorded_1: has no point clouds, which the teacher needs"),
    ],
)
def test_recorded_episodes_that_do_not_fit_are_reported(
    files: Files, spec_file: SpecFile, tmp_path: Path, fault: str, message: str
) -> None:
    spec = read_spec(spec_file(environment={"use": "puppet", "recorded": 3, "fault": fault}))
    with pytest.raises(UserError, match=message):
        chain.run_pipeline(spec, tmp_path, "extract")
    assert files(tmp_path).partials() == []


@pytest.mark.usefixtures("puppet")
def test_environment_without_episodes_and_expert_is_an_error(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = read_spec(spec_file(environment={"use": "puppet", "fault": "nothing"}))
    with pytest.raises(UserError, match="no recorded episodes were found"):
        chain.run_pipeline(spec, tmp_path, "collect")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("recorded", [1, 3])
def test_policy_trains_on_episodes_of_one_frame(
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
def test_truncated_store_is_reported_and_rebuilt_after_deletion(
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
        ("policy.json", b'{"format": 2, "aligner": 3}'),
        ("policy.json", b'{"format": 2, "config": {}, "head": {"use": "puppet"}}'),
        ("policy.json", None),
        ("policy.safetensors", b"short"),
        ("policy.safetensors", None),
    ],
)
def test_damaged_policy_is_reported(
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
def test_damaged_record_is_replaced(spec_file: SpecFile, puppet_root: Path) -> None:
    record = puppet_root / "puppet" / "1" / "run.json"
    for content in ("{", "[]", "{}", '{"stages": 3}', '{"stages": [3]}'):
        record.write_text(content)
        chain.run_pipeline(read_spec(spec_file()), puppet_root)
        assert json.loads(record.read_text())["stages"][-1]["stage"] == "act"


@pytest.mark.usefixtures("puppet")
def test_damaged_stage_is_reported(spec_file: SpecFile, puppet_root: Path) -> None:
    for content in ("{", "[]", "{}"):
        (path,) = puppet_root.glob("store/act/*/stage.json")
        path.write_text(content)
        with pytest.raises(UserError, match=str(path)):
            chain.run_pipeline(read_spec(spec_file()), puppet_root)


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 200])
def test_damaged_checkpoint_is_reported(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    spec = read_spec(spec_file(seed=6, policy={"condition": "proprio_only"}))
    monkeypatch.setenv("RGB2ACT_PUPPET", f"learn:raise:{_calls('learn') + 4}")
    with pytest.raises(RuntimeError, match="strings"):
        chain.run_pipeline(spec, puppet_root, "train")
    (path,) = puppet_root.glob("store/policy/*.partial/checkpoint.safetensors")
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: is damaged .*delete it and run again"):
        chain.run_pipeline(spec, puppet_root, "train")
    path.unlink()
    chain.run_pipeline(spec, puppet_root, "train")


def flip(file: Path, share: float) -> None:
    data = bytearray(file.read_bytes())
    data[int(len(data) * share)] ^= 0x40
    file.write_bytes(bytes(data))


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("array", "command"),
    [
        ("features/*/*/tokens/c.*", "extract"),
        ("features/*/*/pooled/c.*", "extract"),
        ("embeddings/*/*/embeddings/c.*", "extract"),
        ("episodes/*/*/rgb/c.*", "collect"),
        ("episodes/*/*/joints/c.*", "collect"),
        ("episodes/*/*/actions/c.*", "collect"),
    ],
)
def test_altered_array_stops_the_run_and_names_the_command_that_makes_it_again(
    spec_file: SpecFile, puppet_root: Path, array: str, command: str
) -> None:
    file = sorted(puppet_root.glob(f"store/{array}"))[0]
    flip(file, 0.3)
    spec = read_spec(spec_file(align={"steps": 2}))
    with pytest.raises(UserError) as caught:
        chain.run_pipeline(spec, puppet_root)
    (group,) = (p for p in file.parents if p.parent.parent.parent.name == "store")
    assert f"{file}: array '{file.parent.name}'" in str(caught.value)
    assert "was altered (episode '" in str(caught.value)
    assert f"delete {group} and run again: 'rgb2act {command} SPEC'" in str(caught.value)
    shutil.rmtree(group)
    chain.run_pipeline(spec, puppet_root)


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("name", ["aligner", "policy"])
def test_altered_weights_of_a_cached_stage_are_refused(
    cli: Cli, spec_file: SpecFile, puppet_root: Path, name: str
) -> None:
    (path,) = puppet_root.glob(f"store/*/*/{name}.safetensors")
    flip(path, 0.99)
    done = cli("verify", "puppet", "--root", puppet_root)
    assert done.returncode != 0
    assert f"{path}: tensor" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(UserError, match=f"{path}: tensor '.*' was altered; delete"):
        chain.run_pipeline(read_spec(spec_file()), puppet_root)


@pytest.mark.usefixtures("puppet")
def test_altered_checkpoint_is_refused(
    spec_file: SpecFile, puppet_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec(spec_file(seed=6, policy={"condition": "proprio_only"}))
    monkeypatch.setenv("RGB2ACT_PUPPET", f"learn:raise:{_calls('learn') + 4}")
    with pytest.raises(RuntimeError, match="strings"):
        chain.run_pipeline(spec, puppet_root, "train")
    (path,) = puppet_root.glob("store/policy/*.partial/checkpoint.safetensors")
    flip(path, 0.99)
    with pytest.raises(UserError, match=f"{path}: tensor .* was altered; delete it and run again"):
        chain.run_pipeline(spec, puppet_root, "train")
