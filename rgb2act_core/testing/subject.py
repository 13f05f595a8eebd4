"""The component under test and what it builds."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..errors import UserError
from ..plugins.components import Capability, Component, Kind


class Subject:
    """A component under test. Its tiny config is built once, when a check first needs it."""

    def __init__(self, kind: Kind, component: Component) -> None:
        self.kind, self.component = kind, component

    @cached_property
    def built(self) -> Any:
        """The object that ``build(tiny)`` returns."""
        return self.build()

    def can(self, capability: Capability) -> bool:
        """Return whether the component declares a capability."""
        return capability in self.component.capabilities

    def build(self) -> Any:
        """Build the tiny config again."""
        return self.component.build(self.component.tiny)


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
