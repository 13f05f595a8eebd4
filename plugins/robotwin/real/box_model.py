"""Objects made of boxes, in the files that RoboTwin reads: glTF, and poses as matrices.

Lengths are metres.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, SHORT = 5126, 5123  # glTF's codes of component types
VERTICES, INDICES = 34962, 34963  # glTF's codes of buffer targets


@dataclass(frozen=True)
class Box:
    """A box parallel to the axes."""

    name: str
    size: tuple[float, float, float]
    centre: tuple[float, float, float]
    colour: tuple[float, float, float]  # 0 to 1


def write_model(folder: Path, number: int, boxes: Sequence[Box], data: dict[str, object]) -> None:
    """Write one model of an object: what is seen, what collides, and ``data`` about it."""
    for kind in ("visual", "collision"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"base{number}.glb").write_bytes(glb(boxes))
    (folder / f"model_data{number}.json").write_text(json.dumps(data, indent=1))


def pose(position: tuple[float, float, float], rotation_33: NDArray[Any]) -> list[list[float]]:
    """Return a pose as the rows of a 4x4 matrix."""
    matrix_44 = np.eye(4)
    matrix_44[:3, :3], matrix_44[:3, 3] = rotation_33, position
    rows: list[list[float]] = matrix_44.tolist()
    return rows


def faces(box: Box) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Return the vertices (24, 3), normals (24, 3) and triangles (36,) of a box."""
    vertices, normals = [], []
    for axis, side in itertools.product(range(3), (-1, 1)):
        normal = np.zeros(3)
        normal[axis] = side
        first = np.roll(np.abs(normal), 1)
        second = np.cross(normal, first)  # so that corners are counterclockwise from outside
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            vertices.append(box.centre + (normal + a * first + b * second) * np.divide(box.size, 2))
            normals.append(normal)
    corners = np.array([0, 1, 2, 0, 2, 3])
    triangles = (4 * np.arange(6)[:, None] + corners).ravel()
    return np.float32(vertices), np.float32(normals), triangles.astype(np.uint16)


class Buffer:
    """The arrays of a glTF file."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def vectors(self, values: NDArray[np.float32]) -> int:
        """Append vectors (N, 3); return the number of their accessor."""
        limits = {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        return self._append(values, VERTICES, {"componentType": FLOAT, "type": "VEC3", **limits})

    def indices(self, values: NDArray[np.uint16]) -> int:
        """Append indices (N,); return the number of their accessor."""
        return self._append(values, INDICES, {"componentType": SHORT, "type": "SCALAR"})

    def _append(self, values: NDArray[Any], target: int, kind: dict[str, Any]) -> int:
        packed = values.tobytes()
        place = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(packed)}
        self.views.append({**place, "target": target})
        self.accessors.append({"bufferView": len(self.accessors), "count": len(values), **kind})
        self.data.extend(packed)
        return len(self.accessors) - 1


def glb(boxes: Sequence[Box]) -> bytes:
    """Return boxes as a binary glTF file, one mesh per box."""
    buffer = Buffer()
    meshes, materials = [], []
    for number, box in enumerate(boxes):
        vertices, normals, triangles = faces(box)
        attributes = {"POSITION": buffer.vectors(vertices), "NORMAL": buffer.vectors(normals)}
        primitive = {"attributes": attributes, "indices": buffer.indices(triangles)}
        meshes.append({"name": box.name, "primitives": [{**primitive, "material": number}]})
        paint = {"baseColorFactor": [*box.colour, 1], "metallicFactor": 0}
        materials.append({"name": box.name, "pbrMetallicRoughness": paint})
    content = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(boxes)))}],
        "nodes": [{"name": box.name, "mesh": number} for number, box in enumerate(boxes)],
        "meshes": meshes,
        "materials": materials,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    text = chunk(b"JSON", json.dumps(content).encode(), b" ")
    arrays = chunk(b"BIN\0", bytes(buffer.data), b"\0")
    return struct.pack("<4sII", b"glTF", 2, 12 + len(text) + len(arrays)) + text + arrays


def chunk(kind: bytes, content: bytes, padding: bytes) -> bytes:
    """Return a chunk of a binary glTF file, padded to a multiple of four bytes."""
    content += padding * (-len(content) % 4)
    return struct.pack("<I4s", len(content), kind) + content
