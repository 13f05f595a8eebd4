"""The conformance kit: checks that every component of a kind must pass.

In a plugin's tests::

    import pytest
    from rgb2act_core.testing import checks

    @pytest.mark.parametrize("check", checks("rgb2act_gray"), ids=str)
    def test_conformance(check):
        check()

``rgb2act selftest gray`` runs the same checks. They build the component's tiny config only;
``rgb2act selftest gray --spec mine.toml`` tests the configs of a spec.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from ..plugins import registry
from ..plugins.components import Component, Kind
from . import general
from .faults import fault
from .subject import NotTested, Subject

if TYPE_CHECKING:
    from ..interfaces import Episode


@attrs.frozen(eq=False)
class Check:
    """One check. Calling it raises AssertionError with what to fix, or NotTested with a reason."""

    about: str
    """Name of the component, or of the plugin's module."""
    name: str
    summary: str
    """The requirement, in one sentence."""
    call: Callable[[], None]

    def __call__(self) -> None:
        """Run the check; any other exception becomes an AssertionError."""
        try:
            self.call()
        except (AssertionError, NotTested):
            raise
        except Exception as err:
            raise AssertionError(f"{self.summary} Instead: {type(err).__name__}: {err}") from err

    def __str__(self) -> str:
        return f"{self.about}-{self.name}"


def checks(module: str) -> list[Check]:
    """Return the checks of a plugin's module, by name, and of all its components."""
    found, problems = registry.collect_hooks(module)
    valid = _check(module, general.components_are_valid, problems)
    parts = [check for kind, component in found for check in component_checks(kind, component)]
    return [light(module), valid, *parts]


def light(module: str) -> Check:
    """Return the check that importing a module imports no heavy package."""
    return _check(module, general.module_is_light, module)


def component_checks(kind: Kind, component: Component) -> list[Check]:
    """Return the checks of one component."""
    subject = Subject(kind, component)
    return [_check(component.name, call, subject) for call in (*general.CHECKS, *_checks_of(kind))]


def config_checks(
    kind: Kind, component: Component, config: Any, image: tuple[int, int] | None = None
) -> list[Check]:
    """Return the checks of a component that depend on its config, for another than the tiny one.

    ``image`` is the height and width of the images that a backbone must accept.
    """
    subject = Subject(kind, component, config, image)
    return [_check(component.name, call, subject) for call in _checks_of(kind)]


def _checks_of(kind: Kind) -> tuple[Callable[[Subject], None], ...]:
    found: tuple[Callable[[Subject], None], ...] = import_module(f"{__name__}.{kind}").CHECKS
    return found


def validate_episode(episode: Episode) -> None:
    """Raise UserError naming episode and frame if a stage could not use the episode.

    Every value of joints, actions, state and point clouds is checked, and the shape of the images.
    """
    from ..data.episode_store import validate

    validate(episode)


def _check(about: str, call: Callable[[Any], None], subject: Any) -> Check:
    summary = (call.__doc__ or "").partition("\n")[0].replace("``", "")
    return Check(about, call.__name__, summary, lambda: call(subject))


__all__ = [
    "Check",
    "NotTested",
    "checks",
    "component_checks",
    "config_checks",
    "fault",
    "light",
    "validate_episode",
]
