import json
import shutil
from pathlib import Path

import attrs
import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rgb2act_core.data.episode_store import (
    by_name,
    digest_of,
    read_episode,
    validate,
    write_episode,
)
from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import Episode, PointCloud
from rgb2act_core.store.group_reader import check_group


def make(steps: int = 20, seed: int = 0, *, arms: bool = True, points: bool = True) -> Episode:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(2, steps, 14)).astype(np.float32)
    clouds = [
        PointCloud(
            xyz=rng.normal(size=(5 + t % 3, 3)).astype(np.float32),
            rgb=rng.integers(0, 256, (5 + t % 3, 3), np.uint8),
        )
        for t in range(steps)
    ]
    return Episode(
        name=f"seed{seed}",
        task="lift",
        instruction="lift the cube",
        cameras=("head", "wrist"),
        rgb=rng.integers(0, 256, (steps, 2, 8, 12, 3), np.uint8),
        joints=numbers[0] if arms else None,
        actions=numbers[1] if arms else None,
        clouds=clouds if points else None,
        state={"cube": rng.normal(size=(steps, 7)).astype(np.float32)},
    )


def same(one: Episode, other: Episode) -> None:
    for key in ("name", "task", "instruction", "cameras"):
        assert getattr(one, key) == getattr(other, key)
    assert np.array_equal(one.rgb[:], other.rgb[:])
    for a, b in ((one.joints, other.joints), (one.actions, other.actions)):
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(a, b)
    assert one.state.keys() == other.state.keys()
    assert all(np.array_equal(one.state[key], other.state[key]) for key in one.state)
    assert (one.clouds is None) == (other.clouds is None)
    for a, b in zip(one.clouds or (), other.clouds or (), strict=True):
        assert np.array_equal(a.xyz, b.xyz)
        assert np.array_equal(a.rgb, b.rgb)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.integers(1, 40), seed=st.integers(0, 9), arms=st.booleans(), points=st.booleans())
def test_episodes_round_trip(tmp_path, steps, seed, arms, points):
    shutil.rmtree(tmp_path / "e", ignore_errors=True)
    episode = make(steps, seed, arms=arms, points=points)
    digest = write_episode(tmp_path / "e", episode, extra={"seed": seed})
    stored = read_episode(tmp_path / "e")
    same(stored, episode)
    validate(stored)
    check_group(tmp_path / "e")
    assert digest == stored.digest == digest_of(stored) == digest_of(episode)


def test_plain_zarr_reads_an_episode(tmp_path):
    episode = make()
    write_episode(tmp_path / "e", episode, extra={"seed": 3})
    group = zarr.open_group(tmp_path / "e", mode="r")
    offsets = group["points/offsets"][...]
    assert np.array_equal(group["rgb"][7], episode.rgb[7])
    assert np.array_equal(group["actions"][...], episode.actions)
    assert np.array_equal(group["state/cube"][...], episode.state["cube"])
    assert np.array_equal(group["points/xyz"][offsets[7] : offsets[8]], episode.clouds[7].xyz)
    assert group["rgb"].metadata.dimension_names == ("time", "camera", "y", "x", "channel")
    assert group.attrs["cameras"] == ["head", "wrist"]
    assert group.attrs["extra"] == {"seed": 3}


