"""Measure the throughput of evaluation and where its time goes, compared with plain loops.

The policy has the sizes of lift_distractors.toml and is barely trained, so every episode runs to
its full length. The plain loop runs one episode after another in a single process and renders every
frame. The simulation-only loops hold the arms in their current joint positions and never plan.

Times are wall-clock times without start-up and resets, the median of alternating rounds. CPU time
would not show the benefit of workers on other cores, so run this on an otherwise idle machine.

    python benchmarks/bench_act.py [--rounds 2] [--episodes 6]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from shared import compare, lift_distractors

from rgb2act_core.evaluation.simulator_pool import SimulatorPool
from rgb2act_core.interfaces import Environment
from rgb2act_core.pipeline import chain
from rgb2act_core.policy.batch_planner import BatchPlanner, open_encoders
from rgb2act_core.policy.rollout import full_actions
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.stages import act
from rgb2act_core.stages.run import Run
from rgb2act_core.stages.tasks import open_tasks

PARTS = ((SimulatorPool, "reset"), (SimulatorPool, "step"), (BatchPlanner, "tokens"))
PARTS += ((BatchPlanner, "see"), (BatchPlanner, "plan"), (act.EpisodeBatch, "run"))


def small(run: Run, episodes: int) -> Run:
    """Return the run of lift_distractors.toml with two demonstrations and three training steps."""
    spec = attrs.evolve(
        run.spec,
        collect=attrs.evolve(run.spec.collect, episodes=2, scenes=0),
        align=attrs.evolve(run.spec.align, steps=3),
        policy=attrs.evolve(run.spec.policy, steps=3),
        act=attrs.evolve(run.spec.act, episodes=episodes, parallel_episodes=episodes, videos=0),
    )
    return attrs.evolve(run, spec=spec)


def policy_of(run: Run) -> Path:
    """Train the policy and return its folder."""
    chain.run_pipeline(run.spec, run.root, until="train")
    (folder,) = (path.parent for path in (run.store / "policy").glob("*/policy.json"))
    return folder


def clocked(spent: Counter[str], part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a wrapper of ``call`` that adds its wall time in seconds to ``spent``."""

    def run(*args: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*args)
        finally:
            spent[part] += time.perf_counter() - start

    return run


def evaluation(run: Run, policy: Path, spent: Counter[str]) -> Callable[[], float]:
    """Return a function that evaluates the policy and returns milliseconds per step."""

    def cost() -> float:
        spent.clear()
        folder = Path(tempfile.mkdtemp(dir=run.root))  # a reused folder would resume
        results = act.act(run, open_tasks(run), policy, folder)
        spent["steps"] = sum(episode["steps"] for episode in results["episodes"])
        return 1e3 * (spent["run"] - spent["reset"]) / spent["steps"]

    return cost


def plain(run: Run, environment: Environment, policy_folder: Path) -> Callable[[], float]:
    """Return a function that runs one episode in this process and returns ms per step."""
    policy, env = load_policy(policy_folder), environment.make()
    encoders = open_encoders(policy, run.spec.backbone, "cpu")
    planner = BatchPlanner(policy, encoders, 1, "cpu")

    def cost() -> float:
        observation, _ = env.reset(seed=run.spec.act.start)
        start, steps, done = time.perf_counter(), 0, False
        history, generator = planner.history(), torch.Generator().manual_seed(0)
        history.add(observation["rgb"][None], observation["joints"][None])
        while not done:
            planner.see([history])
            plan = planner.plan({0: history}, {0: generator})[0].actions_PSA[0]
            for action in full_actions(
                policy.config,
                plan[: policy.config.n_action_steps],
                observation["joints"],
                observation["joints"],
            ):
                observation, _, terminated, truncated, _ = env.step(action)
                history.add(observation["rgb"][None], observation["joints"][None])
                steps, done = steps + 1, terminated or truncated
                if done:
                    break
        return 1e3 * (time.perf_counter() - start) / steps

    return cost


def simulation(environment: Environment, look: bool) -> Callable[[], float]:
    """Return a function that only steps the environment and returns milliseconds per step."""
    env = environment.make()

    def cost() -> float:
        env.unwrapped.observe = look
        observation, _ = env.reset(seed=0)
        hold = np.array(observation["joints"])
        start, done, steps = time.perf_counter(), False, 0
        while not done:
            _, _, terminated, truncated, _ = env.step(hold)
            steps, done = steps + 1, terminated or truncated
        return 1e3 * (time.perf_counter() - start) / steps

    return cost


def shares(spent: Counter[str]) -> None:
    """Print how the time of the last evaluation was spent."""
    total = spent["run"] - spent["reset"]
    simulated = spent["step"]
    aligned = spent["see"] - spent["tokens"]
    rest = total - simulated - spent["see"] - spent["plan"]
    parts = {
        "simulation and rendering, in workers": simulated,
        "encoding": spent["tokens"],
        "aligner": aligned,
        "planning": spent["plan"],
        "other": rest,
    }
    print(f"\nevaluation: {spent['steps'] / total:.0f} steps/s; share of its time")
    for name, seconds in parts.items():
        print(f"  {name:42} {100 * seconds / total:6.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="timed rounds")
    parser.add_argument("--episodes", type=int, default=6, help="parallel episodes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        run = small(lift_distractors(Path(name)), options.episodes)
        environment: Environment = run.spec.environments[0].build()
        policy = policy_of(run)
        for owner, part in PARTS:
            setattr(owner, part, clocked(spent, part, getattr(owner, part)))
        title = f"Environment step, {options.episodes} episodes"
        work = {
            "simulation only, no rendering": simulation(environment, look=False),
            "simulation only, every frame rendered": simulation(environment, look=True),
            "plain loop, one episode, one process": plain(run, environment, policy),
            "evaluation, parallel workers": evaluation(run, policy, spent),
        }
        compare(title, "ms", work, options.rounds)
    shares(spent)


if __name__ == "__main__":
    main()
