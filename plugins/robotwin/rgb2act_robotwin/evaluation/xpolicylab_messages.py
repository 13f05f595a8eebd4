"""XPolicyLab's messages: msgpack maps with arrays in msgpack-numpy's format, without pickle.

An array is a map with the byte keys nd, type, kind, shape and data; a scalar has nd False.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgpack
import numpy as np
import rgb2act_wire

ENVELOPE = ("evaluation_id", "action_case_id", "trial_id", "repeat_index", "step")
KINDS = "biuf"  # of arrays: bool, int, unsigned, float


class FrameError(Exception):
    """The bytes are not a valid frame."""


def unpack(data: bytes) -> dict[str, Any]:
    """Return the frame encoded in ``data``; raise FrameError if it is not valid.

    Byte strings are views of ``data``.
    """
    try:
        frame = rgb2act_wire.Decoder(data, binary=_view, mapping=_decoded).message()
    except rgb2act_wire.WireError as err:
        raise FrameError(f"not a frame: {err}") from err
    if not isinstance(frame, dict) or not isinstance(frame.get("message_type"), str):
        raise FrameError("not a frame: expected a map with a message_type")
    _check_envelope(frame)
    if frame.get("payload") is None:
        frame["payload"] = {}
    if not isinstance(frame["payload"], dict):
        raise FrameError(f"payload: expected a map, got {type(frame['payload']).__name__}")
    return frame


def _view(data: memoryview) -> memoryview:
    return data


def _check_envelope(frame: Mapping[str, Any]) -> None:
    """Raise FrameError if an id is not a string or an integer, or if there is no message id."""
    if frame.get("message_id") is None:
        raise FrameError("not a frame: it has no message_id")
    for name in ("message_id", *ENVELOPE):
        value = frame.get(name)
        if value is not None and type(value) not in (str, int):
            raise FrameError(f"{name}: expected a string or an integer, got {type(value).__name__}")


def reply(frame: Mapping[str, Any], message_type: str, payload: Mapping[str, Any]) -> bytes:
    """Return the encoded reply to a frame."""
    answer = {
        "message_type": message_type,
        "message_id": frame["message_id"],
        "evaluation_id": frame.get("evaluation_id") or "",
        **{key: frame.get(key) for key in ENVELOPE[1:-1]},
        "step": frame.get("step") or 0,
        "sent_at": datetime.now(UTC).isoformat(),
        "payload": payload,
    }
    packed: bytes = msgpack.packb(answer, default=_encoded)
    return packed


def content_digest(frame: Mapping[str, Any]) -> bytes:
    """Return a digest of what a request asks for, without its message id."""
    content = [frame["message_type"], frame.get("step"), frame["payload"]]
    packed = msgpack.packb(content, default=_digested)
    return hashlib.blake2b(packed, digest_size=16).digest()


def _digested(value: Any) -> Any:
    """Encode an array by a digest of its data, during which other threads can run."""
    encoded = _encoded(value)
    return encoded | {b"data": hashlib.blake2b(encoded[b"data"], digest_size=16).digest()}


def _encoded(value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in KINDS:
        raise TypeError(f"{type(value).__name__} is not a supported type")
    return {
        b"nd": True,
        b"type": value.dtype.str,
        b"kind": b"",
        b"shape": list(value.shape),
        b"data": value.tobytes(),
    }


def _decoded(value: dict[Any, Any]) -> Any:
    if b"nd" in value:
        return _array(value)
    if not all(isinstance(key, str | int) for key in value):
        raise FrameError("a map has a key that is neither a string nor an integer")
    return {str(key): entry for key, entry in value.items()}


def _array(value: dict[Any, Any]) -> Any:
    name, data = value.get(b"type"), value.get(b"data")
    shape = value.get(b"shape") if value[b"nd"] is True else []
    try:
        dtype = np.dtype(name) if isinstance(name, str) else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in KINDS or value.get(b"kind", b"") not in (b"", ""):
        raise FrameError(f"array: type {name!r} is not supported")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise FrameError(f"array: {shape!r} is not a shape")
    if not isinstance(data, memoryview) or math.prod(shape) * dtype.itemsize != len(data):
        raise FrameError(f"array: the data does not fill {name} {shape}")
    try:
        array = np.frombuffer(data, dtype).reshape(shape)
    except (ValueError, OverflowError) as err:  # an empty array with other sides that are too long
        raise FrameError(f"array: {shape!r} is not a shape") from err
    return array if value[b"nd"] is True else array.item()
