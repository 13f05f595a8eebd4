"""Tell what rounding a trained policy's weights costs: plans apart, and success on the same seeds.

Takes a finished run. Plans for recorded frames are drawn from the same noise by the policy as it is
and by copies whose large layers are rounded; the difference is told in units of the actions
(radians of joints and openings of grippers together), as a share of the actions' standard
deviation, and beside the error of the exact plans against the demonstrations. These are the last
that were recorded, most of which the policy was trained on.
With ``--episodes`` each acts on the run's own seeds.

    python benchmarks/bench_int8.py runs/quickstart --episodes 100

Shapes: B = frames, n = actions executed, A = dimensions moved
"""

from __future__ import annotations

import argparse
from pathlib import Path

import attrs
import numpy as np
import torch

from rgb2act_core.builtin.heads.diffusion import DiffusionPolicy
from rgb2act_core.builtin.heads.flow import FlowPolicy
from rgb2act_core.evaluation.episode_batch import EpisodeBatch, open_batch_planner
from rgb2act_core.evaluation.success_rate import wilson
from rgb2act_core.features.encoder import build_backbones
from rgb2act_core.interfaces import Episode
from rgb2act_core.pipeline.run_record import open_dataset, read_run
from rgb2act_core.policy.batch_planner import BatchPlanner, open_encoders
from rgb2act_core.policy.policy import Policy
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.spec.requirements import policy_backbones
from rgb2act_core.stages import act
from rgb2act_core.stages.keys import align_folder, policy_folder
from rgb2act_core.stages.run import Run

PRECISIONS = ("float32", "int8", "bfloat16")


def rounded(folder: Path, precision: str) -> Policy:
    """Return the policy that plans in this precision."""
    policy = load_policy(folder)
    assert isinstance(policy.head, DiffusionPolicy | FlowPolicy)
    policy.head.precision = precision
    return policy


def plans_of(planner: BatchPlanner, episodes: list[Episode], count: int) -> np.ndarray:
    """Return executed steps (B, n, A) of plans, by the code that acts."""
    made, shape = [], planner.policy.config
    for number, episode in enumerate(episodes):
        history = planner.history()
        assert episode.joints is not None
        for t in range(len(episode.joints)):
            history.add(np.asarray(episode.rgb[t : t + 1]), episode.joints[t : t + 1])
            if t % 5 or t + shape.n_action_steps > len(episode.joints):
                continue
            planner.see([history], [])
            generator = torch.Generator().manual_seed(1000 * number + t)
            plans = planner.plan({0: history}, {0: generator})[0].actions_PSA
            made.append(plans[0][: shape.n_action_steps])
    return np.stack(made)[:count]


def demonstrated(planner: BatchPlanner, episodes: list[Episode], count: int) -> np.ndarray:
    """Return what was done at the same frames (B, n, A)."""
    shape, made = planner.policy.config, []
    for episode in episodes:
        assert episode.actions is not None
        steps, moved = shape.n_action_steps, episode.actions[:, list(shape.action_index)]
        made += [moved[t : t + steps] for t in range(0, len(moved) - steps + 1, 5)]
    return np.stack(made)[:count]


def success(run: Run, policy: Policy) -> tuple[int, int]:
    """Return successes and episodes on the run's seeds."""
    tries = run.spec.act
    planner = open_batch_planner(policy, policy_backbones(run.spec), tries, "cpu")
    seeds = list(range(tries.start, tries.start + tries.episodes))
    wins = 0
    (task,) = act.evaluation_tasks(run, [""])
    with task.simulators(planner.batch, planner.frames_needed) as simulators:
        for first in range(0, len(seeds), planner.batch):
            part = seeds[first : first + planner.batch]
            played = EpisodeBatch(tries, planner, simulators, part).run(lambda *_: None)
            wins += sum(episode["success"] for episode in played)
    return wins, len(seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description="what rounded weights cost a trained policy")
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--last", type=int, default=10, help="demonstrations, the last ones")
    parser.add_argument("--episodes", type=int, default=0, help="to act in; 0 for none")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks, data = open_dataset(read_run(options.run))
    run = tasks.run
    folder = policy_folder(run, data, align_folder(run, data)).path
    episodes = [source.open() for source in data.demonstrations[-options.last :]]
    backbones = build_backbones(policy_backbones(run.spec), "cpu")
    tries = attrs.evolve(run.spec.act, episodes=max(options.episodes, 1), videos=0)
    run = attrs.evolve(run, spec=attrs.evolve(run.spec, act=tries))
    exact: np.ndarray | None = None
    for precision in PRECISIONS:
        policy = rounded(folder, precision)
        planner = BatchPlanner(policy, open_encoders(policy, backbones, "cpu"), 1, "cpu")
        plans = plans_of(planner, episodes, options.frames)
        if exact is None:
            exact, done = plans, demonstrated(planner, episodes, options.frames)
            wrong, spread = np.sqrt(np.square(plans - done).mean()), done.std((0, 1))
            told = f"{wrong:.4f} from the demonstrations"
        else:
            apart = np.sqrt(np.square(plans - exact).mean((0, 1)))
            share = float((apart / spread).mean())
            told = f"{np.sqrt(np.square(apart).mean()):.5f} from float32, {share:.2%} of the std"
        print(f"{precision}: rms {told}", flush=True)
        if options.episodes:
            wins, count = success(run, rounded(folder, precision))
            low, high = wilson(wins, count)
            print(f"  success {wins} of {count}, {low:.2f} to {high:.2f}", flush=True)


if __name__ == "__main__":
    main()
