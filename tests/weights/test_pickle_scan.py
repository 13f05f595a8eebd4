"""Pickles that would exhaust memory, time or the stack are refused before they are read."""

from __future__ import annotations

import argparse
import collections
import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from rgb2act_core import UserError
from rgb2act_core.weights import pickle_scan, read_checkpoint
from rgb2act_core.weights.pickle_scan import check_pickle

START = b"\x80\x02}"  # protocol 2, a dictionary
KEY = START + b"X\x01\0\0\0a"  # and a key of it
END = b"K\1s."  # the value of a key, and the end
BYTES, NEWER_BYTES = b"c__builtin__\nbytearray\n", b"cbuiltins\nbytearray\n"
ENCODE = b"c_codecs\nencode\n"
DTYPE = b"cnumpy\ndtype\n"
SET = b"c__builtin__\nset\n"
FLOATS = b"ctorch\nFloatTensor\n"
LONGS = b"ctorch\nLongTensor\n"
LARGE = b"J" + struct.pack("<i", 2**31 - 1)
MANY, TOO_MANY = "tuples that contain too many", "hashes or copies more than"


def doubled(times: int) -> bytes:
    """Return a tuple of the same tuple twice, and so on."""
    return b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(times))


def longs() -> bytes:
    """Return keys that all have the same hash."""
    keys = (k * (2**61 - 1) for k in range(1, 2000))
    return b"".join(b"\x8a\x0f%bK\1s" % key.to_bytes(15, "little") for key in keys)


HOSTILE = {
    "nested key": (START + b")" + b"\x85" * 300_000 + END, MANY),
    "nested value": (KEY + b")" + b"\x85" * 5000 + b"s.", MANY),
    "nested by marks": (START + b"(" * 300 + b")" + b"t" * 300 + END, MANY),
    "nested by reference": (
        START + b")" + b"".join(b"q%c0h%c\x85" % (i % 250, i % 250) for i in range(300)) + END,
        MANY,
    ),
    "nested between additions of nothing": (START + b")" + b"\x85(e" * 300_000 + END, MANY),
    "nested between states": (START + b")" + b"\x85Nb" * 300_000 + END, MANY),
    "doubled key": (START + doubled(60) + END, MANY),
    "doubled encoding": (KEY + ENCODE + b"X\1\0\0\0a" + doubled(60) + b"\x86Rs.", MANY),
    "doubled list as a key of a storage": (
        KEY
        + b"(X\7\0\0\0storagectorch\nFloatStorage\n]"
        + b"".join(b"q%c0](h%ch%ce" % (i, i, i) for i in range(60))
        + b"X\3\0\0\0cpuK\1tQs.",
        "a storage of an unknown type",
    ),
    "large number of an object": (START + b"r" + struct.pack("<I", 200_000_000) + b".", "numbers"),
    "the same in text": (START + b"p2000000000\n.", "numbers an object 2,000,000,000"),
    "array of zeros": (KEY + BYTES + LARGE + b"\x85Rs.", "an array of bytes made of int"),
    "array of zeros, Python 3": (
        KEY + NEWER_BYTES + LARGE + b"\x85Rs.",
        "an array of bytes made of int",
    ),
    "unknown function of torch": (
        KEY + b"ctorch._utils\n_rebuild_all\n" + LARGE + b"\x85Rs.",
        "would run 'torch._utils._rebuild_all', which no weights need",
    ),
    "array as long as a tensor says": (
        KEY + BYTES + LONGS + b"]" + LARGE + b"a\x85R\x85Rs.",
        "would run 'torch.LongTensor'",
    ),
    "set of a tensor": (KEY + SET + FLOATS + LARGE + b"\x85R\x85Rs.", "'torch.FloatTensor'"),
    "copies of a list": (
        KEY + b"](" + b"N" * 10_000 + b"eq\1" + (SET + b"h\1\x85R0") * 2000 + b"s.",
        TOO_MANY,
    ),
    "copies of a text": (
        KEY
        + b"X"
        + struct.pack("<I", 10**5)
        + b"a" * 10**5
        + b"q\1"
        + (ENCODE + b"h\1X\6\0\0\0latin1\x86R0") * 2000
        + b"s.",
        TOO_MANY,
    ),
    "bytes that double": (KEY + ENCODE + b"X\1\0\0\0aX\3\0\0\0hex\x86Rs.", "as latin1"),
    "large number of NumPy": (KEY + DTYPE + b"X\x0b\0\0\0V2000000000\x85Rs.", "of NumPy"),
    "keys of one hash": (START + longs() + b".", "numbers of many bits"),
    "empty stack": (START + b"h\x05.", "is damaged at operation 2"),
}
READ = """
import json, resource, sys, time
from pathlib import Path
from rgb2act_core import UserError
from rgb2act_core.weights import read_checkpoint
import numpy, safetensors.torch, torch

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

for path in sorted(Path(sys.argv[1]).iterdir()):
    print(json.dumps(path.name), flush=True)  # names the one that ends the process
    message, before, start = "", peak(), time.process_time()
    try:
        read_checkpoint(path)
    except UserError as err:
        message = str(err)
    found = {"message": message, "grown": peak() - before, "took": time.process_time() - start}
    print(json.dumps(found), flush=True)
"""


