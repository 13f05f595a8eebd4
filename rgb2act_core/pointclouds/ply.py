"""Strict reader of PLY point clouds in ascii and in both binary byte orders.

A file that is truncated, malformed or longer than its header states raises UserError with the
line or byte. Time and memory are bounded by the size of the file, whatever its header claims.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, did_you_mean
from ..system.input_files import check_memory, read_regular

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
COLOURS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
SHORT_COLOURS = ("r", "g", "b")  # colours only if a vertex has all three
HEADER = 1 << 16  # maximal bytes of a header
LINES = 1000  # maximal lines of a header
PER_BYTE = 40  # bytes of memory for each byte of an ascii file

Columns = dict[str, NDArray[Any]]


@attrs.frozen
class Property:
    """Name and numpy type of a property; for a list, also the type of its length."""

    name: str
    kind: str
    length: str | None = None


@attrs.frozen
class Element:
    """Name, number of rows and properties of an element."""

    name: str
    rows: int
    properties: list[Property]


@attrs.frozen
class Header:
    """A parsed header."""

    order: str  # of bytes: "<", ">", or "" for ascii
    elements: list[Element]
    lines: int
    end: int  # offset of the data in bytes


def read_vertices(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return positions (P, 3) and colours (P, 3) or None, in the dtypes of the file.

    Raises UserError with the line or byte if the file is damaged.
    """
    try:
        data = read_regular(path)
    except OSError as err:
        raise UserError(f"{path}: cannot be read ({err.strerror})") from err
    header = read_header(data, path)
    columns = (_binary if header.order else _ascii)(data, header, path)
    names = _colour_names(columns)
    colours = None if not names else np.stack([columns[name] for name in names], axis=1)
    return np.stack([columns[name] for name in "xyz"], axis=1), colours


def read_header(data: bytes, path: Path) -> Header:
    """Parse the header; UserError names the line of a fault."""
    lines = _header_lines(data, path)
    if lines[0][0] != "ply":
        raise _bad(path, 1, f"starts with {lines[0][0]!r:.40}; PLY files start with 'ply'")
    order: str | None = None
    elements: list[Element] = []
    for number, (line, _) in enumerate(lines[1:-1], 2):
        words = line.split()
        match words:
            case ["comment" | "obj_info", *_]:
                pass
            case ["format", kind, "1.0"] if kind in FORMATS and order is None:
                order = FORMATS[kind]
            case ["element", name, count] if count.isdecimal() and len(count) < 19:
                elements.append(Element(name, int(count), []))
            case ["property", *rest] if elements:
                elements[-1].properties.append(_property(rest, path, number))
            case _:
                raise _bad(path, number, f"{line!r:.60} is not valid here")
        if order is None and number > 1 and words[:1] not in (["comment"], ["obj_info"]):
            raise _bad(path, number, "the format line is missing; it must follow 'ply'")
    header = Header(order or "", elements, len(lines), lines[-1][1])
    if order is None:
        raise _bad(path, header.lines, "the format line is missing; it must follow 'ply'")
    _check_elements(header, path)
    return header


def _header_lines(data: bytes, path: Path) -> list[tuple[str, int]]:
    """Return the lines up to ``end_header``, each with the offset of the next line."""
    lines: list[tuple[str, int]] = []
    at = 0
    while len(lines) < LINES:
        end = data.find(b"\n", at, HEADER)
        if end < 0:
            break
        raw = data[at:end].removesuffix(b"\r")
        at = end + 1
        try:
            lines.append((raw.decode("ascii" if not raw.startswith(b"comment") else "latin1"), at))
        except UnicodeDecodeError:
            raise _bad(path, len(lines) + 1, f"{raw!r:.60} is not text") from None
        if lines[0][0] != "ply" or lines[-1][0].rstrip() == "end_header":
            return lines
    if data[:3] != b"ply":
        raise _bad(path, 1, f"starts with {data[:8]!r}; PLY files start with 'ply'")
    raise _bad(path, len(lines) + 1, "the header has no end; 'end_header' is missing")


def _property(words: list[str], path: Path, number: int) -> Property:
    for word in words[:-1]:
        if word not in TYPES and word != "list":
            raise _bad(path, number, f"{word!r:.40} is not a type{did_you_mean(word, TYPES)}")
    match words:
        case ["list", length, kind, name] if length != "list" and kind != "list":
            if TYPES[length][0] == "f":
                raise _bad(path, number, f"the length of a list cannot be {length!r}")
            return Property(name, TYPES[kind], TYPES[length])
        case [kind, name] if kind != "list":
            return Property(name, TYPES[kind])
    raise _bad(path, number, f"'property {' '.join(words)}' is malformed")


def _check_elements(header: Header, path: Path) -> None:
    names = [element.name for element in header.elements]
    for element in header.elements:
        fields = [prop.name for prop in element.properties]
        if names.count(element.name) > 1 or len(set(fields)) < len(fields):
            raise _bad(
                path,
                header.lines,
                f"element {element.name!r:.40} is not unique or has a property twice",
            )
    if "vertex" not in names:
        raise _bad(path, header.lines, "element 'vertex' is missing")
    vertex = header.elements[names.index("vertex")]
    fields = [prop.name for prop in vertex.properties]
    if any(prop.length for prop in vertex.properties):
        raise _bad(path, header.lines, "vertices have a list property; only scalars are supported")
    colours = _colour_names(fields)
    if missing := [name for name in ("x", "y", "z", *colours) if name not in fields]:
        raise _bad(path, header.lines, f"element 'vertex' lacks {', '.join(missing)}")
    if len({prop.kind for prop in vertex.properties if prop.name in colours}) > 1:
        raise _bad(path, header.lines, "red, green and blue have different types")


