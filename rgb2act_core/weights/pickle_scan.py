"""Check the operations of a pickle before it is read, without building an object.

Unpicklers allocate and recurse as a pickle asks, partly in C. A file of a few hundred bytes can
take gigabytes for the numbers by which objects are referred to, end the process when a tuple of
tuples is hashed, or take for ever when a tuple contains the same one twice, again and again. The
scan counts what reading the pickle would take, and refuses what no checkpoint needs.
"""

from __future__ import annotations

import pickletools
from typing import IO, Any

import attrs

PICKLE_LIMIT = 64 << 20  # bytes; a pickle without its tensors has a few MB
OPERATIONS = 4_000_000  # a checkpoint has some 20 for each tensor
WORK = 10_000_000  # values that are hashed or copied
LARGEST_TUPLE = 100_000  # values in a tuple, and in those that it contains
DEEPEST = 100  # tuples that contain each other
LONG_NUMBERS = 1000  # of more than 64 bits; many of them can have the same hash
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_ADDS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS")  # to the first object they take
_CALLS = ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "BUILD")


@attrs.define
class _Object:
    """What is known of an object on the stack."""

    values: int = 1  # in a tuple and those that it contains, each time that it contains them
    depth: int = 0  # of tuples
    content: int = 0  # values of a container, or characters of a text


_MARK = _Object()  # on the stack, below the items of a container


def check_pickle(stream: IO[bytes]) -> None:
    """Read one pickle from a stream. Raises ValueError if it should not be unpickled."""
    scan = _Scan()
    argument: Any
    start = stream.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > OPERATIONS:
            raise ValueError(f"its pickle has more than {OPERATIONS:,} operations")
        if stream.tell() - start > PICKLE_LIMIT:
            raise ValueError(f"its pickle has more than {PICKLE_LIMIT:,} bytes")
        try:
            scan.follow(opcode, argument, count)
        except (IndexError, KeyError) as err:
            raise ValueError(f"its pickle is damaged at operation {count:,}") from err


class _Scan:
    """The stack of an unpickler, with the size of each object in place of the object."""

    def __init__(self) -> None:
        self.stack: list[_Object] = []
        self.memo: dict[int, _Object] = {}
        self.work = self.long_numbers = 0

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any, count: int) -> None:
        """Follow one operation. Raises ValueError, or IndexError or KeyError if it is damaged."""
        name = opcode.name
        if name in _PUTS:
            if not 0 <= argument <= count:
                raise ValueError(f"its pickle numbers an object {argument:,}")
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self.memo[argument])
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "MARK":
            self.stack.append(_MARK)
        else:
            self._apply(opcode, argument)

    def _apply(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """Replace what an operation takes from the stack by what it returns."""
        first, others = self._take(opcode)
        values, content = sum(o.values for o in others), sum(o.content for o in others)
        if opcode.name in _TUPLES:
            depth = 1 + max((o.depth for o in others), default=0)
            if depth > DEEPEST or values > LARGEST_TUPLE:
                raise ValueError("its pickle has tuples that contain too many others")
            result = _Object(values=1 + values, depth=depth, content=content)
        elif opcode.name in _ADDS and first is not None:
            self._count(values)
            first.content += values
            result = first
        elif opcode.name in _CALLS:
            self._count(values + content)
            result = first if opcode.name == "BUILD" and first else _Object(content=content)
        else:
            self._count(values)
            result = _Object(content=values + self._length(argument))
        self.stack += [result] * len(opcode.stack_after)

    def _take(self, opcode: pickletools.OpcodeInfo) -> tuple[_Object | None, list[_Object]]:
        """Take an operation's objects: the first one, if it changes that, and the others."""
        below, items = list(opcode.stack_before), list[_Object]()
        if pickletools.markobject in below:
            del below[below.index(pickletools.markobject) :]
            while (item := self.stack.pop()) is not _MARK:
                items.append(item)
        items += [self.stack.pop() for _ in below]
        changes = opcode.name in (*_ADDS, "BUILD") and items
        return (items[-1], items[:-1]) if changes else (None, items)

    def _length(self, argument: Any) -> int:
        """Return the characters of a text or of bytes, and count long numbers."""
        if isinstance(argument, int) and argument.bit_length() > 64:
            self.long_numbers += 1
            if self.long_numbers > LONG_NUMBERS:
                raise ValueError(f"its pickle has more than {LONG_NUMBERS:,} numbers of many bits")
        return len(argument) if isinstance(argument, str | bytes | bytearray) else 0

    def _count(self, work: int) -> None:
        self.work += work
        if self.work > WORK:
            raise ValueError(f"its pickle hashes or copies more than {WORK:,} values")
