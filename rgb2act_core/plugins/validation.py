"""Collect the results of a plugin's hooks and validate them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import pluggy

from ..errors import did_you_mean
from ..interfaces import fields
from . import hookspecs
from .components import Capability, Command, Component, Engine, Kind

GROUP = "rgb2act"
COMMANDS = "rgb2act_commands"
ENGINES = "rgb2act_engines"
HOOKS = (*(kind.hook for kind in Kind), ENGINES, COMMANDS)
NAME = r"[a-z0-9][a-z0-9_-]*"


@attrs.frozen(eq=False, kw_only=True)
class HookResults:
    """The valid components and commands of a plugin, and what is wrong with the others."""

    components: tuple[tuple[Kind, Component], ...] = ()
    commands: tuple[Command, ...] = ()
    engines: tuple[Engine, ...] = ()
    problems: tuple[str, ...] = ()


def inspect_module(module: Any) -> HookResults:
    """Return the results of the hooks in a plugin's module."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    problems = list(_misspelled(manager, module))
    found: list[tuple[Kind, Component]] = []
    for kind in Kind:
        found += [(kind, item) for item in _valid(manager, kind.hook, invalid, problems)]
    commands = list(_valid(manager, COMMANDS, invalid_command, problems))
    engines = tuple(_valid(manager, ENGINES, invalid_engine, problems))
    if not found and not commands and not engines and not problems:
        problems.append(
            "provides no component; mark a hook such as rgb2act_backbones with @hookimpl"
        )
    return HookResults(
        components=tuple(found),
        commands=tuple(commands),
        engines=engines,
        problems=tuple(problems),
    )


def _valid(
    manager: pluggy.PluginManager,
    hook: str,
    invalid: Callable[[Any], str | None],
    problems: list[str],
) -> Iterator[Any]:
    """Yield the valid results of one hook, each name once; add the others to the problems."""
    names: set[str] = set()
    results: list[Iterable[Any]] = getattr(manager.hook, hook)()
    for item in (item for result in results for item in result):
        if problem := invalid(item):
            problems.append(f"{hook}: {problem}")
        elif item.name in names:
            problems.append(f"{hook}: {item.name!r} is yielded twice")
        else:
            names.add(item.name)
            yield item


def _misspelled(manager: pluggy.PluginManager, module: Any) -> Iterator[str]:
    for caller in manager.get_hookcallers(module) or ():
        if not caller.has_spec():
            yield f"unknown hook {caller.name!r}{did_you_mean(caller.name, HOOKS)}"
    for name, value in vars(module).items() if inspect.ismodule(module) else ():
        if name in HOOKS and manager.parse_hookimpl_opts(module, name) is None and callable(value):
            yield f"{name} is not marked with @hookimpl"


def invalid_command(item: Any) -> str | None:
    """Return what is wrong with a result of ``rgb2act_commands``, or None."""
    if not isinstance(item, Command):
        return f"yielded {item!r:.80}; expected a Command"
    for what in ("arguments", "run"):
        if not callable(getattr(item, what)):
            return f"{item.name}: {what} {getattr(item, what)!r:.80} is not a function"
    return _invalid_name(item)


def invalid_engine(item: Any) -> str | None:
    """Return what is wrong with a result of ``rgb2act_engines``, or None."""
    if not isinstance(item, Engine):
        return f"yielded {item!r:.80}; expected an Engine"
    if not callable(item.connect):
        return f"{item.name}: connect {item.connect!r:.80} is not a function"
    return _invalid_name(item)


def invalid(item: Any) -> str | None:
    """Return what is wrong with a result of a component hook, or None."""
    if not isinstance(item, Component):
        return f"yielded {item!r:.80}; expected a Component"
    if not _is_frozen(item.config):
        return f"{item.name}: config {item.config!r} is not a class decorated with @attrs.frozen"
    if not callable(item.build):
        return f"{item.name}: build {item.build!r} is not a function"
    if not isinstance(item.tiny, item.config):
        return f"{item.name}: tiny {item.tiny!r} is not a {item.config.__name__}"
    if type(item.version) is not int or item.version < 1:
        return f"{item.name}: version {item.version!r} is not an int of at least 1"
    if problem := _invalid_capabilities(item.capabilities) or next(
        fields.unknown_metadata(item.config), None
    ):
        return f"{item.name}: {problem}"
    return _invalid_name(item)


def _invalid_capabilities(capabilities: Any) -> str | None:
    if not isinstance(capabilities, frozenset):
        return f"capabilities {capabilities!r:.80} is not a frozenset"
    for item in capabilities:
        if not isinstance(item, Capability):
            return f"capability {item!r:.80} is not a Capability"
    return None


def _invalid_name(item: Component | Engine | Command) -> str | None:
    """Return what is wrong with a record's name or summary, or None."""
    if not isinstance(item.name, str) or not re.fullmatch(NAME, item.name):
        return f"name {item.name!r} is not lowercase letters, digits, '-' or '_'"
    if not isinstance(item.summary, str) or "\n" in item.summary:
        return f"{item.name}: summary {item.summary!r:.80} is not one line of text"
    return None


def _is_frozen(cls: Any) -> bool:
    return isinstance(cls, type) and attrs.has(cls) and attrs.inspect(cls).is_frozen