def _colour_names(fields: Collection[str]) -> tuple[str, ...]:
    """Return the names of the colours, of which some may be missing; empty if there are none."""
    named = next((three for three in COLOURS if set(three) & set(fields)), ())
    return named or (SHORT_COLOURS if set(SHORT_COLOURS) <= set(fields) else ())


def _binary(data: bytes, header: Header, path: Path) -> Columns:
    at, found = header.end, {}
    for element in header.elements:
        if any(prop.length for prop in element.properties):
            at = _skip_lists(data, at, element, header.order, path)
            continue
        kind = np.dtype([(prop.name, header.order + prop.kind) for prop in element.properties])
        end = at + element.rows * kind.itemsize
        if end > len(data):
            raise _short(path, data, at, element)
        if element.name == "vertex":
            rows = np.frombuffer(data, kind, element.rows, at)
            found = {prop.name: rows[prop.name].astype(prop.kind) for prop in element.properties}
        at = end
    if at < len(data):
        raise UserError(f"{path}: byte {at}: {len(data) - at} bytes follow the last element")
    return found


def _skip_lists(data: bytes, at: int, element: Element, order: str, path: Path) -> int:
    """Return the offset of the end of an element with lists, following all their lengths."""
    least = sum(int((prop.length or prop.kind)[1]) for prop in element.properties)
    if element.rows * least > len(data) - at:
        raise _short(path, data, at, element)
    for _ in range(element.rows):
        for prop in element.properties:
            size = int(prop.kind[1])
            if prop.length is not None:
                wide = int(prop.length[1])
                raw = data[at : at + wide]
                length = int.from_bytes(
                    raw, "little" if order == "<" else "big", signed=prop.length[0] == "i"
                )
                if length < 0:
                    raise UserError(
                        f"{path}: byte {at}: a list in {element.name!r} has length {length}"
                    )
                at, size = at + wide, length * size
            at += size
            if at > len(data):
                raise _short(path, data, at, element)
    return at


def _short(path: Path, data: bytes, at: int, element: Element) -> UserError:
    return UserError(
        f"{path}: byte {len(data)}: the file is truncated within the {element.rows} rows of"
        f" {element.name!r:.40} (read up to byte {min(at, len(data))})"
    )


def _ascii(data: bytes, header: Header, path: Path) -> Columns:
    check_memory(path, PER_BYTE * (len(data) - header.end))
    lines = data[header.end :].split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    at, found = 0, {}
    for element in header.elements:
        if not element.properties:
            continue
        if at + element.rows > len(lines):
            last = header.lines + len(lines)
            raise _bad(
                path, last, f"the file is truncated by {at + element.rows - len(lines)} rows"
            )
        rows = lines[at : at + element.rows]
        first = header.lines + at + 1
        if element.name == "vertex":
            found = _table(rows, element, first, path)
        else:
            _check_rows(rows, element, first, path)
        at += element.rows
    if at < len(lines):
        raise _bad(path, header.lines + at + 1, "data follows the last element")
    return found


def _table(rows: list[bytes], element: Element, first: int, path: Path) -> Columns:
    """Return the columns of an element without lists."""
    width = len(element.properties)
    words = [row.split() for row in rows]
    for number, row in enumerate(words, first):
        if len(row) != width:
            raise _bad(path, number, f"has {len(row)} values instead of {width}")
    columns: Columns = {}
    for i, prop in enumerate(element.properties):
        column = [row[i] for row in words]
        columns[prop.name] = _numbers(column, prop, first, path)
    return columns


def _numbers(words: list[bytes], prop: Property, first: int, path: Path) -> NDArray[Any]:
    """Parse the words of a column into the property's dtype."""
    kind = np.dtype(prop.kind)
    values = list(_floats(words, prop, first, path))
    array = np.array(values, np.float64)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(kind)
    limits = np.iinfo(kind)
    bad = ~((array == np.floor(array)) & (array >= limits.min) & (array <= limits.max))
    if bad.any():
        row = int(bad.argmax())
        raise _bad(
            path, first + row, f"{prop.name} is {_show(words[row])}, not a valid {kind.name}"
        )
    return array.astype(kind)


def _floats(words: list[bytes], prop: Property, first: int, path: Path) -> Iterator[float]:
    for number, word in enumerate(words, first):
        try:
            if b"_" in word:  # Python accepts 1_000
                raise ValueError
            yield float(word)
        except ValueError:
            raise _bad(path, number, f"{prop.name} is {_show(word)}, not a number") from None


def _check_rows(rows: list[bytes], element: Element, first: int, path: Path) -> None:
    """Check the number of values in each row of an element, which may have lists."""
    for number, row in enumerate(rows, first):
        words = row.split()
        at = 0
        for prop in element.properties:
            if prop.length is None:
                at += 1
                continue
            length = words[at] if at < len(words) else b""
            if not length.isdigit() or len(length) > 9:
                raise _bad(
                    path, number, f"{_show(length)} is not a valid length of list {prop.name!r:.40}"
                )
            at += 1 + int(length)
        if at != len(words):
            raise _bad(path, number, f"has {len(words)} values instead of {at}")


def _show(word: bytes) -> str:
    return repr(word.decode("latin1"))[:40]


def _bad(path: Path, line: int, what: str) -> UserError:
    return UserError(f"{path}:{line}: {what}")