def archived(content: bytes, path: Path, *more: tuple[str, bytes]) -> Path:
    """Write an archive of torch.save that has this pickle and no tensors."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("a/data.pkl", content), ("a/version", b"3\n"), *more):
            archive.writestr(name, data)
    return path


def legacy(content: bytes, path: Path) -> Path:
    """Write a file from before torch 1.6 that has this pickle and no tensors."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [0x1950A86A20F9469CFC6C, 1001, machine]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + content)
    return path


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Return what reading each file gives, in another process, which some could end."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (content, _) in HOSTILE.items():
        archived(content, folder / f"{name}.pth")
        legacy(content, folder / f"{name}.pt")
    legacy(pickle.dumps({}, 2) + HOSTILE["nested key"][0], folder / "names of storages.pt")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1]}: {done.returncode} {done.stderr}"
    return dict(zip(lines[::2], lines[1::2], strict=True))


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_would_exhaust_the_process_is_refused(read, name, suffix):
    found = read[f"{name}{suffix}"]
    assert HOSTILE[name][1] in found["message"]
    assert f"{name}{suffix}: " in found["message"]
    assert found["grown"] < 500  # MB


def test_the_pickle_with_the_names_of_storages_is_checked_too(read):
    assert MANY in read["names of storages.pt"]["message"]


def test_the_operations_of_a_pickle_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(pickle_scan, "OPERATIONS", 1000)
    path = archived(KEY + b"(" + b"N0" * 600 + b"ls.", tmp_path / "a.pth")
    with pytest.raises(UserError, match="its pickle has more than 1,000 operations"):
        read_checkpoint(path)


def test_the_bytes_of_a_pickle_are_limited_in_files_from_before_torch_1_6(tmp_path, monkeypatch):
    monkeypatch.setattr(pickle_scan, "PICKLE_LIMIT", 1000)
    path = legacy(KEY + b"(" + b"N0" * 600 + b"ls.", tmp_path / "a.pth")
    with pytest.raises(UserError, match="its pickle has more than 1,000 bytes"):
        read_checkpoint(path)


@pytest.mark.parametrize("other", ["a/data.pkl", "a/DATA.PKL"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_pickles_is_refused(tmp_path, other):
    path = archived(START + b".", tmp_path / "a.pth", (other, HOSTILE["nested key"][0]))
    with pytest.raises(UserError, match=r"two parts are named 'a/data\.pkl'"):
        read_checkpoint(path)


def test_a_large_part_that_is_no_storage_is_refused(tmp_path):
    path = archived(START + b".", tmp_path / "a.pth", ("a/byteorder", bytes(2 << 20)))
    with pytest.raises(UserError, match=r"its part 'a/byteorder' has 2,097,152 bytes"):
        read_checkpoint(path)


def test_code_in_a_plain_pickle_is_named(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match=r"would run 'posix\.system', which no weights need"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_plain_pickle_is_called_one(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"a pickle that torch\.save did not write"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(("cut", "part"), [(slice(0, -30), "end"), (slice(3, None), "start")])
def test_an_archive_without_its_start_or_end_is_told(tmp_path, cut, part):
    path = archived(START + b".", tmp_path / "a.pth")
    path.write_bytes(path.read_bytes()[cut])
    with pytest.raises(UserError, match=f"a zip archive whose {part} is missing"):
        read_checkpoint(path)


@pytest.mark.parametrize("protocol", range(6))
def test_ordinary_pickles_pass(protocol):
    content = {
        "epoch": 3,
        ("a", ("b", 1)): [1.5, {2, 3}, frozenset("ab"), None, True, 2**80, b"abc", bytearray(b"x")],
        "args": [(i, str(i)) for i in range(3000)],
    }
    stream = io.BytesIO(pickle.dumps(content, protocol) + b"what follows")
    check_pickle(stream)
    assert stream.read() == b"what follows"


@pytest.mark.parametrize("modern", [True, False])
def test_what_training_scripts_save_is_read(tmp_path, modern):
    weight = torch.arange(6.0).view(2, 3)
    content = {
        "model": collections.OrderedDict(a=torch.nn.Parameter(weight), b=weight.T, c=weight.half()),
        "rng": (3, tuple(range(625)), None),
        "args": argparse.Namespace(lr=0.1, size=torch.Size([2, 3]), dtype=torch.float16),
        "best": [np.float64(0.5), np.int32(3), np.bool_(True)],
        "seen": {1, 2, 3},
        "counts": collections.Counter("abca"),
        "raw": bytearray(b"abc"),
        "losses": [float(i) for i in range(10_000)],
    }
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=modern)
    found = read_checkpoint(path)
    assert torch.equal(found["model"]["b"], weight.T)
    assert (found["args"].size, found["raw"], found["seen"]) == ((2, 3), b"abc", {1, 2, 3})
    assert (found["best"], found["counts"]["a"]) == ([0.5, 3, True], 2)
