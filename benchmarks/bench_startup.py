"""Compare the start of commands with that of a bare interpreter.

User and system CPU time of whole processes; rounds take turns, so that what else the machine does
falls on all alike. ``check`` reads a spec, builds its environment and looks at the store.

    python benchmarks/bench_startup.py [--rounds 7] [--spec examples/quickstart.toml]
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
    """Return the CPU time of a process that must end well."""
    before = used()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return 1000 * (used() - before)


def used() -> float:
    """Return CPU seconds of all processes that this one has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--spec", default=str(ROOT / "examples" / "quickstart.toml"))
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
            cpu_ms(command)  # compiled files and the page cache are warm from here on
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.rounds):
            for name, command in commands.items():
                times[name].append(cpu_ms(command))
    bare = statistics.median(times[BARE])
    print(f"{'':18}{'CPU ms':>8}{'above bare':>12}{'ratio':>8}")
    for name, some in times.items():
        middle = statistics.median(some)
        print(f"{name:18}{middle:8.0f}{middle - bare:12.0f}{middle / bare:8.1f}")


if __name__ == "__main__":
    main()
