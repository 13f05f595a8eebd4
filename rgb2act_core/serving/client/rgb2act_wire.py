"""Messages over a socket: maps of plain values and arrays, of bounded size, never code.

A frame is four bytes, the length of what follows, big-endian, and a msgpack map whose keys are
strings. Values are None, bool, int, float, str, bytes, lists, maps and numpy arrays of the types in
``DTYPES``; an array is extension 1, a packed list of dtype, shape and bytes in C order.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

LIMIT = 64 * 2**20  # bytes of a message, unless a channel is made with another limit
VALUES = 2_000_000  # in a message: a byte can be a list, which takes sixty in memory
DTYPES = ("bool", "uint8", "uint16", "int32", "int64", "float16", "float32", "float64")
ARRAY = 1  # msgpack extension type
DIMS = 8  # most dimensions of an array
PARTING = 1.0  # seconds that are spent on telling the other side why it is left
HEAD = struct.Struct(">I")


class WireError(Exception):
    """Say what is wrong with a connection or a message; the connection is closed."""


class Closed(WireError):  # noqa: N818 a state, named as such
    """Say that the other side has gone."""


class Timeout(WireError):  # noqa: N818 a state, named as such
    """Say that the other side did not answer in time."""


class Channel:
    """Send and receive messages over a connected stream socket.

    Any error closes the connection: what follows a broken message cannot be read. The side that
    ``answers`` tells the other why first.
    """

    def __init__(
        self, connection: socket.socket, limit: int = LIMIT, answers: bool = False
    ) -> None:
        self.connection, self.limit, self.answers = connection, limit, answers
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: dict[str, Any], seconds: float | None = None) -> None:
        """Send one message; raise WireError when it is too large, of other types, or not taken."""
        try:
            body = pack(message)
        except (TypeError, ValueError, OverflowError) as err:
            raise WireError(f"message cannot be sent: {err}") from err
        if len(body) > self.limit:
            raise WireError(f"message has {len(body)} bytes, the limit is {self.limit}")
        try:
            self.connection.settimeout(seconds)
            self.connection.sendall(HEAD.pack(len(body)) + body)
        except TimeoutError as err:
            self.close()
            raise Timeout(f"message was not taken within {seconds:g} s") from err
        except OSError as err:
            self.close()
            raise Closed(f"connection lost: {err}") from err

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """Return the next message; raise Closed, Timeout, or WireError for what is none."""
        end = None if seconds is None else time.monotonic() + seconds
        try:
            (length,) = HEAD.unpack(self._exactly(HEAD.size, end))
            if length > self.limit:
                raise WireError(f"message has {length} bytes, the limit is {self.limit}")
            return unpack(self._exactly(length, end))
        except TimeoutError as err:
            self.close()
            raise Timeout(f"no message within {seconds:g} s") from err
        except OSError as err:
            self.close()
            raise Closed(f"connection lost: {err}") from err
        except WireError as err:
            if self.answers and not isinstance(err, Closed):
                self._part(str(err))
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; may be called again."""
        self.connection.close()

    def _part(self, why: str) -> None:
        """Tell the other side why it is left, if it listens."""
        end = time.monotonic() + PARTING
        with contextlib.suppress(WireError, OSError):
            self.send({"kind": "error", "what": why, "where": "message"}, PARTING)
            self.connection.shutdown(socket.SHUT_WR)
            # a close that leaves bytes unread is a reset, which takes back what was sent
            while (left := end - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(1 << 20):
                    return

    def _exactly(self, count: int, end: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            # no more than what has come is held: a lying length costs nothing
            part = self.connection.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise Closed("the other side closed the connection")
            parts += part
        return bytes(parts)


def pack(message: dict[str, Any]) -> bytes:
    """Return a message as bytes; raise TypeError for values of other types."""
    packed: bytes = msgpack.packb(message, default=_packed_array, strict_types=True)
    return packed


def unpack(body: bytes) -> dict[str, Any]:
    """Return the message in some bytes; raise WireError when they hold none."""
    try:
        message = msgpack.unpackb(body, ext_hook=_array, strict_map_key=True, **counted(VALUES))
    except WireError:
        raise
    except Exception as err:  # msgpack raises a dozen kinds for hostile bytes
        raise WireError(f"not a message: {type(err).__name__}: {err}") from err
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise WireError(f"not a message: expected a map with names, got {type(message).__name__}")
    return message


def counted(most: int) -> dict[str, Any]:
    """Return options of msgpack's ``unpackb`` that bound the values in what it returns."""
    left = most

    def count(container: Any) -> Any:
        nonlocal left
        left -= len(container)
        if left < 0:
            raise WireError(f"message has more than {most} values in one part")
        return container

    hooks: dict[str, Callable[[Any], Any]] = {"list_hook": count, "object_hook": count}
    return {**hooks, "max_array_len": most, "max_map_len": most}


def field(message: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    """Return a field of a message; raise WireError when it is missing or of another type."""
    if name not in message:
        raise WireError(f"field {name!r} is missing; the message has {sorted(message)}")
    value = message[name]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(k.__name__ for k in kinds)
        raise WireError(f"field {name!r}: expected {wanted}, got {type(value).__name__}")
    return value


def array(
    message: dict[str, Any], name: str, dtype: str, shape: tuple[int | None, ...]
) -> np.ndarray[Any, Any]:
    """Return an array of a message; raise WireError when dtype or shape (None is any) differ."""
    value: np.ndarray[Any, Any] = field(message, name, np.ndarray)
    fits = len(value.shape) == len(shape) and all(
        want is None or got == want
        for got, want in zip(value.shape, shape)  # noqa: B905 lengths are equal
    )
    if value.dtype != np.dtype(dtype) or not fits:
        raise WireError(
            f"field {name!r}: expected {dtype} {shape}, got {value.dtype} {value.shape}"
        )
    return value


def _packed_array(value: Any) -> msgpack.ExtType:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(value).__name__} is no type of a message")
    if value.dtype.name not in DTYPES:
        raise TypeError(f"arrays of {value.dtype} are not sent")
    content = np.ascontiguousarray(value).tobytes()
    return msgpack.ExtType(ARRAY, msgpack.packb([value.dtype.name, list(value.shape), content]))


def _array(code: int, content: bytes) -> np.ndarray[Any, Any]:
    if code != ARRAY:
        raise WireError(f"not a message: extension {code}")
    parts = msgpack.unpackb(content, **counted(3 + DIMS))
    if not isinstance(parts, list) or len(parts) != 3:
        raise WireError("array: expected dtype, shape and bytes")
    name, shape, data = parts
    if not isinstance(name, str) or name not in DTYPES or not isinstance(data, bytes):
        raise WireError(f"array: dtype {str(name)[:40]!r} is not received")
    if (
        not isinstance(shape, list)
        or len(shape) > DIMS
        or not all(type(side) is int and side >= 0 for side in shape)
    ):
        raise WireError(f"array: {shape!r} is no shape")
    if math.prod(shape) * np.dtype(name).itemsize != len(data):
        raise WireError(f"array: {len(data)} bytes do not fill {name} {shape}")
    return np.frombuffer(data, name).reshape(shape).copy()
