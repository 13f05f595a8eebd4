"""Choices: the components that a spec's tables name with ``use``."""

from __future__ import annotations

from typing import Any

import attrs

from ..plugins.components import Capability, Component, Kind


@attrs.frozen(kw_only=True)
class Choice:
    """Hold a component that a table's ``use`` names and the config made of its other keys."""

    component: Component
    config: Any

    def can(self, capability: Capability) -> bool:
        """Return whether the component declares a capability."""
        return capability in self.component.capabilities

    def build(self) -> Any:
        """Build the component: this is where torch and weights are loaded."""
        return self.component.build(self.config)


@attrs.frozen(kw_only=True)
class BackboneChoice(Choice):
    """Choose a vision backbone."""


@attrs.frozen(kw_only=True)
class TeacherChoice(Choice):
    """Choose a point-cloud teacher."""


@attrs.frozen(kw_only=True)
class FusionChoice(Choice):
    """Choose how several backbones become one."""


@attrs.frozen(kw_only=True)
class HeadChoice(Choice):
    """Choose a policy head."""


@attrs.frozen(kw_only=True)
class EnvironmentChoice(Choice):
    """Choose an environment."""


CHOICES: dict[type[Choice], Kind] = {
    BackboneChoice: Kind.BACKBONE,
    TeacherChoice: Kind.TEACHER,
    FusionChoice: Kind.FUSION,
    HeadChoice: Kind.POLICY_HEAD,
    EnvironmentChoice: Kind.ENVIRONMENT,
}
