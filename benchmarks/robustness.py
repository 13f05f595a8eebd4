"""Measure the success of trained runs under changes that they were not trained on.

    python benchmarks/robustness.py quickstart@1 quickstart@2 quickstart@3

The runs are those of one recipe with several training seeds; each is evaluated without a change and
with each jitter of the tabletop's light, colours, cameras and table. Evaluations are kept in the
store of the runs, so an interrupted measurement resumes. The table is printed after each row.

``--always`` sets options of the environment in all rows, such as the jitter that a run was trained
with: ``--always colour_jitter=0 light_jitter=0``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rgb2act_core.evaluation.success_rate import wilson

CHANGES = (
    "",
    "colour_jitter=0.1",
    "colour_jitter=0.2",
    "light_jitter=0.3",
    "light_jitter=0.5",
    "camera_jitter=0.01",
    "camera_jitter=0.03",
    "texture_jitter=0.3",
    "texture_jitter=0.7",
)


def successes(run: str, changes: Sequence[str], root: Path, episodes: int) -> int:
    """Return the number of successful episodes of a run under changes of the environment."""
    command = [sys.executable, "-m", "rgb2act_core", "act", run, "--root", str(root), "--json"]
    command += ["--episodes", str(episodes), "--set", "act.videos=0"]
    command += [part for change in changes for part in ("--set", f"environment.{change}")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(json.loads(done.stdout)["results"]["act"]["successes"])


def main() -> None:
    """Evaluate the runs under each change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="runs of one recipe")
    parser.add_argument("--changes", nargs="+", default=CHANGES, metavar="KEY=VALUE")
    parser.add_argument(
        "--always", nargs="+", default=(), metavar="KEY=VALUE", help="options in all rows"
    )
    parser.add_argument("--episodes", type=int, default=100, help="of each run [100]")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of the runs [runs]")
    given = parser.parse_args()
    print("| change of each episode | success, each seed | all | 95 % interval |")
    print("|---|---|---|---|", flush=True)
    for change in given.changes:
        changes = [*given.always, *([change] if change else [])]
        each = [successes(run, changes, given.root, given.episodes) for run in given.runs]
        all_episodes = given.episodes * len(each)
        low, high = wilson(sum(each), all_episodes)
        name = f"`{change.replace('=', ' = ')}`" if change else "none"
        rates = ", ".join(f"{one / given.episodes:.2f}" for one in each)
        print(
            f"| {name} | {rates} | {sum(each) / all_episodes:.2f} | {low:.2f} to {high:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
