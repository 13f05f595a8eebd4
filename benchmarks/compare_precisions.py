"""Measure how reduced precision changes the plans and the success rate of a trained policy.

The policy of a finished run plans for recorded frames in float32, int8 and bfloat16, from the same
noise. The difference from float32 is reported in units of the actions (joint angles in radians and
gripper openings together) and as a fraction of their standard deviation. For comparison, the
float32 plans are also compared with the demonstrated actions. The frames are those of the last
demonstrations, most of which are in the training split. With ``--episodes`` every precision is also
evaluated on the run's own seeds.

    python benchmarks/compare_precisions.py runs/lift_distractors --episodes 100

Shapes: B = frames, n = actions executed, A = controlled action dims
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


def policy_in(folder: Path, precision: str) -> Policy:
    """Load the policy and set the precision of its plans."""
    policy = load_policy(folder)
    assert isinstance(policy.head, DiffusionPolicy | FlowPolicy)
    policy.head.precision = precision
    return policy


def plans_of(planner: BatchPlanner, episodes: list[Episode], count: int) -> np.ndarray:
    """Return the executed steps (B, n, A) of plans, produced as in evaluation."""
    plans_BnA, config = [], planner.policy.config
    for number, episode in enumerate(episodes):
        history = planner.history()
        assert episode.joints is not None
        for t in range(len(episode.joints)):
            history.add(np.asarray(episode.rgb[t : t + 1]), episode.joints[t : t + 1])
            if t % 5 or t + config.n_action_steps > len(episode.joints):
                continue
            planner.see([history])
            generator = torch.Generator().manual_seed(1000 * number + t)
            plans = planner.plan({0: history}, {0: generator})[0].actions_PSA
            plans_BnA.append(plans[0][: config.n_action_steps])
    return np.stack(plans_BnA)[:count]


def demonstrated(planner: BatchPlanner, episodes: list[Episode], count: int) -> np.ndarray:
    """Return the demonstrated actions (B, n, A) at the same frames."""
    config, actions_BnA = planner.policy.config, []
    for episode in episodes:
        assert episode.actions is not None
        steps, actions = config.n_action_steps, episode.actions[:, list(config.action_index)]
        actions_BnA += [actions[t : t + steps] for t in range(0, len(actions) - steps + 1, 5)]
    return np.stack(actions_BnA)[:count]


def success(run: Run, policy: Policy) -> tuple[int, int]:
    """Return the number of successes and of episodes on the run's seeds."""
    act_config = run.spec.act
    planner = open_batch_planner(policy, policy_backbones(run.spec), act_config, "cpu")
    seeds = list(range(act_config.start, act_config.start + act_config.episodes))
    successes = 0
    (task,) = act.evaluation_tasks(run, [""])
    with task.simulators(planner.batch, planner.frames_observed) as simulators:
        for first in range(0, len(seeds), planner.batch):
            batch = seeds[first : first + planner.batch]
            results = EpisodeBatch(act_config, planner, simulators, batch).run(lambda *_: None)
            successes += sum(episode["success"] for episode in results)
    return successes, len(seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--frames", type=int, default=256, help="recorded frames to plan for")
    parser.add_argument("--last", type=int, default=10, help="use the last N demonstrations")
    parser.add_argument("--episodes", type=int, default=0, help="0 skips the evaluation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks, data = open_dataset(read_run(options.run))
    run = tasks.run
    folder = policy_folder(run, data, align_folder(run, data)).path
    episodes = [source.open() for source in data.demonstrations[-options.last :]]
    backbones = policy_backbones(run.spec)
    act_config = attrs.evolve(run.spec.act, episodes=max(options.episodes, 1), videos=0)
    run = attrs.evolve(run, spec=attrs.evolve(run.spec, act=act_config))
    exact: np.ndarray | None = None
    for precision in PRECISIONS:
        policy = policy_in(folder, precision)
        planner = BatchPlanner(policy, open_encoders(policy, backbones, "cpu"), 1, "cpu")
        plans = plans_of(planner, episodes, options.frames)
        if exact is None:
            exact, actions = plans, demonstrated(planner, episodes, options.frames)
            error, spread = np.sqrt(np.square(plans - actions).mean()), actions.std((0, 1))
            distance = f"{error:.4f} from the demonstrations"
        else:
            rms_A = np.sqrt(np.square(plans - exact).mean((0, 1)))
            share = float((rms_A / spread)[spread > 0].mean())
            distance = (
                f"{np.sqrt(np.square(rms_A).mean()):.5f} from float32, {share:.2%} of the std"
            )
        print(f"{precision}: rms {distance}", flush=True)
        if options.episodes:
            successes, count = success(run, policy_in(folder, precision))
            low, high = wilson(successes, count)
            print(f"  success {successes} of {count}, {low:.2f} to {high:.2f}", flush=True)


if __name__ == "__main__":
    main()
