"""Compare the capabilities that a component declares with those of the object it builds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch

from ..interfaces import (
    Compilable,
    DataChecks,
    Exportable,
    GroupTokenTeacher,
    HeadShape,
    Inpainting,
    MultiPlan,
    ResultsPublisher,
    SceneInputs,
    SeedScreening,
    WindowedBackbone,
)
from ..plugins.components import Capability
from .subject import Subject

SHAPE = HeadShape(obs_dim=6, n_obs_steps=2, action_dim=5, horizon=16)


def capabilities_are_as_declared(subject: Subject) -> None:
    """The component declares the capabilities of the object it builds, and no others."""
    declared = subject.component.capabilities
    for capability in declared:
        assert capability.kind is subject.kind, (
            f"a {subject.kind.label} cannot have the capability {capability.name}; remove it"
        )
    for capability, probe in PROBES.items():
        if capability.kind is not subject.kind or (found := probe(subject)) is None:
            continue
        if found and capability not in declared:
            raise AssertionError(
                f"the component can do {capability.name}; add it to Component(capabilities=...)"
            )
        assert found or capability not in declared, (
            f"the component declares {capability.name}, but what it builds lacks it; see"
            " rgb2act_core.Capability for what it needs"
        )


def _is(protocol: type) -> Callable[[Subject], bool]:
    return lambda subject: isinstance(subject.built, protocol)


def _module_is(protocol: type) -> Callable[[Subject], bool]:
    def probe(subject: Subject) -> bool:
        with torch.random.fork_rng(devices=[]):
            return isinstance(subject.built.module(SHAPE), protocol)

    return probe


def _env_has(name: str) -> Callable[[Subject], bool | None]:
    """Return a probe for an attribute of the simulator; None where there is no simulator."""

    def probe(subject: Subject) -> bool | None:
        if not subject.built.info.acts:
            return None
        env = subject.built.make()
        try:
            return hasattr(env.unwrapped, name)
        finally:
            env.close()

    return probe


def _has_precision(subject: Subject) -> bool:
    return "precision" in attrs.fields_dict(subject.component.config)


PROBES: dict[Capability, Callable[[Any], bool | None]] = {
    Capability.WINDOWED: _is(WindowedBackbone),
    Capability.GROUP_TOKENS: _is(GroupTokenTeacher),
    Capability.MULTI_PLAN: _module_is(MultiPlan),
    Capability.INPAINTING: _module_is(Inpainting),
    Capability.COMPILABLE: _module_is(Compilable),
    Capability.EXPORTABLE: _module_is(Exportable),
    Capability.PRECISION: _has_precision,
    Capability.SEED_SCREENING: _is(SeedScreening),
    Capability.SCENE_INPUTS: _is(SceneInputs),
    Capability.RESULTS_PUBLISHER: _is(ResultsPublisher),
    Capability.IMAGE_SKIPPING: _env_has("observe"),
    Capability.SIMULATOR_FACTS: _env_has("facts"),
    Capability.CLOUD_OBSERVATIONS: _env_has("observe_clouds"),
    Capability.DATA_CHECKS: _is(DataChecks),
}
