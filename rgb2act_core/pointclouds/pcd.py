"""Strict reader of PCD point clouds: ascii, binary and binary_compressed.

A file that is truncated, malformed or longer than its header states raises UserError. Time and
memory are bounded by the size of the file, whatever its header claims. Format:
https://pointclouds.org/documentation/tutorials/pcd_file_format.html

Shapes: P = points
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..system.input_files import check_memory, read_regular
from . import lzf

KINDS = ("ascii", "binary", "binary_compressed")
TYPES = {f"{kind}{size}" for kind in "IU" for size in (1, 2, 4, 8)} | {"F4", "F8"}
NUMPY = {"F": "f", "I": "i", "U": "u"}
COLOURS = (("r", "g", "b"), ("red", "green", "blue"))
PACKED = ("rgb", "rgba")  # one field of 32 bits: 0xAARRGGBB, also where its type is float
HEADER = 1 << 16  # maximal bytes of a header
FIELDS = 1000  # maximal number of fields
WIDEST = 1 << 20  # maximal bytes of one point
PER_WORD = 40  # bytes of memory for a word of an ascii file
Columns = dict[str, NDArray[Any]]


@attrs.frozen
class Field:
    """Name, numpy type and number of values of a field."""

    name: str
    kind: str
    count: int


@attrs.frozen
class Header:
    """A parsed header."""

    fields: list[Field]
    points: int
    kind: str  # one of KINDS
    end: int  # offset of the data in bytes
    lines: int

    @property
    def width(self) -> int:
        """The number of values of a point."""
        return sum(field.count for field in self.fields)

    @property
    def row(self) -> np.dtype[Any]:
        """The type of one point; fields that are not unique, such as padding, get a number."""
        return np.dtype(
            [(f"{i}", f.kind, (f.count,)) for i, f in enumerate(self.fields)]  # always (P, count)
        )

    def columns(self, values: list[NDArray[Any]]) -> Columns:
        """Return the fields of one value by name, given the values (P, count) of each field."""
        pairs = zip(self.fields, values, strict=True)
        return {f.name: value[:, 0] for f, value in pairs if f.count == 1}


def read_points(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return positions (P, 3) and colours (P, 3) or None.

    Raises UserError if the file is damaged.
    """
    try:
        data = read_regular(path)
    except OSError as err:
        raise UserError(f"{path}: cannot be read ({err.strerror})") from err
    header = read_header(data, path)
    read = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}[header.kind]
    columns = header.columns(read(data, header, path))
    if missing := [name for name in "xyz" if name not in columns]:
        raise UserError(f"{path}: has no field {', '.join(missing)}; export x, y and z")
    return np.stack([columns[name] for name in "xyz"], axis=1), _colours(columns)


def _colours(columns: Columns) -> NDArray[Any] | None:
    for name in PACKED:
        if name in columns and columns[name].dtype.itemsize == 4:
            bits = np.ascontiguousarray(columns[name]).view("<u4")
            return np.stack([(bits >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)], 1)
    names = next((three for three in COLOURS if set(three) <= set(columns)), None)
    return None if names is None else np.stack([columns[name] for name in names], axis=1)


def read_header(data: bytes, path: Path) -> Header:
    """Parse the header; UserError names the line of a fault."""
    found: dict[str, list[str]] = {}
    at = number = 0
    while "DATA" not in found:
        end = data.find(b"\n", at, HEADER)
        number += 1
        if end < 0:
            raise _bad(path, number, "the header has no end; a line 'DATA ...' is missing")
        line, at = data[at:end].decode("latin1").strip(), end + 1
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0] in found:
            raise _bad(path, number, f"{words[0]!r:.40} is repeated")
        found[words[0]] = words[1:]
    if "FIELDS" not in found:
        raise _bad(path, number, "the line FIELDS is missing, so it is not a PCD file")
    points = _points(found, path)
    kind = " ".join(found["DATA"])
    if kind not in KINDS:
        raise _bad(path, number, f"DATA is {kind!r:.40}, expected {', '.join(KINDS)}")
    return Header(_fields(found, path), points, kind, at, number)


def _points(found: dict[str, list[str]], path: Path) -> int:
    counts = []
    for name in ("WIDTH", "HEIGHT", "POINTS"):
        words = found.get(name)
        if words is None:
            continue
        if len(words) != 1 or not words[0].isdecimal() or len(words[0]) > 18:
            raise UserError(f"{path}: {name} is {' '.join(words)!r:.40}, not a number of points")
        counts.append(int(words[0]))
    if "POINTS" not in found and len(counts) < 2:
        raise UserError(f"{path}: the line POINTS is missing; export the cloud again")
    if len(counts) == 3 and counts[0] * counts[1] != counts[2]:
        raise UserError(f"{path}: WIDTH {counts[0]} x HEIGHT {counts[1]} is not POINTS {counts[2]}")
    return counts[-1] if "POINTS" in found else counts[0] * counts[1]


