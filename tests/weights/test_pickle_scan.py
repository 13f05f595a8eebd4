"""Pickles that would exhaust memory or the stack are refused before they are read."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rgb2act_core import UserError
from rgb2act_core.weights import read_checkpoint
from rgb2act_core.weights.pickle_scan import check_pickle

START = b"\x80\x02}"  # protocol 2, a dictionary
KEY = b"X\x01\0\0\0a"
BYTES = b"c__builtin__\nbytearray\n"
ENCODE = b"c_codecs\nencode\n"
DTYPE = b"cnumpy\ndtype\n"
HOSTILE = {
    "a key of nested tuples": (START + b")" + b"\x85" * 300_000 + b"K\x01s.", "100 tuples that"),
    "a value of nested tuples": (START + KEY + b")" + b"\x85" * 5000 + b"s.", "100 tuples that"),
    "tuples nested by reference": (
        START + b")" + b"".join(b"q%c0h%c\x85" % (i % 250, i % 250) for i in range(300)) + b"K\1s.",
        "100 tuples that",
    ),
    "tuples around marks": (START + b"(" * 300 + b")" + b"t" * 300 + b"K\1s.", "100 tuples that"),
    "a large number of an object": (
        START + b"r" + struct.pack("<I", 200_000_000) + b".",
        "numbers an object 200,000,000",
    ),
    "the same in text": (START + b"p2000000000\n.", "numbers an object 2,000,000,000"),
    "an array of zeros": (
        START + KEY + BYTES + b"J" + struct.pack("<i", 2**31 - 1) + b"\x85Rs.",
        "an array of bytes without values",
    ),
    "bytes that double": (
        START + KEY + ENCODE + b"X\x04\0\0\0aaaaX\x03\0\0\0hex\x86Rs.",
        "bytes in the encoding 'hex'",
    ),
    "a large number of NumPy": (
        START + KEY + DTYPE + b"X\x0b\0\0\0V2000000000\x85Rs.",
        "numbers of the type 'V2000000000'",
    ),
    "a stack that is empty": (START + b"h\x05.", "is damaged at operation 2"),
}
READ = """
import resource, sys
from pathlib import Path
from rgb2act_core import UserError
from rgb2act_core.weights import read_checkpoint
import torch, safetensors.torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_checkpoint(Path(sys.argv[1]))
except UserError as err:
    print(err)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def archived(content: bytes, path: Path) -> Path:
    """Write an archive of torch.save that has this pickle and no tensors."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
    return path


def legacy(content: bytes, path: Path) -> Path:
    """Write a file from before torch 1.6 that has this pickle and no tensors."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [0x1950A86A20F9469CFC6C, 1001, machine]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + content)
    return path


@pytest.mark.parametrize("write", [archived, legacy])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_would_exhaust_the_process_is_refused(tmp_path, write, name):
    content, problem = HOSTILE[name]
    with pytest.raises(UserError, match=problem) as refused:
        read_checkpoint(write(content, tmp_path / "a.pth"))
    assert str(refused.value).startswith(f"{tmp_path / 'a.pth'}: is damaged or not a checkpoint")


@pytest.mark.parametrize("name", ["a key of nested tuples", "a large number of an object"])
def test_refusing_takes_little_memory_and_ends_no_process(tmp_path, name):
    path = archived(HOSTILE[name][0], tmp_path / "a.pth")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *message, grown = done.stdout.splitlines()
    assert "is damaged or not a checkpoint" in message[0]
    assert int(grown) < 200  # MB


def test_the_pickle_with_the_names_of_storages_is_checked_too(tmp_path):
    path = legacy(pickle.dumps({}, 2) + HOSTILE["a key of nested tuples"][0], tmp_path / "a.pth")
    with pytest.raises(UserError, match="100 tuples that"):
        read_checkpoint(path)


def test_a_plain_pickle_is_told_with_what_it_contains(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match=r"torch\.save did not write, with posix\.system"):
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
