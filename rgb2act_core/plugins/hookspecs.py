"""The hooks: five for components, one for commands.

A plugin is a module with an entry point in group ``rgb2act``.

A whole backbone plugin::

    # rgb2act_gray/__init__.py
    from collections.abc import Iterator
    import attrs
    from rgb2act_core import Component, hookimpl

    @attrs.frozen(kw_only=True)
    class Gray:
        patch: int = 8

    def build(config: Gray):
        from .model import GrayBackbone  # torch is imported here, and only here
        return GrayBackbone(config.patch)

    @hookimpl
    def rgb2act_backbones() -> Iterator[Component]:
        yield Component(name="gray", config=Gray, build=build, tiny=Gray())

    # pyproject.toml
    [project.entry-points.rgb2act]
    gray = "rgb2act_gray"
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from .components import Command, Component

hookspec = pluggy.HookspecMarker("rgb2act")
hookimpl = pluggy.HookimplMarker("rgb2act")


@hookspec
def rgb2act_backbones() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield components whose ``build`` returns a ``interfaces.Backbone``: RGB to patch tokens."""


@hookspec
def rgb2act_teachers() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield components whose ``build`` returns a ``interfaces.Teacher``: clouds to embeddings."""


@hookspec
def rgb2act_fusions() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield components whose ``build`` returns a ``interfaces.Fusion``: many backbones to one."""


@hookspec
def rgb2act_policy_heads() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield components whose ``build`` returns a ``interfaces.PolicyHead``: features to actions."""


@hookspec
def rgb2act_environments() -> Iterable[Component]:  # type: ignore[empty-body]
    """Yield components whose ``build`` returns a ``interfaces.Environment``: data and episodes."""


@hookspec
def rgb2act_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Yield commands of ``rgb2act``, which are looked for when the core has none of that name.

    A plugin with ``rgb2act greet NAME``::

        import argparse
        from collections.abc import Iterator
        from rgb2act_core import Command, hookimpl

        def arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("name", metavar="NAME")

        def run(args: argparse.Namespace) -> int:
            print(f"hello, {args.name}")
            return 0

        @hookimpl
        def rgb2act_commands() -> Iterator[Command]:
            yield Command(name="greet", summary="say hello", arguments=arguments, run=run)
    """