def _fields(found: dict[str, list[str]], path: Path) -> list[Field]:
    names = found["FIELDS"]
    columns = [found.get("TYPE", []), found.get("SIZE", []), found.get("COUNT", ["1"] * len(names))]
    if not 0 < len(names) <= FIELDS or any(len(column) != len(names) for column in columns):
        raise UserError(f"{path}: FIELDS, SIZE, TYPE and COUNT have different lengths")
    fields = []
    for name, kind, size, count in zip(names, *columns, strict=True):
        if f"{kind}{size}" not in TYPES:
            raise UserError(f"{path}: field {name!r:.40} has TYPE {kind!r:.9} and SIZE {size!r:.9}")
        if not count.isdecimal() or not 0 < len(count) < 8:
            raise UserError(f"{path}: field {name!r:.40} has COUNT {count!r:.40}")
        fields.append(Field(name, f"<{NUMPY[kind]}{size}", int(count)))
    if sum(field.count * int(field.kind[2]) for field in fields) > WIDEST:
        raise UserError(f"{path}: one point has more than {WIDEST} bytes; check COUNT")
    known = [field.name for field in fields if field.name != "_"]
    if len(set(known)) < len(known):
        raise UserError(f"{path}: FIELDS names a field twice")
    return fields


def _binary(data: bytes, header: Header, path: Path) -> list[NDArray[Any]]:
    needed = header.points * header.row.itemsize
    _check_size(path, len(data) - header.end, needed, header.points)
    rows = np.frombuffer(data, header.row, header.points, header.end)
    return [rows[name] for name in header.row.names or ()]


def _compressed(data: bytes, header: Header, path: Path) -> list[NDArray[Any]]:
    """Return the fields of data that is stored field by field and compressed with LZF."""
    sizes = data[header.end : header.end + 8]
    packed, unpacked = (int.from_bytes(part, "little") for part in (sizes[:4], sizes[4:]))
    body = data[header.end + 8 :]
    _check_size(path, len(body), packed, header.points)
    if unpacked != header.points * header.row.itemsize or unpacked > lzf.LARGEST_RATIO * packed:
        raise UserError(
            f"{path}: {packed} compressed bytes for {header.points} points of"
            f" {header.row.itemsize} bytes; the file is damaged"
        )
    check_memory(path, 2 * unpacked)
    try:
        plain = lzf.decompress(body, unpacked)
    except ValueError as err:
        raise UserError(f"{path}: {err}; the file is damaged") from None
    values, at = [], 0
    for field in header.fields:
        count = header.points * field.count
        array = np.frombuffer(plain, field.kind, count, at)
        values.append(array.reshape(header.points, field.count))
        at += array.nbytes
    return values


def _check_size(path: Path, found: int, needed: int, points: int) -> None:
    if found != needed:
        fault = "the file is truncated" if found < needed else f"{found - needed} bytes follow"
        raise UserError(f"{path}: has {found} bytes of data for {points} points, {fault}")


def _ascii(data: bytes, header: Header, path: Path) -> list[NDArray[Any]]:
    check_memory(path, PER_WORD * (len(data) - header.end))
    rows = data[header.end :].rstrip().split(b"\n") if header.points else []
    first = header.lines + 1
    if len(rows) != header.points:
        last = first + min(len(rows), header.points)
        raise _bad(path, last, f"has {len(rows)} points instead of {header.points}")
    values = np.empty((header.points, header.width), np.float64)
    for i, row in enumerate(rows):
        words = row.split()
        if len(words) != header.width:
            raise _bad(path, first + i, f"has {len(words)} values instead of {header.width}")
        try:
            values[i] = [float(word) for word in words]
        except ValueError:
            raise _bad(path, first + i, f"{row!r:.60} has a value that is not a number") from None
    return _typed(values, header, path)


def _typed(values: NDArray[np.float64], header: Header, path: Path) -> list[NDArray[Any]]:
    """Return the values of each field in its type."""
    found, at = [], 0
    for field in header.fields:
        part, kind = values[:, at : at + field.count], np.dtype(field.kind)
        at += field.count
        if kind.kind != "f":
            limits = np.iinfo(kind)
            if not ((part == np.floor(part)) & (part >= limits.min) & (part <= limits.max)).all():
                raise UserError(f"{path}: field {field.name!r:.40} has a value that is not {kind}")
        with np.errstate(over="ignore", invalid="ignore"):
            found.append(part.astype(kind))
    return found


def _bad(path: Path, line: int, what: str) -> UserError:
    return UserError(f"{path}:{line}: {what}; the file is truncated or damaged")
