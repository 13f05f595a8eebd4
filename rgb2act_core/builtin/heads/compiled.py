"""A network that torch.compile makes quicker, which says how long that takes."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...system.progress import say


class Compiled(nn.Module):
    """Call a denoiser, compiled at the first call for the shapes of that; its context as it is.

    Calling it raises UserError where it cannot be compiled, as where there is no C++ compiler.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.done = net, False
        self.quick: Any = torch.compile(net, dynamic=False)

    def context(self, *given: Any) -> Tensor:
        """Return what the denoiser makes of what is observed."""
        made: Tensor = self.net.context(*given)  # type: ignore[operator]
        return made

    def forward(self, *given: Any) -> Tensor:
        """Return what the denoiser predicts."""
        if not self.done:
            self._prepare(given)
        out: Tensor = self.quick(*given)
        return out

    def _prepare(self, given: tuple[Any, ...]) -> None:
        say("policy: compiles the head's network")
        start = time.perf_counter()
        self.net(*given)  # what it makes of its weights at first stays outside of what is compiled
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_")
                self.quick(*given)
        except torch._dynamo.exc.TorchDynamoException as err:
            first = str(err).strip().partition("\n")[0]
            raise UserError(
                f"act.compile: the head's network cannot be compiled ({first}); install a C++"
                " compiler (on CUDA Triton), or leave it out"
            ) from err
        say(f"policy: compiled it in {time.perf_counter() - start:.0f} s")
        self.done = True
