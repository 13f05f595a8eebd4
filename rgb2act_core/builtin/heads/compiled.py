"""A denoising network that torch.compile speeds up."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...system.progress import say


class Compiled(nn.Module):
    """A denoiser whose ``forward`` is compiled at its first call, for the shapes of that call.

    The first call raises UserError if compilation fails, for example without a C++ compiler.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.ready = net, False
        self.compiled_net: Any = torch.compile(net, dynamic=False)

    def context(self, *args: Any) -> Tensor:
        """Return the denoiser's context of the observations."""
        context: Tensor = self.net.context(*args)  # type: ignore[operator]
        return context

    def forward(self, *args: Any) -> Tensor:
        """Return the denoiser's prediction."""
        if not self.ready:
            self._compile(args)
        out: Tensor = self.compiled_net(*args)
        return out

    def _compile(self, args: tuple[Any, ...]) -> None:
        say("policy: compiling the head's network")
        start = time.perf_counter()
        self.net(*args)  # weights that are packed at the first call must not be traced
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_")
                self.compiled_net(*args)
        except torch._dynamo.exc.TorchDynamoException as err:
            first = str(err).strip().partition("\n")[0]
            raise UserError(
                f"act.compile: compiling the head's network failed ({first}); install a C++"
                " compiler (Triton on CUDA) or remove the key"
            ) from err
        say(f"policy: compiled in {time.perf_counter() - start:.0f} s")
        self.ready = True
