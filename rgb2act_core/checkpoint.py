"""Training state on disk: one safetensors file, replaced whole, that a run resumes from.

Random draws of step n are a function of (seed, n) alone (``seed_step``), so the sampler and the
random state are the step number itself, and a resumed run draws what an unstopped one draws.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .cache import guard
from .errors import UserError


def seed_step(seed: int, step: int) -> None:
    """Seed torch's generators for one training step."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata so that a reader sees the old file or the whole new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with guard(path):
        try:
            save_file(plain, beside, {"rgb2act": json.dumps(meta)})
        except SafetensorError as err:
            beside.unlink(missing_ok=True)
            raise OSError(28, str(err)) if "space" in str(err).lower() else err from err
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``write_tensors`` wrote; raise UserError naming a damaged file."""
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})["rgb2act"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 not a dict
    except (OSError, SafetensorError, KeyError, ValueError) as err:
        raise UserError(f"{path}: damaged ({err}); delete it and run again") from err


class Checkpoint:
    """Save and restore a module, its averaged copy and its optimiser by name."""

    def __init__(
        self, path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, ema: nn.Module | None
    ) -> None:
        self.path, self.module, self.optimizer, self.ema = path, module, optimizer, ema
        self.names: dict[Tensor, str] = {p: name for name, p in module.named_parameters()}

    def save(self, step: int, **meta: Any) -> None:
        """Write the state before step ``step``."""
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        for parameter, state in self.optimizer.state.items():
            tensors |= {
                f"optimizer.{self.names[parameter]}.{k}": torch.as_tensor(v)
                for k, v in state.items()
            }
        write_tensors(self.path, tensors, {"step": step} | meta)

    def load(self) -> dict[str, Any] | None:
        """Restore the state and return its metadata; None when there is none yet."""
        if not self.path.exists():
            return None
        tensors, meta = read_tensors(self.path)
        self.module.load_state_dict(_below(tensors, "module."))
        if self.ema is not None:
            self.ema.load_state_dict(_below(tensors, "ema."))
        for name, parameter in self.module.named_parameters():
            state = _below(tensors, f"optimizer.{name}.")
            if state:
                self.optimizer.state[parameter] = {
                    k: v.to(parameter.device) for k, v in state.items()
                }
        return meta


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