def test_clouds_are_a_sequence(tmp_path):
    episode = make(5)
    write_episode(tmp_path / "e", episode, extra={})
    clouds = read_episode(tmp_path / "e").clouds
    assert len(clouds) == 5
    assert np.array_equal(clouds[-1].rgb, episode.clouds[4].rgb)
    assert [len(cloud.xyz) for cloud in clouds[1:4]] == [6, 7, 5]
    with pytest.raises(IndexError):
        clouds[5]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"task": "reach"},
        {"instruction": "put it down"},
        {"cameras": ("wrist", "head")},
        {"rgb": make().rgb ^ 1},
        {"joints": make().actions},
        {"actions": make().joints},
        {"clouds": None},
        {"clouds": make().clouds[::-1]},
        {"state": {}},
        {"state": {"ball": make().state["cube"]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_digest_depends_on_every_field(change):
    assert digest_of(attrs.evolve(make(), **change)) != digest_of(make())


def test_digest_ignores_memory_layout_extra_and_the_given_digest(tmp_path):
    episode = make()
    turned = attrs.evolve(
        episode, rgb=np.asfortranarray(episode.rgb), joints=np.asfortranarray(episode.joints)
    )
    assert digest_of(turned) == digest_of(attrs.evolve(episode, digest="x")) == digest_of(episode)
    assert write_episode(tmp_path / "a", episode, extra={"a": 1}) == write_episode(
        tmp_path / "b", turned, extra={}
    )


def bad(array, t, value=np.nan):
    array = array.copy()
    array[t] = value
    return array


def cloud(t, **fields):
    clouds = list(make().clouds)
    clouds[t] = attrs.evolve(clouds[t], **fields)
    return {"clouds": clouds}


EMPTY = np.zeros((0, 3))
BAD = [
    ({"name": ""}, "episode '': name is ''"),
    ({"task": 7}, "episode 'seed0': task is 7"),
    ({"cameras": ("head", "head")}, "cameras are .*; give each a unique name"),
    ({"cameras": ("head",)}, r"images have shape \(20, 2, 8, 12, 3\); give \(T, 1, H, W, 3\)"),
    ({"rgb": make().rgb[..., :1]}, "images have shape"),
    ({"rgb": make().rgb[:0]}, "episode 'seed0': has no frames; remove it"),
    ({"rgb": make().rgb[:9]}, "joints has 20 steps for 9 frames"),
    ({"joints": None}, "only one of joints and actions"),
    ({"actions": make().actions[:, :7]}, "joints and actions have shapes"),
    ({"actions": make().actions.astype(float)}, "actions is float64; give float32"),
    ({"actions": bad(make().actions, 13)}, "episode 'seed0' frame 13: actions contains NaN"),
    ({"joints": bad(make().joints, 2, np.inf)}, "episode 'seed0' frame 2: joints contains NaN"),
    ({"state": {"cube": bad(make().state["cube"], 5)}}, "frame 5: state 'cube' contains NaN"),
    ({"state": {"cube": make().state["cube"][:3]}}, "state 'cube' has 3 steps for 20 frames"),
    ({"clouds": make().clouds[:19]}, "has 19 point clouds for 20 frames; give one per frame"),
    (
        cloud(4, xyz=EMPTY.astype("f4"), rgb=EMPTY.astype("u1")),
        "4: point cloud has no points",
    ),
    (
        cloud(6, xyz=bad(make().clouds[6].xyz, 1)),
        "episode 'seed0' frame 6: point cloud contains NaN",
    ),
    (cloud(6, rgb=make().clouds[6].rgb[:2]), "frame 6: point cloud has 5 points and 2 colours"),
    (cloud(6, xyz=make().clouds[6].xyz.astype(float)), "frame 6: point cloud is float64"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_episode_is_refused_and_nothing_written(tmp_path, change, message):
    episode = attrs.evolve(make(), **change)
    with pytest.raises(UserError, match=message):
        validate(episode)
    with pytest.raises(UserError, match=message):
        write_episode(tmp_path / "e", episode, extra={})
    assert list(tmp_path.iterdir()) == []


@attrs.frozen(eq=False)
class Broken:
    shape: tuple[int, ...]

    def __getitem__(self, index):
        if index.stop > 16:
            return np.zeros((1, 2, 8, 12, 3), np.uint8)
        return np.zeros((16, 2, 8, 12, 3), np.uint8)


def test_a_failed_write_of_images_leaves_no_files(tmp_path):
    episode = attrs.evolve(make(), rgb=Broken((20, 2, 8, 12, 3)))
    with pytest.raises(UserError, match="episode 'seed0' frames 16 to 19: images are uint8"):
        write_episode(tmp_path / "e", episode, extra={})
    assert list(tmp_path.iterdir()) == []


def test_invalid_state_name_is_rejected(tmp_path):
    episode = attrs.evolve(make(), state={"../cube": make().state["cube"]})
    with pytest.raises(UserError, match=r"array name 'state/\.\./cube' is invalid"):
        write_episode(tmp_path / "e", episode, extra={})
    assert list(tmp_path.iterdir()) == []


def test_duplicate_episode_names_are_rejected():
    assert list(by_name([make(seed=1), make(seed=2)])) == ["seed1", "seed2"]
    with pytest.raises(UserError, match="episode 'seed1': duplicate name at position 2"):
        by_name([make(seed=1), make(seed=2), make(seed=1)])


def test_group_without_an_episode_is_rejected(tmp_path):
    write_episode(tmp_path / "e", make(), extra={})
    shutil.rmtree(tmp_path / "e" / "points")
    with pytest.raises(UserError, match="points"):
        read_episode(tmp_path / "e")
    (tmp_path / "f").mkdir()
    with pytest.raises(UserError, match=r"zarr.json: is missing"):
        read_episode(tmp_path / "f")


def swap(path: Path, name: str, **fields: object) -> None:
    file = path / name / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize("name", ["points/xyz", "points/offsets", "rgb", "joints", "state/cube"])
def test_array_of_another_dtype_is_refused(tmp_path, name):
    write_episode(tmp_path / "e", make(), extra={})
    old = json.loads((tmp_path / "e" / name / "zarr.json").read_text())["data_type"]
    new = {"float32": "int32", "int64": "uint64", "uint8": "int8"}[old]
    swap(tmp_path / "e", name, data_type=new, fill_value=0)
    with pytest.raises(UserError, match=r"joints|state|points|not an episode|not an array"):
        read_episode(tmp_path / "e")


def test_inconsistent_offsets_are_rejected(tmp_path):
    write_episode(tmp_path / "e", make(), extra={})
    file = tmp_path / "e" / "points" / "offsets" / "c.0"
    good = np.fromfile(file, np.int64)
    for t, value in ((0, 1), (3, good[2]), (5, 10**12), (20, good[20] + 1), (4, -1)):
        offsets = good.copy()
        offsets[t] = value
        offsets.tofile(file)
        meta = json.loads(file.with_name("zarr.json").read_text())
        meta["attributes"]["crc32c"] = [google_crc32c.value(offsets.tobytes())]
        file.with_name("zarr.json").write_text(json.dumps(meta))
        with pytest.raises(UserError, match="points do not match their offsets"):
            read_episode(tmp_path / "e")


@pytest.mark.parametrize("array", ["rgb", "joints", "actions", "state/cube", "points/xyz"])
def test_altered_array_of_an_episode_is_refused_when_it_is_read(tmp_path, array):
    path = tmp_path / "episodes" / "key" / "e"
    write_episode(path, make(), extra={})
    (file,) = path.glob(f"{array}/c.*")
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 3] ^= 64
    file.write_bytes(raw)
    with pytest.raises(UserError) as caught:
        digest_of(read_episode(path))
    assert f"array '{array}'" in str(caught.value)
    assert "was altered (episode 'seed0')" in str(caught.value)
    assert f"delete {path} and run again: 'rgb2act collect SPEC' makes it" in str(caught.value)
