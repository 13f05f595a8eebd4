"""Training state on disk: one safetensors file, replaced whole, that a run resumes from.

Random draws of step n are a function of (seed, n) alone (``seed_step``), so the sampler and the
random state are the step number itself, and a resumed run draws what an unstopped one draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..store.tensors import read_tensors, write_tensors


def seed_step(seed: int, step: int) -> None:
    """Seed torch's generators for one training step."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)


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
