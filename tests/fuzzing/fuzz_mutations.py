"""Mutations of files: of bytes anywhere, and of the numbers, words and sizes that formats have."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable

import attrs
from fuzz_structures import restructure
from hypothesis import strategies as st

# numbers at which sizes and counts overflow or exhaust memory
EDGES = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)
WORDS = (
    b"", b"-1", b"0", b"1e400", b"nan", b"inf", b"1000000000000000000", b"9" * 400, b"true", b"{}",
    b"[]", b'""', b"null", b"float64", b"|O", b"<U9", b"../../x", b"/dev/zero", b"/etc/passwd",
    b"[" * 5000, b"\x00",
)  # fmt: skip
WORD = re.compile(rb"[A-Za-z0-9_.+-]+")
LARGEST = 1 << 20  # bytes of a mutated file


@attrs.frozen
class Mutation:
    """One change of a file; ``at`` is a share of its length, ``n`` selects a variant."""

    kind: str
    at: float
    n: int

    def apply(self, data: bytes) -> bytes:
        """Return the changed content."""
        return MUTATIONS[self.kind](data, int(self.at * len(data)), self.n)[:LARGEST]


def _flip(data: bytes, at: int, n: int) -> bytes:
    if not data:
        return data
    at = min(at, len(data) - 1)
    return data[:at] + bytes([data[at] ^ (1 << n % 8)]) + data[at + 1 :]


def _replace(data: bytes, at: int, n: int) -> bytes:
    return data[:at] + bytes([n % 256]) + data[at + 1 :]


def _truncate(data: bytes, at: int, n: int) -> bytes:
    return data[:at]


def _delete(data: bytes, at: int, n: int) -> bytes:
    return data[:at] + data[at + 1 + n % 64 :]


def _duplicate(data: bytes, at: int, n: int) -> bytes:
    part = data[at : at + 1 + n % 256]
    return data[:at] + part * (2 + n % 3) + data[at + len(part) :]


def _splice(data: bytes, at: int, n: int) -> bytes:
    """Copy a part of the file to another position."""
    start = n * 37 % max(len(data), 1)
    return data[:at] + data[start : start + 64] + data[at + 64 :]


def _append(data: bytes, at: int, n: int) -> bytes:
    return data + data[at : at + 1 + n % 512]


def _number(data: bytes, at: int, n: int) -> bytes:
    """Write an edge number over binary fields of 1 to 8 bytes in either byte order."""
    width, value = (1, 2, 4, 8)[n % 4], EDGES[n // 8 % len(EDGES)]
    order = "<>"[n // 4 % 2]
    code = {1: "B", 2: "H", 4: "I", 8: "Q"}[width]
    packed = struct.pack(order + code, value % (1 << 8 * width))
    return data[:at] + packed + data[at + width :]


def _word(data: bytes, at: int, n: int) -> bytes:
    """Replace the word at a position, such as a name, a number or a type in a text header."""
    found = WORD.search(data, at) or WORD.search(data)
    if found is None:
        return data
    return data[: found.start()] + WORDS[n % len(WORDS)] + data[found.end() :]


def _exchange(data: bytes, at: int, n: int) -> bytes:
    """Replace a word by another one of the file."""
    words = WORD.findall(data[:4096])
    found = WORD.search(data, at)
    if found is None or not words:
        return data
    return data[: found.start()] + words[n % len(words)] + data[found.end() :]


def _line(data: bytes, at: int, n: int) -> bytes:
    """Delete, repeat or move a line."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    index = data.count(b"\n", 0, at) % len(lines)
    line = lines.pop(index)
    if n % 3:
        lines[n % (len(lines) + 1) : n % (len(lines) + 1)] = [line] * (n % 3)
    return b"".join(lines)


def _structure(data: bytes, at: int, n: int) -> bytes:
    """Change one value of a file whose format is known."""
    pick = random.Random(n)
    kinds = [name for name in sorted(MUTATIONS) if name != "structure"]
    inner = Mutation(pick.choice(kinds), pick.random(), pick.getrandbits(16))
    return restructure(data, inner.apply, n)


MUTATIONS: dict[str, Callable[[bytes, int, int], bytes]] = {
    "flip": _flip,
    "replace": _replace,
    "truncate": _truncate,
    "delete": _delete,
    "duplicate": _duplicate,
    "splice": _splice,
    "append": _append,
    "number": _number,
    "word": _word,
    "exchange": _exchange,
    "line": _line,
    "structure": _structure,
}


def program(number: int) -> list[Mutation]:
    """Return one to three mutations that a number determines."""
    pick = random.Random(number)
    # headers come first in most files, and the directory of an archive last
    ranges = ((0.0, 1.0), (0.0, 0.15), (0.85, 0.999))
    return [
        Mutation(
            pick.choice(sorted(MUTATIONS)), pick.uniform(*pick.choice(ranges)), pick.getrandbits(16)
        )
        for _ in range(pick.choice((1, 1, 1, 2, 3)))
    ]


# positions that hypothesis chose itself would mostly be the first byte
numbers = st.integers(0, 2**64 - 1)
