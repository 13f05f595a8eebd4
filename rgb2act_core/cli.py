"""The command line: parse the arguments, run the command, return its exit code.

The commands are in ``commands``, one module each, and in plugins. Each imports what it needs when
it runs, so that ``rgb2act --help`` is fast.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ._version import __version__
from .errors import UserError, did_you_mean
from .plugins import registry
from .plugins.components import Command
from .system import interrupts, streams
from .system.json_output import print_json_error
from .system.memory import memory_errors, reuse_freed_memory

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

TRAINING = (
    "run",
    "align",
    "distill",
    "train",
    "sweep",
)  # commands that processes of torchrun do together

PATH_ERRORS = {  # of paths that a user gave, and what to do
    errno.EACCES: "give a path that you have permission for",
    errno.EPERM: "give a path that you have permission for",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "give a path whose folders exist",
    errno.ELOOP: "give a path without such links",
    errno.EIO: "check the disk, or give another path",
    errno.ESTALE: "mount the folder again",
}

EPILOG = """\
Plugins may add commands; rgb2act plugins lists them.

exit codes:
  0    success
  1    the command ran and found problems, such as a failed check
  2    wrong usage, or an error that you can fix; the message says how
  130  interrupted by Ctrl-C
  143  ended by SIGTERM, as a scheduler sends it; progress is saved as on Ctrl-C

environment variables:
  RGB2ACT_ROOT=DIR   default of --root, the folder of all runs [runs]
  RGB2ACT_QUIET=1    print no progress
  RGB2ACT_PROGRESS=json  print progress as JSON, one object a line
  RGB2ACT_STRICT=1   show the traceback of a plugin that cannot be loaded
  RGB2ACT_CACHE=DIR  folder of downloads and digests [~/.cache/rgb2act]
  RGB2ACT_TOKEN=...  access token of the policy server and its client
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    streams.open_closed()
    reuse_freed_memory()
    try:
        with interrupts.recorded() as received:
            code = _run(given, received)
    except SystemExit as err:  # of argparse
        if err.code and "--json" in given:
            print_json_error(("wrong usage; the message is on stderr",), 2)
        raise SystemExit(streams.finish(int(err.code or 0))) from None
    return streams.finish(code)


def _run(given: Sequence[str], received: Callable[[], int | None]) -> int:
    resumable = as_json = False
    try:
        args = parse(given)
        resumable, as_json = args.resumable, getattr(args, "json", False)
        if progress := getattr(args, "progress", None):
            os.environ["RGB2ACT_PROGRESS"] = progress
        with memory_errors(), _one_of_several(args) as follow:
            return follow() if follow else int(args.run_command(args))
    except UserError as err:
        if not received():
            streams.print_error(err)
            if as_json:
                print_json_error(err.args, 2)
            return 2
    except KeyboardInterrupt:
        pass
    except OSError as err:
        if not received():
            if streams.has_failed(err):
                return 0 if isinstance(err, BrokenPipeError) else _lost(err)
            if err.filename is None or err.errno not in PATH_ERRORS:
                raise
            message = _unusable(err)
            streams.print_error(message)
            if as_json:
                print_json_error((message,), 2)
            return 2
    except Exception as err:
        if not received():
            if as_json:
                print_json_error((f"{type(err).__name__}: {err}",), 1)
            raise
    message, code = _interrupted(resumable, given), 128 + (received() or signal.SIGINT)
    streams.print_error(message)
    if as_json:
        print_json_error((message,), code)
    return code


@contextlib.contextmanager
def _one_of_several(args: argparse.Namespace) -> Iterator[Callable[[], int] | None]:
    """Join the processes that a launcher has started for a command that trains.

    Yields what to do in place of the command, in all processes but the first.
    """
    if args.command not in TRAINING or os.environ.get("WORLD_SIZE", "1") in ("", "1"):
        yield None
        return
    from .training.place import place_in

    place = place_in()
    if place is None:
        yield None
    elif place.rank:
        from .pipeline.follow import follow

        yield functools.partial(follow, place)
    else:
        from .pipeline.team import leading

        with leading(place):
            yield None


def _unusable(err: OSError) -> str:
    reason, advice = str(err.strerror).lower(), PATH_ERRORS[err.errno or 0]
    return f"{err.filename!s:.200}: {reason}; {advice}"


def _lost(err: OSError) -> int:
    reason = str(err.strerror).lower()
    streams.print_error(f"stdout: cannot be written ({reason}); choose another output")
    return 2


def parse(given: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; load plugins only if the core has no such command."""
    parser, commands = _parser()
    name = given[0] if given else "-"
    if not name.startswith("-") and name not in commands.choices:
        _add_plugin_command(parser, commands, name)
    return parser.parse_args(given)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=16)


def _parser() -> tuple[argparse.ArgumentParser, Commands]:
    parser = argparse.ArgumentParser(
        prog="rgb2act",
        description="Train bimanual robot policies from RGB: collect demonstrations, extract"
        " features, align them to a point-cloud teacher, train a policy, and evaluate it.",
        epilog=EPILOG,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rgb2act {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for command in registry.core_commands():
        _add(commands, command)
    return parser, commands


def complete_parser() -> tuple[argparse.ArgumentParser, Commands]:
    """Return the parser with all commands, those of plugins included."""
    parser, commands = _parser()
    for name in registry.plugin_commands():
        _add_plugin_command(parser, commands, name)
    return parser, commands


def _add(commands: Commands, command: Command) -> None:
    text = command.summary
    child: argparse.ArgumentParser = commands.add_parser(
        command.name, help=text, description=f"{text[:1].upper()}{text[1:]}.", allow_abbrev=False
    )
    child.set_defaults(
        run_command=command.run, resumable=command.resumable, complete_parser=complete_parser
    )
    command.arguments(child)


def _add_plugin_command(parser: argparse.ArgumentParser, commands: Commands, name: str) -> None:
    """Add a plugin's command; exit with the closest known name if there is none."""
    command = registry.plugin_command(name)
    if command is None:
        known = [*commands.choices, *registry.plugin_commands()]
        hint = did_you_mean(name, known) or _run_hint(name) or "; rgb2act --help lists them"
        parser.error(f"no command {name!r}{hint}")
    _add(commands, command)


def _run_hint(name: str) -> str:
    """Return what to type if a name is that of a run."""
    from .pipeline.find_run import run_folder

    return f"; {name} is a run, as in rgb2act show {name}" if run_folder(name) else ""


def _interrupted(resumable: bool, given: Sequence[str]) -> str:
    if not resumable:
        return "interrupted"
    return f"interrupted; progress is saved, resume with: {shlex.join(['rgb2act', *given])}"
