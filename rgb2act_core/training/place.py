"""Which of several training processes this one is, as a launcher such as torchrun states it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import attrs

from ..errors import UserError
from ..system.devices import core_count, device_of

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@attrs.frozen(kw_only=True)
class Place:
    """This process among all, and where they meet."""

    rank: int
    size: int
    local_rank: int  # among the processes of this machine
    local_size: int
    address: str
    port: int
    hosts_store: bool  # whether this process is the server that the others connect to
    attempt: str = "0"  # of the launcher: what an earlier attempt stored is not read

    def device(self, device: str, threads: int) -> str:
        """Return this process's device: a GPU of its own, or the CPU with a share of the cores.

        ``device`` and ``threads`` are those of ``system.devices.device_of``.
        """
        if self.local_size > 1 and (":" in device or device == "mps"):
            raise UserError(
                f"compute.device: {device!r} is one device, and {self.local_size} processes train"
                " on this machine; use 'auto', 'cuda' or 'cpu'"
            )
        threads = threads or max(core_count() // self.local_size, 1)
        found = device_of(device, threads)
        if not found.startswith("cuda"):
            return found
        import torch

        if self.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"compute.devices: {self.local_size} processes train on this machine, and it has"
                f" {torch.cuda.device_count()} GPUs; start one per GPU"
            )
        torch.cuda.set_device(self.local_rank)
        return f"cuda:{self.local_rank}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables that state this place."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def place_in(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return the place that the environment states; None for a process by itself.

    Raises UserError if variables are missing or not numbers.
    """
    if environment.get("WORLD_SIZE", "1") in ("", "1") or "RANK" not in environment:
        return None
    if missing := [name for name in NAMES if not environment.get(name)]:
        raise UserError(
            f"{', '.join(missing)}: not set, though RANK and WORLD_SIZE are; start the processes"
            " with torchrun, or unset RANK"
        )
    size = _number(environment, "WORLD_SIZE")
    rank = _number(environment, "RANK")
    agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return Place(
        rank=rank,
        size=size,
        local_rank=_number(environment, "LOCAL_RANK", rank),
        local_size=_number(environment, "LOCAL_WORLD_SIZE", size),
        address=environment["MASTER_ADDR"],
        port=_number(environment, "MASTER_PORT"),
        hosts_store=rank == 0 and not agent,
        attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environment.get(name, "" if default is None else str(default))
    if not value.isascii() or not value.isdecimal():
        raise UserError(f"{name}: expected a number, got {value!r}; start with torchrun")
    return int(value)
