"""``rgb2act completion SHELL``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..plugins import registry
from ..plugins.components import Command, Kind
from ..plugins.hookspecs import hookimpl

SHELLS = ("bash", "zsh", "fish")
FOLDERS = ("root", "data")  # arguments that name a folder
FILES = ("spec", "path", "out", "sheet", "write_spec", "output", "token_file")
EPILOG = """\
bash: rgb2act completion bash > ~/.local/share/bash-completion/completions/rgb2act
zsh:  rgb2act completion zsh > DIR/_rgb2act, with DIR in $fpath
fish: rgb2act completion fish > ~/.config/fish/completions/rgb2act.fish
Write the file again after you install a plugin.
"""


@hookimpl
def rgb2act_commands() -> Iterator[Command]:
    """Yield ``completion``."""
    yield Command(
        name="completion",
        summary="print a script with which a shell completes commands, options and names",
        arguments=arguments,
        run=run,
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=SHELLS, help="shell to complete in")


def run(args: argparse.Namespace) -> int:
    """Print the script for the core's commands and those of the installed plugins."""
    import shtab

    parser, commands = args.complete_parser()
    for command in commands.choices.values():
        for action in command._actions:
            _complete(action, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(parser, args.shell))
    return 0


def _complete(action: argparse.Action, file: object, folder: object) -> None:
    """Let an argument be completed with files, folders, or the names of installed components."""
    kinds = {"component": None, "env": Kind.ENVIRONMENT, "backbone": Kind.BACKBONE}
    if action.dest in kinds:
        wanted = kinds[action.dest]
        found = (c.name for kind, c in registry.components() if wanted in (None, kind))
        action.choices = sorted(set(found))
    elif action.dest in FILES or action.dest in FOLDERS:
        action.complete = folder if action.dest in FOLDERS else file  # type: ignore[attr-defined]
