"""``verify`` passes on a trained run, and reports what was altered since."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.verify import verify
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.store.files import read_json, write_record
from rgb2act_core.store.group_reader import read_group
from rgb2act_core.store.group_writer import GroupWriter

Cli = Callable[..., subprocess.CompletedProcess[str]]
SpecFile = Callable[..., Path]


def feature_groups(root: Path, backbone: str = "puppet") -> dict[str, Path]:
    """Return the folder of each episode's features."""
    groups = root.glob(f"store/features/{backbone}-*/*")
    return {read_group(p).attributes["episode"]: p for p in groups if p.is_dir()}


def rewrite(group: Path, frame: int, **attributes: object) -> None:
    """Alter a frame's tokens and write digests that match."""
    old = read_group(group)
    tokens = np.array(old["tokens"])
    tokens[frame] += np.float16(0.1)
    others = {k: v for k, v in old.attributes.items() if k not in ("digest", "digests")}
    altered = group.with_name("altered")
    with GroupWriter(altered) as writer:
        for name, array in (("tokens", tokens), ("pooled", np.array(old["pooled"]))):
            layout = old.layout(name)
            writer.create(name, layout.frame_shape, layout.dtype, dims=layout.dims)
            writer.append(name, array)
        writer.commit(others | attributes)
    group.rename(group.with_name("away"))
    altered.rename(group)


def poke(group: Path, frame: int) -> None:
    """Flip one bit of one frame's tokens in the file."""
    layout = read_group(group).layout("tokens")
    (file,) = (p for p in (group / "tokens").iterdir() if p.name.startswith("c"))
    data = bytearray(file.read_bytes())
    data[frame * layout.nbytes + 1] ^= 0x10
    file.write_bytes(bytes(data))


@pytest.mark.slow
def test_smoke_run_passes_until_a_frame_is_altered(cli: Cli, smoke_root: Path) -> None:
    done = cli("verify", "smoke", "--root", smoke_root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("passed\n")
    groups = feature_groups(smoke_root, "randconv")
    poke(groups["episode_0100001"], 4)
    done = cli("verify", "smoke", "--root", smoke_root)
    assert done.returncode == 1
    assert re.search("episode episode_0100001: .*'tokens' frame 4 was altered", done.stderr)
    assert "problems" in done.stdout


@pytest.mark.usefixtures("puppet")
def test_finished_run_passes(puppet_done: Path) -> None:
    found = verify(puppet_done / "puppet" / "1")
    assert found.problems == ()
    assert (found.stores, found.episodes) == (15, 3)
    assert verify(puppet_done / "puppet" / "1", 1).episodes == 1


@pytest.mark.usefixtures("puppet")
def test_altered_frame_is_reported(puppet_root: Path) -> None:
    poke(feature_groups(puppet_root)["episode_0100004"], 2)  # the last one, which is not replayed
    (problem,) = verify(puppet_root / "puppet" / "1").problems
    assert problem.startswith("episode episode_0100004: ")
    assert "array 'tokens' frame 2 was altered" in problem


@pytest.mark.usefixtures("puppet")
def test_altered_frame_with_matching_digests_is_reported(puppet_root: Path) -> None:
    rewrite(feature_groups(puppet_root)["episode_0100001"], 3)
    problems = verify(puppet_root / "puppet" / "1").problems
    assert problems[0].startswith("episode episode_0100001: frame 3: tokens differ online")


@pytest.mark.usefixtures("puppet")
def test_features_of_another_config_are_reported(puppet_root: Path) -> None:
    group = feature_groups(puppet_root)["episode_0100004"]
    rewrite(group, 0, config={"use": "puppet", "version": 1, "patch": 2, "context": 1})
    (problem,) = verify(puppet_root / "puppet" / "1").problems
    assert problem.startswith("episode episode_0100004: ")
    assert "config is {'use': 'puppet', 'version': 1, 'patch': 2" in problem


@pytest.mark.usefixtures("puppet")
def test_features_of_another_episode_are_reported(puppet_root: Path) -> None:
    groups = feature_groups(puppet_root)
    one, other = groups["episode_0100001"], groups["episode_0100004"]
    away = one.with_name("away")
    one.rename(away)
    other.rename(one)
    away.rename(other)
    problems = verify(puppet_root / "puppet" / "1").problems
    assert any(p.startswith("episode episode_0100001: ") for p in problems)
    assert any("episode_digest is" in p for p in problems)


@pytest.mark.usefixtures("puppet")
def test_policy_of_other_backbones_is_reported(puppet_root: Path) -> None:
    (path,) = puppet_root.glob("store/policy/*/policy.json")
    policy = read_json(path)
    policy["backbones"][0]["patch"] = 2
    write_record(path, policy)
    (problem,) = verify(puppet_root / "puppet" / "1").problems
    assert problem.startswith(f"{path}: trained on backbones [{{'use': 'puppet'")


@pytest.mark.usefixtures("puppet")
def test_damaged_features_do_not_stop_verify(puppet_root: Path) -> None:
    (feature_groups(puppet_root)["episode_0100001"] / "zarr.json").write_text("{")
    found = verify(puppet_root / "puppet" / "1")
    assert found.episodes == 3
    assert all(p.startswith("episode episode_0100001: ") for p in found.problems)
    assert found.problems


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize("change", ["altered weights", "missing policy"])
def test_damaged_policy_hides_no_damaged_features(puppet_root: Path, change: str) -> None:
    poke(feature_groups(puppet_root)["episode_0100004"], 2)
    (path,) = puppet_root.glob("store/policy/*/policy.safetensors")
    if change == "altered weights":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        shutil.rmtree(path.parent)
    found = verify(puppet_root / "puppet" / "1")
    features, policy = found.problems
    assert "array 'tokens' frame 2 was altered" in features
    assert str(path.parent) in policy
    assert found.episodes == found.frames == 0


BACKBONES = [
    {"use": "puppet", "context": 3},
    {"use": "puppet", "patch": 8},
    {"use": "windowed", "context": 4},
]


@pytest.fixture(scope="module")
def extracted_root(
    cli: Cli, spec_in: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a root with features of three backbones and their aligner; tests add policies."""
    root = tmp_path_factory.mktemp("extracted")
    done = cli("align", spec_in(root, backbone=BACKBONES), "--root", root)
    assert done.returncode == 0, done.stderr
    return root


VISUAL = ("aligned", "dual", "tokens", "single_backbone", "random_aligner", "end_to_end", "oracle")


@pytest.mark.usefixtures("puppet")
@pytest.mark.parametrize(
    ("condition", "proprio"), [*itertools.product(VISUAL, (True, False)), ("proprio_only", True)]
)
def test_online_inputs_of_every_condition_equal_those_in_training(
    spec_file: SpecFile, extracted_root: Path, condition: str, proprio: bool
) -> None:
    head = {"use": "diffusion", "mlp": {"width": 16, "blocks": 1}}
    policy = {"condition": condition, "n_obs_steps": 3, "n_action_steps": 1, "proprio": proprio}
    policy |= {"head": head, "steps": 2, "history_stride": 2}
    spec = read_spec(spec_file(policy=policy, backbone=BACKBONES))
    found = verify(chain.run_pipeline(spec, extracted_root, "train"))
    assert found.problems == ()
