"""The policy heads ``diffusion`` and ``flow``: what the plugin hook builds from their options.

Start-up loads this module, so torch is imported only when a module is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .diffusion_config import Diffusion
from .flow_config import Flow

if TYPE_CHECKING:
    from torch import nn

    from ...interfaces import HeadShape


@attrs.frozen
class DiffusionHead:
    """Build diffusion policies; implements ``interfaces.PolicyHead``."""

    config: Diffusion

    @property
    def plan_limit(self) -> float | None:
        """Largest absolute normalised action of a plan; None without clipping."""
        return self.config.clip_range if self.config.clip_sample else None

    def check(self, shape: HeadShape) -> str | None:
        """Return None: every shape is supported."""
        return None

    def module(self, shape: HeadShape) -> nn.Module:
        """Return a new module with random weights from torch's global generator."""
        from .diffusion import DiffusionPolicy

        return DiffusionPolicy(self.config, shape)


@attrs.frozen
class FlowHead:
    """Build flow-matching policies; implements ``interfaces.PolicyHead``."""

    config: Flow

    @property
    def plan_limit(self) -> float | None:
        """Return None: plans are not clipped."""
        return None

    def check(self, shape: HeadShape) -> str | None:
        """Return None: every shape is supported."""
        return None

    def module(self, shape: HeadShape) -> nn.Module:
        """Return a new module with random weights from torch's global generator."""
        from .flow import FlowPolicy

        return FlowPolicy(self.config, shape)
