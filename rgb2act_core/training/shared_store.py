"""The key-value store that training processes share, which one of them or a launcher serves."""

from __future__ import annotations

from datetime import timedelta

# they are public, but their module does not list them
from torch.distributed import (  # type: ignore[attr-defined]
    DistError,
    PrefixStore,
    Store,
    TCPStore,
)

from ..errors import UserError
from .place import Place

__all__ = ["PrefixStore", "Store", "TCPStore", "connect", "serve"]

CONNECTING = timedelta(minutes=5)


def serve() -> TCPStore:
    """Return a new store that processes of this machine can connect to, on any free port."""
    return TCPStore("127.0.0.1", 0, is_master=True, timeout=CONNECTING, wait_for_workers=False)


def connect(place: Place) -> TCPStore:
    """Return the store of a process; UserError if it cannot be reached."""
    try:
        return TCPStore(
            place.address,
            place.port,
            is_master=place.hosts_store,
            timeout=CONNECTING,
            wait_for_workers=False,
        )
    except (DistError, RuntimeError) as err:
        raise UserError(
            f"MASTER_ADDR: process {place.rank} cannot connect to {place.address}:{place.port};"
            " check the address and that all processes were started"
        ) from err
