"""The component under test and what it builds."""

from __future__ import annotations

import unittest
from functools import cached_property
from typing import Any

from ..errors import UserError
from ..plugins.components import Capability, Component, Kind


class NotTested(unittest.SkipTest):
    """A check does not apply to this config, for the reason given. pytest skips the test."""


class Subject:
    """A component under test, with its tiny config or another one.

    The config is built once, when a check first needs it. ``image`` is the height and width that a
    backbone must accept; None: at least one of several common sizes.
    """

    def __init__(
        self,
        kind: Kind,
        component: Component,
        config: Any = None,
        image: tuple[int, int] | None = None,
    ) -> None:
        self.kind, self.component, self.image = kind, component, image
        self.config = component.tiny if config is None else config
        self.is_tiny = config is None

    @cached_property
    def built(self) -> Any:
        """The object that ``build(config)`` returns."""
        return self.build()

    def can(self, capability: Capability) -> bool:
        """Return whether the component declares a capability."""
        return capability in self.component.capabilities

    def build(self) -> Any:
        """Build the config again."""
        return self.component.build(self.config)


def refuses(call: Any, what: str) -> str:
    """Return the message of the UserError that the call must raise."""
    try:
        call()
    except UserError as err:
        return str(err)
    except Exception as err:
        raise AssertionError(
            f"{what} raises {type(err).__name__}: {err}; raise UserError, since the user can fix it"
        ) from err
    raise AssertionError(f"{what} is accepted; raise UserError with what is wrong")
