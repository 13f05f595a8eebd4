"""The command line. Light: what a command needs is imported when it is called."""

from __future__ import annotations

import argparse
import os
import select
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__
from .errors import UserError, near
from .plugins.arguments import add_root, count, seed_range
from .serving.command_line import serve_arguments

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

KINDS = ("backbone", "teacher", "fusion", "policy_head", "environment")
CHAIN = {
    "run": "run every stage of a spec, and write the report",
    "extract": "collect, and encode every frame with the backbones and the teacher",
    "align": "run the stages up to the aligner",
    "train": "run the stages up to the trained policy",
    "act": "run the stages up to the success rate on unseen seeds",
    "collect": "record the demonstrations",
}
REPLIES = ("run", "align", "act")  # commands of the chain that can answer in JSON


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 1 not passed, 2 to be mended, 130 Ctrl-C."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        args = parse(given)
    except UserError as err:
        print(err, file=sys.stderr)
        return 2
    try:
        code = int(args.call(args))
        sys.stdout.flush()
        return code
    except UserError as err:
        print(err, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(_interrupted(args.command, given), file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _reader_left():
            raise
        return 0


def parse(given: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; plugins are loaded when the core has no such command."""
    parser, commands = _parser()
    name = given[0] if given else "-"
    if not name.startswith("-") and name not in commands.choices:
        _theirs(parser, commands, name)
    return parser.parse_args(given)


def _theirs(parser: argparse.ArgumentParser, commands: Commands, name: str) -> None:
    """Add a plugin's command, or end with what is near its name."""
    from .plugins import registry as plugins

    command = plugins.command(name)
    if command is None:
        known = [*commands.choices, *plugins.commands()]
        parser.error(
            f"there is no command {name!r}{near(name, known) or '; rgb2act --help lists them'}"
        )
    child = _command(commands, name, command.summary)
    child.set_defaults(call=command.run)
    command.arguments(child)


def names() -> tuple[str, ...]:
    """Return the core's own commands."""
    return tuple(_parser()[1].choices)


def _interrupted(command: str, given: Sequence[str]) -> str:
    if command not in CHAIN:
        return "interrupted"
    return (
        f"interrupted: what is done so far is kept; resume with: {shlex.join(['rgb2act', *given])}"
    )


def _reader_left() -> bool:
    """Return whether stdout's reader is gone, as in ``rgb2act plugins | head -1``."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), select.POLLERR)
    if not watch.poll(0):
        return False
    # the interpreter flushes once more at exit
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _parser() -> tuple[argparse.ArgumentParser, Commands]:
    parser = argparse.ArgumentParser(
        prog="rgb2act",
        description="RGB in, bimanual joint actions out: backbones, a point-cloud teacher,"
        " an aligner and a diffusion policy, as plugins.",
        epilog="Plugins may bring more commands: rgb2act plugins lists them."
        " RGB2ACT_STRICT=1 shows the traceback of a plugin that fails,"
        " RGB2ACT_QUIET=1 silences progress.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rgb2act {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in ("run", "check", "collect", "extract", "align", "train", "act"):
        _chain(commands, name)
    _others(commands)
    return parser, commands


def _add(commands: Commands, name: str, call: str, text: str) -> argparse.ArgumentParser:
    command = _command(commands, name, text)
    command.set_defaults(call=lambda args: _call(call, args))
    return command


def _command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[:1].upper()}{text[1:]}.", allow_abbrev=False
    )
    return command


def _call(target: str, args: argparse.Namespace) -> int:
    module, function = target.split(":")
    called: int = getattr(import_module(f"rgb2act_core.commands.{module}"), function)(args)
    return called


def _chain(commands: Commands, name: str) -> None:
    text = CHAIN.get(
        name, "say what is wrong with a spec, what is cached, and what disk and time the rest needs"
    )
    target = name if name in ("check", "act") else "run"
    command = _add(commands, name, f"run:{target}", text)
    if name == "act":
        command.add_argument("spec", metavar="SPEC|RUN", help="TOML file, or a finished run")
        command.add_argument("--episodes", type=count, metavar="N", help="episodes to act in")
        command.add_argument(
            "--seeds", type=seed_range, metavar="A:B", help="seeds of the episodes, B not included"
        )
        command.add_argument("--workers", type=count, metavar="W", help="processes that simulate")
    else:
        command.add_argument("spec", metavar="SPEC", help="TOML file")
    add_root(command)
    if name == "check" or name in REPLIES:
        command.add_argument("--json", action="store_true", help="answer in JSON on stdout")
    if name == "check":
        command.add_argument(
            "--time", action="store_true", help="measure backbones and teacher on a few frames"
        )


def _others(commands: Commands) -> None:
    plugins = _add(commands, "plugins", "plugins:plugins", "list what plugins bring")
    plugins.add_argument("--json", action="store_true", help="answer in JSON on stdout")

    weights = _add(
        commands, "weights", "weights:weights", "list the weights a spec needs, and where they are"
    )
    weights.add_argument("spec", metavar="SPEC", help="TOML file")
    weights.add_argument("--json", action="store_true", help="answer in JSON on stdout")
    weights.add_argument("--fetch", action="store_true", help="download what is not here yet")

    doctor = _add(
        commands, "doctor", "doctor:doctor", "name each missing piece of a spec, with its remedy"
    )
    doctor.add_argument("spec", metavar="SPEC", help="TOML file")
    doctor.add_argument("--json", action="store_true", help="answer in JSON on stdout")

    selftest = _add(
        commands, "selftest", "selftest:selftest", "check that a component keeps its contract"
    )
    selftest.add_argument("component", metavar="COMPONENT", help="name as in a spec")
    selftest.add_argument("--kind", choices=KINDS, help="where several kinds have the name")

    new = _add(commands, "new-plugin", "new_plugin:new_plugin", "write a plugin to start from")
    new.add_argument("name", metavar="NAME", help="of the plugin and its component")
    new.add_argument("--kind", required=True, choices=KINDS, help="what it brings")
    new.add_argument("--out", default=".", metavar="DIR", help="where its folder goes [.]")

    inspect = _add(
        commands,
        "inspect",
        "inspect:inspect",
        "say what a recorded data set holds, and its damage",
    )
    inspect.add_argument("path", metavar="PATH", help="folder or file of the data set")
    inspect.add_argument("--json", action="store_true", help="answer in JSON on stdout")
    inspect.add_argument("--sheet", metavar="FILE", help="write a contact sheet, a PNG")
    inspect.add_argument("--write-spec", metavar="FILE", help="write a run spec to start from")

    report = _add(commands, "report", "run:report", "write a run's report again")
    report.add_argument("run", metavar="RUN", help="folder of the run, or its name")
    add_root(report)

    verify = _add(
        commands, "verify", "run:verify", "compare what a run acts on with what it was trained on"
    )
    verify.add_argument("run", metavar="RUN", help="folder of the run, or its name")
    verify.add_argument("--episodes", type=count, metavar="N", help="demonstrations to replay")
    add_root(verify)

    serve = _add(
        commands, "serve", "serve:serve", "let simulators elsewhere ask a run's policy what to do"
    )
    serve_arguments(serve)
