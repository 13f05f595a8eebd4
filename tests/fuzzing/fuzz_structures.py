"""Mutations that keep a file's format: of one value in its tree, or of one member of an archive."""

from __future__ import annotations

import io
import json
import random
import struct
import tomllib
import zipfile
from collections.abc import Callable
from typing import Any

import msgpack
import tomli_w

EXTENSION = "__extension__"  # key that marks a map as a msgpack extension
Change = Callable[[bytes], bytes]
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 10**30, -(10**30),
    0.5, -1.0, 1e300, float("inf"), float("nan"), "", "x", "float32", "object", "../../x",
    "/dev/zero", "/", "0" * 400, "x" * 5000, [], {}, [None], [[]], {"a": 1}, {"use": "x"},
    [0] * 1000, ["train"], [2**40, 2**40], [-1, 4],
)  # fmt: skip


def restructure(data: bytes, change: Change, number: int) -> bytes:
    """Return the content with one part changed, or unchanged if its format is not known.

    ``change`` changes the bytes of a member of an archive.
    """
    pick = random.Random(number)
    for edit in (_zip, _safetensors, _json, _toml, _messages, _msgpack):
        try:
            changed = edit(data, change, pick)
        except Exception:  # not of this format, or the new value cannot be encoded
            continue
        return changed
    return data


def edited(tree: Any, pick: random.Random) -> Any:
    """Return a tree of maps and lists with one node replaced, removed or repeated."""
    nodes = list(_nodes(tree))
    if not nodes:
        return pick.choice(VALUES)
    parent, key = pick.choice(nodes)
    how = pick.random()
    if how < 0.15:
        del parent[key]
    elif how < 0.25:
        other, name = pick.choice(nodes)
        parent[key] = other[name]
    elif how < 0.3:
        parent[key] = _deep(pick.choice((50, 900)))
    elif how < 0.4 and isinstance(parent, dict):
        parent[str(pick.choice(VALUES))[:50]] = parent.pop(key)
    elif how < 0.6 and type(parent[key]) in (int, float):
        parent[key] = parent[key] * pick.choice((-1, 2, 1000, 10**9, 10**18))
    else:
        parent[key] = pick.choice(VALUES)
    return tree


def _nodes(tree: Any) -> Any:
    items: Any = ()
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    for key, value in items:
        yield tree, key
        yield from _nodes(value)


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _zip(data: bytes, change: Change, pick: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    chosen, how = pick.randrange(len(members)), pick.random()
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for i, (info, content) in enumerate(members):
            if i == chosen and how < 0.1:
                continue
            if i == chosen and how < 0.2:
                info.compress_type = zipfile.ZIP_DEFLATED
            if i == chosen and how < 0.25:
                content = content + bytes(1 << 20)
            elif i == chosen:
                content = change(content)
            archive.writestr(info, content)
    return output.getvalue()


def _safetensors(data: bytes, change: Change, pick: random.Random) -> bytes:
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    text = json.dumps(edited(header, pick)).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _json(data: bytes, change: Change, pick: random.Random) -> bytes:
    return json.dumps(edited(json.loads(data), pick)).encode()


def _toml(data: bytes, change: Change, pick: random.Random) -> bytes:
    return tomli_w.dumps(edited(tomllib.loads(data.decode()), pick)).encode()


def _messages(data: bytes, change: Change, pick: random.Random) -> bytes:
    """Change one of several messages, each after its length."""
    bodies = []
    while data:
        (size,) = struct.unpack(">I", data[:4])
        body, data = data[4 : 4 + size], data[4 + size :]
        if len(body) != size or not size:
            raise ValueError("incomplete")
        bodies.append(body)
    chosen = pick.randrange(len(bodies))
    bodies[chosen] = _msgpack(bodies[chosen], change, pick)
    return b"".join(struct.pack(">I", len(body)) + body for body in bodies)


def _msgpack(data: bytes, change: Change, pick: random.Random) -> bytes:
    tree = msgpack.unpackb(data, ext_hook=_extension, strict_map_key=False)
    return bytes(msgpack.packb(_encoded(edited(tree, pick))))


def _extension(code: int, content: bytes) -> Any:
    return {EXTENSION: [code, msgpack.unpackb(content)]}


def _encoded(tree: Any) -> Any:
    if isinstance(tree, dict) and EXTENSION in tree:
        code, content = tree[EXTENSION]
        return msgpack.ExtType(code % 128, msgpack.packb(content))
    if isinstance(tree, dict):
        return {key: _encoded(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_encoded(value) for value in tree]
    return tree
