"""Compare the start-up time of commands with that of a bare interpreter.

Times are user plus system CPU time of complete processes. Rounds alternate between commands, so
changes in machine load affect all of them. ``check`` reads a spec, builds its environment and looks
up the store.

    python benchmarks/bench_startup.py [--rounds 7] [--spec examples/lift_distractors.toml]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BARE = "bare interpreter"


def cpu_ms(command: list[str]) -> float:
    """Run a command and return its CPU time in ms; exit with its error if it fails."""
    before = used()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return 1000 * (used() - before)


def used() -> float:
    """Return the CPU seconds of all finished child processes."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds")
    parser.add_argument(
        "--spec", default=str(ROOT / "examples/lift_distractors.toml"), help="spec to check"
    )
    args = parser.parse_args()
    rgb2act = [sys.executable, "-m", "rgb2act_core"]
    with tempfile.TemporaryDirectory() as root:
        commands = {
            BARE: [sys.executable, "-c", "pass"],
            "rgb2act --help": [*rgb2act, "--help"],
            "rgb2act plugins": [*rgb2act, "plugins"],
            "rgb2act check": [*rgb2act, "check", args.spec, "--root", root],
            "import torch": [sys.executable, "-c", "import torch"],
        }
        for command in commands.values():
            cpu_ms(command)  # fill the page cache and compile .pyc files
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                times[name].append(cpu_ms(command))
    bare = statistics.median(times[BARE])
    print(f"{'':18}{'CPU ms':>8}{'above bare':>12}{'ratio':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:18}{median:8.0f}{median - bare:12.0f}{median / bare:8.1f}")


if __name__ == "__main__":
    main()
