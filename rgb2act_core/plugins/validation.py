"""Ask one plugin's hooks what it brings, and say what is wrong with the answers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import pluggy

from ..errors import near
from ..interfaces import fields
from . import hookspecs
from .components import Capability, Command, Component, Kind

GROUP = "rgb2act"
COMMANDS = "rgb2act_commands"
HOOKS = (*(kind.hook for kind in Kind), COMMANDS)
NAME = r"[a-z0-9][a-z0-9_-]*"


@attrs.frozen(eq=False, kw_only=True)
class Answer:
    """Hold the valid records that a plugin's hooks yield, and what is wrong with the others."""

    components: tuple[tuple[Kind, Component], ...] = ()
    commands: tuple[Command, ...] = ()
    problems: tuple[str, ...] = ()


def inspect_module(module: Any) -> Answer:
    """Return what a plugin's module yields."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    problems = list(_misspelt(manager, module))
    found: list[tuple[Kind, Component]] = []
    for kind in Kind:
        found += [(kind, item) for item in _valid(manager, kind.hook, invalid, problems)]
    commands = list(_valid(manager, COMMANDS, invalid_command, problems))
    if not found and not commands and not problems:
        problems.append("yields no component; mark a hook such as rgb2act_backbones with @hookimpl")
    return Answer(components=tuple(found), commands=tuple(commands), problems=tuple(problems))


def _valid(
    manager: pluggy.PluginManager,
    hook: str,
    invalid: Callable[[Any], str | None],
    problems: list[str],
) -> Iterator[Any]:
    """Yield the valid records of one hook, each name once; note the others."""
    names: set[str] = set()
    answers: list[Iterable[Any]] = getattr(manager.hook, hook)()
    for item in (item for answer in answers for item in answer):
        if problem := invalid(item):
            problems.append(f"{hook}: {problem}")
        elif item.name in names:
            problems.append(f"{hook}: {item.name!r} is yielded twice")
        else:
            names.add(item.name)
            yield item


def _misspelt(manager: pluggy.PluginManager, module: Any) -> Iterator[str]:
    for caller in manager.get_hookcallers(module) or ():
        if not caller.has_spec():
            yield f"unknown hook {caller.name!r}{near(caller.name, HOOKS)}"
    for name, value in vars(module).items() if inspect.ismodule(module) else ():
        if name in HOOKS and manager.parse_hookimpl_opts(module, name) is None and callable(value):
            yield f"{name} is not marked with @hookimpl"


def invalid_command(item: Any) -> str | None:
    """Return what is wrong with what ``rgb2act_commands`` yielded, or None."""
    if not isinstance(item, Command):
        return f"yielded {item!r:.80}; expected a Command"
    for what in ("arguments", "run"):
        if not callable(getattr(item, what)):
            return f"{item.name}: {what} {getattr(item, what)!r:.80} is not a function"
    return _unfit(item)


def invalid(item: Any) -> str | None:
    """Return what is wrong with what a hook yielded, or None."""
    if not isinstance(item, Component):
        return f"yielded {item!r:.80}; expected a Component"
    if not frozen(item.config):
        return f"{item.name}: config {item.config!r} is not a class made by @attrs.frozen"
    if not callable(item.build):
        return f"{item.name}: build {item.build!r} is not a function"
    if not isinstance(item.tiny, item.config):
        return f"{item.name}: tiny {item.tiny!r} is not a {item.config.__name__}"
    if type(item.version) is not int or item.version < 1:
        return f"{item.name}: version {item.version!r} is not an int from 1 up"
    if problem := _invalid_capabilities(item.capabilities) or next(
        fields.unknown_metadata(item.config), None
    ):
        return f"{item.name}: {problem}"
    return _unfit(item)


def _invalid_capabilities(capabilities: Any) -> str | None:
    if not isinstance(capabilities, frozenset):
        return f"capabilities {capabilities!r:.80} is not a frozenset"
    for item in capabilities:
        if not isinstance(item, Capability):
            return f"capability {item!r:.80} is not a Capability"
    return None


def _unfit(item: Component | Command) -> str | None:
    """Return what is wrong with a record's name or summary, or None."""
    if not isinstance(item.name, str) or not re.fullmatch(NAME, item.name):
        return f"name {item.name!r} is not lowercase letters, digits, '-' or '_'"
    if not isinstance(item.summary, str) or "\n" in item.summary:
        return f"{item.name}: summary {item.summary!r:.80} is not one line of text"
    return None


def frozen(cls: Any) -> bool:
    """Return whether this is an attrs class whose instances refuse new values."""
    if not isinstance(cls, type) or not attrs.has(cls):
        return False
    try:
        object.__new__(cls).__setattr__("probe", 0)
    except attrs.exceptions.FrozenInstanceError:
        return True
    except Exception:
        return False
    return False
