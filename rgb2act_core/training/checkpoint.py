"""Training state in one safetensors file, from which a run resumes.

The file holds no random state: the random numbers of a step depend on the seed and the step only
(see ``randomness``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..store.tensors import read_tensors, write_tensors


class Checkpoint:
    """The state of a module, its averaged copy and its optimiser, saved by parameter name."""

    def __init__(
        self, path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, ema: nn.Module | None
    ) -> None:
        self.path, self.module, self.optimizer, self.ema = path, module, optimizer, ema
        self.names: dict[Tensor, str] = {p: name for name, p in module.named_parameters()}

    def save(self, step: int, **meta: Any) -> None:
        """Replace the file atomically by the state before step ``step``."""
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
        """Restore the state and return its metadata; None if there is no checkpoint yet."""
        if not self.path.exists():
            return None
        tensors, meta = read_tensors(self.path)
        self.module.load_state_dict(_with_prefix(tensors, "module."))
        if self.ema is not None:
            self.ema.load_state_dict(_with_prefix(tensors, "ema."))
        for name, parameter in self.module.named_parameters():
            state = _with_prefix(tensors, f"optimizer.{name}.")
            if state:
                self.optimizer.state[parameter] = {
                    k: v.to(parameter.device) for k, v in state.items()
                }
        return meta


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
