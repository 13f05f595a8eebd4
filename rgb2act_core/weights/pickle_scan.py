"""Check the operations of a pickle before it is read, without building an object.

Unpicklers allocate and recurse as a pickle asks, in C: a file of a few hundred bytes can take
gigabytes for the numbers by which objects are referred to, and tuples that contain each other end
the process when the outermost one is hashed.
"""

from __future__ import annotations

import pickletools
from typing import IO, Any

PICKLE_LIMIT = 64 << 20  # bytes; a pickle without its tensors has a few MB
DEEPEST = 100  # tuples that contain each other
_MARK = -1  # on the stack, below the items of a container
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")


def check_pickle(stream: IO[bytes]) -> None:
    """Read one pickle from a stream. Raises ValueError if it should not be unpickled."""
    start, count = stream.tell(), 0
    depths: list[int] = []  # of the objects on the stack: tuples around each other
    memo: dict[int, int] = {}
    try:
        argument: Any
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            if (position or 0) - start > PICKLE_LIMIT:
                raise ValueError(f"its pickle has more than {PICKLE_LIMIT:,} bytes")
            if opcode.name in _PUTS:
                if not 0 <= argument <= count:
                    raise ValueError(f"its pickle numbers an object {argument:,}")
                memo[argument] = depths[-1]
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = depths[-1]
            elif opcode.name in _GETS:
                depths.append(memo[argument])
            elif opcode.name == "DUP":
                depths.append(depths[-1])
            elif opcode.name == "MARK":
                depths.append(_MARK)
            else:
                _apply(opcode, depths)
    except (IndexError, KeyError) as err:
        raise ValueError(f"its pickle is damaged at operation {count:,}") from err


def _apply(opcode: pickletools.OpcodeInfo, depths: list[int]) -> None:
    """Replace what an operation takes from the stack by what it returns."""
    taken = list(opcode.stack_before)
    inner = [0]
    if pickletools.markobject in taken:
        del taken[taken.index(pickletools.markobject) :]
        while (depth := depths.pop()) != _MARK:
            inner.append(depth)
    inner += [depths.pop() for _ in taken]
    depth = 1 + max(inner) if opcode.name in _TUPLES else 0
    if depth > DEEPEST:
        raise ValueError(f"its pickle has more than {DEEPEST} tuples that contain each other")
    depths += [depth] * len(opcode.stack_after)
