import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rgb2act_core.errors import UserError
from rgb2act_core.store.group_reader import Stored, check_group, read_group
from rgb2act_core.store.group_writer import GroupWriter, sweep

TOKENS = np.random.default_rng(0).normal(size=(6, 2, 40, 64)).astype(np.float16)


def write(path: Path, codec: str = "none") -> str:
    with GroupWriter(path, codec=codec) as writer:
        writer.create("tokens", TOKENS.shape[1:], "float16", dims=("time", "v", "n", "c"))
        for tokens_nVNC in (TOKENS[:1], TOKENS[1:4], TOKENS[4:]):
            writer.append("tokens", tokens_nVNC)
        writer.put("state/height", np.arange(6.0))
        return writer.commit({"component": "gray", "grid": (5, 8)})


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def shard(path: Path) -> Path:
    return path / "tokens" / "c.0.0.0.0"


def change(file: Path, position: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[position] ^= 1
    file.write_bytes(raw)


def edit(file: Path, **fields: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_plain_zarr_reads_every_array(tmp_path, codec):
    write(tmp_path / "g", codec)
    group = zarr.open_group(tmp_path / "g", mode="r")
    assert np.array_equal(group["tokens"][4], TOKENS[4])
    assert np.array_equal(group["tokens"][...], TOKENS)
    assert np.array_equal(group["state/height"][...], np.arange(6.0))
    assert group["tokens"].metadata.dimension_names == ("time", "v", "n", "c")
    assert group["tokens"].chunks == (1, 2, 40, 64)
    assert group.attrs["component"] == "gray"


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_episodes_round_trip(tmp_path, codec):
    digest = write(tmp_path / "g", codec)
    group = read_group(tmp_path / "g")
    check_group(tmp_path / "g")
    assert group.arrays == ("tokens", "state/height")
    assert np.array_equal(group["tokens"], TOKENS)
    assert group["tokens"].dtype == np.float16
    assert group.digest == digest
    assert group.attributes["grid"] == [5, 8]


def test_digest_does_not_depend_on_codec_or_memory_layout(tmp_path):
    with GroupWriter(tmp_path / "full") as writer:
        writer.create("tokens", TOKENS.shape[1:], "float16", dims=("time", "v", "n", "c"))
        writer.append("tokens", np.asfortranarray(TOKENS))
        writer.put("state/height", np.arange(6.0))
        full = writer.commit({"grid": [5, 8], "component": "gray"})
    assert full == write(tmp_path / "a") == write(tmp_path / "b", "zstd")


def test_views_are_read_only_and_need_no_zarr(tmp_path):
    write(tmp_path / "g")
    assert not read_group(tmp_path / "g")["tokens"].flags.writeable
    code = f"""
        import sys
        from pathlib import Path
        from rgb2act_core.store.group_reader import read_group
        read_group(Path({str(tmp_path / "g")!r}))["tokens"].sum()
        assert not {{"zarr", "torch", "numcodecs"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_views_hold_no_descriptors(tmp_path):
    write(tmp_path / "g")
    before = len(names(Path("/proc/self/fd")))
    views = [read_group(tmp_path / "g")["tokens"] for _ in range(50)]
    assert len(names(Path("/proc/self/fd"))) == before
    assert all(np.array_equal(view[3], TOKENS[3]) for view in views)


def test_view_outlives_its_group_and_the_file(tmp_path):
    write(tmp_path / "g")
    frame = read_group(tmp_path / "g")["tokens"][2]
    shutil.rmtree(tmp_path / "g")
    assert np.array_equal(frame, TOKENS[2])


DTYPES = ["bool", "int8", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64"]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    dtype=st.sampled_from(DTYPES),
    frame=st.lists(st.integers(0, 4), max_size=3).map(tuple),
    pieces=st.lists(st.integers(0, 3), max_size=3),
    codec=st.sampled_from(["none", "zstd"]),
    seed=st.integers(0, 99),
)
def test_any_shape_survives_and_zarr_agrees(tmp_path, dtype, frame, pieces, codec, seed):
    path = tmp_path / "g"
    shutil.rmtree(path, ignore_errors=True)
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, 2, (n, *frame)).astype(dtype) for n in pieces]
    full = np.concatenate([*parts, np.empty((0, *frame), dtype)])
    with GroupWriter(path, codec=codec) as writer:
        writer.create("frames", frame, dtype)
        for part in parts:
            writer.append("frames", part)
        writer.put("full", full)
        writer.put("one", np.zeros((), dtype))
        writer.commit({})
    check_group(path)
    group, plain = read_group(path), zarr.open_group(path, mode="r")
    for name, expected in {"frames": full, "full": full, "one": np.zeros((), dtype)}.items():
        assert group[name].dtype == plain[name].dtype == expected.dtype
        assert group[name].shape == plain[name].shape == expected.shape
        assert np.array_equal(group[name], expected)
        assert np.array_equal(plain[name][...], expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_non_finite_values_are_rejected_with_array_and_frame(tmp_path, bad, dtype):
    frames = np.zeros((5, 3), dtype)
    frames[3, 1] = bad
    with GroupWriter(tmp_path / "g") as writer:
        writer.create("pooled", (3,), dtype)
        writer.append("pooled", frames[:2])
        with pytest.raises(UserError, match=r"g: array 'pooled' frame 3 contains NaN or infinity"):
            writer.append("pooled", frames[2:])
        with pytest.raises(UserError, match=r"array 'full' contains NaN"):
            writer.put("full", frames)
    assert names(tmp_path) == []


def test_wrong_dtype_or_shape_is_rejected(tmp_path):
    with GroupWriter(tmp_path / "g") as writer:
        writer.create("a", (3,), "float32")
        with pytest.raises(ValueError, match="expects float32 frames"):
            writer.append("a", np.zeros((2, 3)))
        with pytest.raises(ValueError, match="expects float32 frames"):
            writer.append("a", np.zeros((2, 4), np.float32))
        with pytest.raises(ValueError, match="dtype"):
            writer.put("b", np.array(["text"]))


@pytest.mark.parametrize("name", ["../x", "/x", "a/../b", "", ".x", "zarr.json", "a b", "a//b"])
def test_array_names_cannot_leave_the_group(tmp_path, name):
    with (
        GroupWriter(tmp_path / "g") as writer,
        pytest.raises(UserError, match=r"array name .* is invalid"),
    ):
        writer.put(name, np.zeros(1))


@pytest.mark.parametrize(("one", "other"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_arrays_cannot_be_nested(tmp_path, one, other):
    with GroupWriter(tmp_path / "g") as writer:
        writer.put(one, np.zeros(1))
        with pytest.raises(UserError, match="clashes"):
            writer.put(other, np.zeros(1))


def test_exception_leaves_nothing(tmp_path):
    def interrupted():
        with GroupWriter(tmp_path / "g") as writer:
            writer.put("a", np.zeros(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_unfinished_group_is_invisible(tmp_path):
    with GroupWriter(tmp_path / "g") as writer:
        writer.put("a", np.zeros(3))
        with pytest.raises(UserError, match="does not exist"):
            read_group(tmp_path / "g")


def test_second_writer_keeps_the_first_group(tmp_path):
    first = write(tmp_path / "g")
    with GroupWriter(tmp_path / "g") as writer:
        writer.put("other", np.zeros(3))
        assert writer.commit({}) == first
    assert read_group(tmp_path / "g").arrays == ("tokens", "state/height")
    assert names(tmp_path) == ["g"]


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("remaining", [0, 1, 7, 4000, -1])
def test_a_truncated_shard_is_detected_on_opening(tmp_path, codec, remaining):
    write(tmp_path / "g", codec)
    raw = shard(tmp_path / "g").read_bytes()
    shard(tmp_path / "g").write_bytes(raw[:remaining])
    with pytest.raises(UserError, match=r"tokens/c.0.0.0.0: .*; delete .*g and run again"):
        read_group(tmp_path / "g")


def test_a_longer_or_missing_shard_is_detected_on_opening(tmp_path):
    write(tmp_path / "g")
    shard(tmp_path / "g").write_bytes(shard(tmp_path / "g").read_bytes() + b"x")
    with pytest.raises(UserError, match="bytes"):
        read_group(tmp_path / "g")
    shard(tmp_path / "g").unlink()
    with pytest.raises(UserError, match="no such file"):
        read_group(tmp_path / "g")


@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("back", range(1, 16 * 6 + 5, 9))
def test_any_change_of_the_index_is_detected_on_opening(tmp_path, codec, back):
    write(tmp_path / "g", codec)
    change(shard(tmp_path / "g"), -back)
    with pytest.raises(UserError, match="damaged chunk index"):
        read_group(tmp_path / "g")


def test_altered_frame_is_named(tmp_path):
    write(tmp_path / "g")
    change(shard(tmp_path / "g"), 4 * TOKENS[0].nbytes + 5)
    with pytest.raises(UserError, match=r"array 'tokens' frame 4 was altered"):
        check_group(tmp_path / "g")


def test_altered_frame_is_never_read_and_does_not_affect_others(tmp_path):
    write(tmp_path / "g")
    change(shard(tmp_path / "g"), 4 * TOKENS[0].nbytes + 5)
    with pytest.raises(UserError, match=r"array 'tokens' frame 4 was altered"):
        _ = read_group(tmp_path / "g")["tokens"]
    frames = read_group(tmp_path / "g").frames("tokens")
    assert np.array_equal(frames[:4], TOKENS[:4])
    assert np.array_equal(frames[-1], TOKENS[5])
    assert np.array_equal(frames[[0, 3, 5]], TOKENS[[0, 3, 5]])
    assert np.array_equal(frames[3, :, 7], TOKENS[3, :, 7])
    for index in (4, -2, np.int64(4), slice(3, 6), np.array([0, 4]), (4, 0), slice(None)):
        with pytest.raises(UserError, match=r"array 'tokens' frame 4 was altered"):
            _ = frames[index]


def test_a_frame_is_compared_once_while_its_file_is_unchanged(tmp_path, monkeypatch):
    write(tmp_path / "g")
    compared = []
    real = Stored.compare
    monkeypatch.setattr(
        Stored, "compare", lambda self, t, chunk: (compared.append(t), real(self, t, chunk))
    )
    for _ in range(2):
        frames = read_group(tmp_path / "g").frames("tokens")
        assert frames[2].shape == TOKENS[2].shape
        assert frames[1:4].shape == TOKENS[1:4].shape
    assert compared == [2, 1, 3]
    change(shard(tmp_path / "g"), 2 * TOKENS[0].nbytes)
    with pytest.raises(UserError, match="frame 2 was altered"):
        _ = read_group(tmp_path / "g").frames("tokens")[2]


@pytest.mark.parametrize("file", ["tokens/c.0.0.0.0", "tokens/zarr.json", "zarr.json"])
def test_a_named_pipe_in_a_group_is_refused_without_waiting(tmp_path, file):
    write(tmp_path / "g")
    (tmp_path / "g" / file).unlink()
    os.mkfifo(tmp_path / "g" / file)
    with pytest.raises(UserError, match=r"is not a regular file; delete .* and run again"):
        read_group(tmp_path / "g")


def test_altered_compressed_frame_is_never_read(tmp_path):
    write(tmp_path / "g", "zstd")
    for position in range(0, 9000, 450):
        change(shard(tmp_path / "g"), position)
        with pytest.raises(UserError, match=r"array 'tokens' frame 0"):
            _ = read_group(tmp_path / "g")["tokens"]
        change(shard(tmp_path / "g"), position)


def test_frame_altered_with_its_checksum_is_caught_by_the_digest(tmp_path):
    write(tmp_path / "g")
    change(shard(tmp_path / "g"), 5)
    raw = shard(tmp_path / "g").read_bytes()
    crcs = json.loads((tmp_path / "g/tokens/zarr.json").read_text())["attributes"]["crc32c"]
    crcs[0] = google_crc32c.value(raw[: TOKENS[0].nbytes])
    edit(tmp_path / "g/tokens/zarr.json", attributes={"crc32c": crcs})
    with pytest.raises(UserError, match="array 'tokens' does not match its digest"):
        check_group(tmp_path / "g")


def test_altered_attributes_are_detected_on_opening(tmp_path):
    write(tmp_path / "g")
    text = (tmp_path / "g/zarr.json").read_text()
    (tmp_path / "g/zarr.json").write_text(text.replace('"gray"', '"grey"'))
    with pytest.raises(UserError, match="does not match its digest"):
        read_group(tmp_path / "g")


HOSTILE = [
    {"shape": [10**30, 2, 40, 64]},
    {"shape": [2**47, 2, 40, 64]},
    {"shape": [2**47, 2**47, 0, 64]},
    {"shape": [-1, 2, 40, 64]},
    {"shape": [True, 2, 40, 64]},
    {"shape": [6.0, 2, 40, 64]},
    {"shape": "6"},
    {"shape": []},
    {"shape": [1] * 5000},
    {"data_type": "object"},
    {"data_type": ["float16"]},
    {"data_type": "float32"},
    {"codecs": [{"name": "numcodecs.pickle"}]},
    {"codecs": None},
    {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "../"}}},
    {"dimension_names": None},
    {"dimension_names": [1, 2, 3, 4]},
    {"attributes": None},
    {"attributes": {"crc32c": 7}},
    {"attributes": {"crc32c": []}},
    {"storage_transformers": [{"name": "x"}]},
    {"node_type": "group"},
    {"zarr_format": 2},
]


@pytest.mark.parametrize("fields", HOSTILE, ids=str)
def test_hostile_metadata_is_rejected(tmp_path, fields):
    write(tmp_path / "g")
    edit(tmp_path / "g/tokens/zarr.json", **fields)
    with pytest.raises(UserError, match=r"tokens/zarr.json: |c.0.0.0.0: "):
        read_group(tmp_path / "g")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "\x00", "[" * 100_000, '{"a": 1e999}', "7", "NaN", '{"a": ' + "9" * 9999],
)
@pytest.mark.parametrize("name", ["zarr.json", "tokens/zarr.json"])
def test_invalid_json_is_rejected(tmp_path, text, name):
    write(tmp_path / "g")
    (tmp_path / "g" / name).write_text(text)
    with pytest.raises(UserError, match=name):
        read_group(tmp_path / "g")


@pytest.mark.parametrize("attributes", [None, [], {}, {"digests": []}, {"digests": {}, "x": 1e999}])
def test_hostile_group_attributes_are_rejected(tmp_path, attributes):
    write(tmp_path / "g")
    edit(tmp_path / "g/zarr.json", attributes=attributes)
    with pytest.raises(UserError, match=r"g/zarr.json: "):
        read_group(tmp_path / "g")


def test_a_shape_beyond_numpys_limits_is_rejected(tmp_path):
    with GroupWriter(tmp_path / "g") as writer:
        writer.create("a", (2, 0), "float32")
        writer.commit({})
    meta = json.loads((tmp_path / "g/a/zarr.json").read_text())
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**47, 2**47, 1]}}
    codec = meta["codecs"][0]
    codec["configuration"]["chunk_shape"] = [1, 2**47, 1]
    shape = [2**47, 2**47, 0]
    edit(tmp_path / "g/a/zarr.json", shape=shape, chunk_grid=grid, codecs=[codec])
    with pytest.raises(UserError, match="impossible shape"):
        _ = read_group(tmp_path / "g")["a"]


def test_missing_group_and_missing_array_have_different_messages(tmp_path):
    with pytest.raises(UserError, match=r"none: does not exist; run the stage"):
        read_group(tmp_path / "none")
    write(tmp_path / "g")
    (tmp_path / "g/tokens/zarr.json").unlink()
    with pytest.raises(UserError, match=r"tokens/zarr.json: is missing"):
        read_group(tmp_path / "g")


def test_truncation_after_opening_is_detected(tmp_path):
    write(tmp_path / "g")
    group = read_group(tmp_path / "g")
    os.truncate(shard(tmp_path / "g"), 100)
    with pytest.raises(UserError, match="was truncated while in use"):
        _ = group["tokens"]


KILLED = """
    import os, sys
    from pathlib import Path
    import numpy as np
    from rgb2act_core.store.group_writer import GroupWriter
    writer = GroupWriter(Path(sys.argv[1]))
    writer.create("tokens", (1000,), "float32")
    writer.append("tokens", np.ones((50, 1000), np.float32))
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_killed_writer_leaves_nothing_visible_and_sweep_removes_the_rest(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "g")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writing\n"
    assert sweep(tmp_path) == 0  # it is still running
    child.send_signal(signal.SIGKILL)
    assert child.stdout.read() == b""  # ended but not reaped: a zombie
    assert not (tmp_path / "g").exists()
    assert len(names(tmp_path)) == 1
    while sweep(tmp_path) == 0:  # its files are closed just before it ends
        pass
    child.communicate()
    assert names(tmp_path) == []
    write(tmp_path / "g")
    check_group(tmp_path / "g")


def test_sweep_leaves_other_hosts_and_other_files(tmp_path):
    remaining = [".g.partial-elsewhere-99999999-00000000", ".g.partial-", ".hidden", "g"]
    for name in remaining:
        (tmp_path / name).mkdir()
    assert sweep(tmp_path) == 0
    assert sweep(tmp_path / "none") == 0
    assert names(tmp_path) == sorted(remaining)


FULL = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np
    from rgb2act_core import UserError
    from rgb2act_core.store.group_writer import GroupWriter
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        with GroupWriter(Path(sys.argv[1])) as writer:
            writer.create("tokens", (1000,), "float32")
            for _ in range(4):
                writer.append("tokens", np.ones((25, 1000), np.float32))
            writer.commit({})
    except UserError as err:
        print(err)
"""


@pytest.mark.parametrize("limit", [0, 150_000, 400_100])  # at once, in a frame, in the index
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, limit):
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "g"), str(limit)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert f"{tmp_path / 'g'}: the disk is full" in done.stdout
    assert "free some space and run again" in done.stdout
    assert names(tmp_path) == []


def test_a_full_file_system_is_reported_and_leaves_nothing(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        with (
            pytest.raises(UserError, match=r"the disk is full \(4 MB needed, .* free\)"),
            GroupWriter(tmp_path / "g") as writer,
        ):
            writer.put("big", np.zeros(1_000_000, np.float32))
        assert names(tmp_path) == []
        write(tmp_path / "g")
        remount = ["mount", "-o", "remount,ro", str(tmp_path)]
        assert subprocess.run(remount, capture_output=True).returncode == 0
        check_group(tmp_path / "g")
        with pytest.raises(UserError, match="read-only file system"):
            GroupWriter(tmp_path / "h")
        assert sweep(tmp_path) == 0
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


READ_ONLY = """
    import os, sys
    from pathlib import Path
    import numpy as np
    from rgb2act_core.store.group_reader import check_group, read_group
    from rgb2act_core.store.group_writer import GroupWriter, sweep
    folder = Path(sys.argv[1])
    os.chdir(folder)
    folder.chmod(0o555)
    if os.getuid() == 0:
        os.setuid(65534)
    check_group(Path("g"))
    read_group(Path("g"))["tokens"].sum()
    sweep(Path("."))
    try:
        GroupWriter(Path("h"))
    except Exception as err:
        print(type(err).__name__, err)
"""


def test_a_read_only_store_is_readable_and_writing_is_an_error(tmp_path):
    write(tmp_path / "g")
    command = [sys.executable, "-c", textwrap.dedent(READ_ONLY), str(tmp_path)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    finally:
        tmp_path.chmod(0o755)
    assert done.stdout.startswith("UserError h: cannot be written (permission denied)")


def test_a_file_at_the_path_is_an_error(tmp_path):
    (tmp_path / "g").write_text("mine")
    with GroupWriter(tmp_path / "g") as writer, pytest.raises(UserError, match="cannot be written"):
        writer.commit({})
    assert (tmp_path / "g").read_text() == "mine"
    assert names(tmp_path) == ["g"]


def test_writer_holds_no_descriptors_after_commit_or_abort(tmp_path):
    before = len(names(Path("/proc/self/fd")))
    write(tmp_path / "g")
    with GroupWriter(tmp_path / "h") as writer:
        writer.put("a", np.zeros(3))
    assert len(names(Path("/proc/self/fd"))) == before


def test_a_failed_sync_leaves_nothing(tmp_path, monkeypatch):
    def fail(folder):
        raise OSError(errno.ENOSPC, "late")

    monkeypatch.setattr("rgb2act_core.store.group_writer._sync_all", fail)
    with pytest.raises(UserError, match="the disk is full"):
        write(tmp_path / "g")
    assert names(tmp_path) == []


def test_each_file_is_synced_where_syncfs_is_missing(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("rgb2act_core.store.group_writer.ctypes.CDLL", lambda *_, **__: object())
    monkeypatch.setattr("rgb2act_core.store.group_writer._sync", synced.append)
    monkeypatch.setattr("rgb2act_core.store.group_writer.sync_folder", synced.append)
    write(tmp_path / "g")
    names_synced = {path.name for path in synced}
    assert {
        "zarr.json",
        "c.0.0.0.0",
        "c.0",
        "tokens",
        "state",
        "height",
        tmp_path.name,
    } <= names_synced
