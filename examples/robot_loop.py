"""Control a robot at a fixed rate with a served policy; here the robot is a simulated tabletop.

    rgb2act serve lift_distractors --port 8790 --batch 1
    python examples/robot_loop.py 127.0.0.1:8790 --task lift_distractors --seconds 60

The loop commands joints at ``--hz``. Every action of the policy lasts ``--hz / --policy-hz`` ticks,
between which it interpolates. A thread keeps the newest observation of the cameras. The server has
``--deadline-ms`` for a plan and otherwise continues the plan before it. No joint moves by more than
``--largest-step`` in a tick. If the server dies, the joints stay where they are.

To control a real robot, replace ``simulate`` and ``Cameras``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from rgb2act_client import Client, ServerError


def simulate(pipe: Connection, task: str, cameras: tuple[str, ...], size: int) -> None:
    """Step the tabletop in real time with the newest command, and send each observation."""
    from rgb2act_tabletop import Tabletop, build

    environment = build(Tabletop(task=task, cameras=cameras, size=size))
    env, period, episode = environment.make(), 1 / environment.info.control_hz, 0
    observation, _ = env.reset(seed=episode)
    command = observation["joints"]
    pipe.send((episode, observation["rgb"], observation["joints"]))
    due = time.monotonic()
    while True:
        due = max(due + period, time.monotonic() - period)
        time.sleep(max(due - time.monotonic(), 0))
        while pipe.poll():
            command = pipe.recv()
            if command is None:
                return
        observation, _, success, timeout, _ = env.step(command)
        if success or timeout:
            episode += 1
            observation, _ = env.reset(seed=episode)
            command = observation["joints"]
        pipe.send((episode, observation["rgb"], observation["joints"]))


class Cameras(threading.Thread):
    """Keeps the newest observation: episode, images (V, H, W, 3) and joints (A,)."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(daemon=True)
        self.pipe, self.newest = pipe, pipe.recv()
        self.start()

    def run(self) -> None:
        """Receive observations until the robot stops."""
        try:
            while True:
                self.newest = self.pipe.recv()
        except (EOFError, OSError):
            pass


class Controller:
    """Turns observations into commands; keeps still after an error of the server."""

    def __init__(self, policy: Client, args: argparse.Namespace) -> None:
        self.policy, self.args = policy, args
        self.ticks = max(round(args.hz / args.policy_hz), 1)  # of each action
        self.episode, self.actions = -1, np.zeros((0, 0), np.float32)
        self.late = self.plans = self.limited = self.tick = 0
        self.problem = ""

    def command(self, episode: int, rgb: Any, joints: Any) -> Any:
        """Return the joint positions to command in this tick."""
        if episode != self.episode:  # the robot is somewhere else: begin there
            self.start, self.target, self.sent = joints, joints, joints
        if not self.problem:
            try:
                self._follow(episode, rgb, joints)
            except ServerError as err:
                self.problem = str(err)
                self.start = self.target = self.sent  # keep still
                print(f"keeping still: {self.problem}", flush=True)
        self.episode = episode
        share = (self.tick % self.ticks + 1) / self.ticks
        self.tick += 1
        wanted = self.start + share * (self.target - self.start)
        step = np.clip(wanted - self.sent, -self.args.largest_step, self.args.largest_step)
        self.limited += bool(np.any(self.sent + step != wanted))
        self.sent = (self.sent + step).astype(np.float32)
        return self.sent

    def _follow(self, episode: int, rgb: Any, joints: Any) -> None:
        """Begin the next action when the present one has ended, and plan after the last one."""
        if episode != self.episode:
            self.policy.reset(seed=episode, task=self.args.task if self.policy.tasks else None)
            self.actions, self.tick = self.actions[:0], 0
        if self.tick % self.ticks:
            return
        self.policy.observe(rgb, joints)
        if not len(self.actions):
            self.actions = self.policy.act(deadline_ms=self.args.deadline_ms)
            self.plans, self.late = self.plans + 1, self.late + self.policy.late
        self.start, self.target = self.sent, self.actions[0]
        self.actions = self.actions[1:]


def run(args: argparse.Namespace) -> None:
    """Control for some seconds, and print how well the rate was held."""
    policy = Client(args.address, seconds=args.timeout)
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    names = (args.task, policy.cameras, policy.image[0])
    robot = context.Process(target=simulate, args=(other, *names), daemon=True)
    robot.start()
    cameras, controller = Cameras(pipe), Controller(policy, args)
    period, jitter, busy = 1 / args.hz, [], []
    start = due = time.monotonic() + period
    while due < start + args.seconds:
        time.sleep(max(due - time.monotonic(), 0))
        began = time.monotonic()
        pipe.send(controller.command(*cameras.newest))
        jitter.append(began - due)
        busy.append(time.monotonic() - began)
        due += period
    pipe.send(None)
    robot.join(5)
    show(controller, np.array(jitter), np.array(busy), period)


def show(controller: Controller, jitter: Any, busy: Any, period: float) -> None:
    """Print percentiles of the ticks' delays and durations, and the late plans."""
    for name, seconds in (("jitter", jitter), ("work in a tick", busy)):
        middle, high, most = 1000 * np.percentile(seconds, [50, 99, 100])
        print(f"{name}: p50 {middle:.2f} ms, p99 {high:.2f} ms, max {most:.2f} ms")
    print(f"ticks: {len(jitter)}, of which {(jitter > period).sum()} began a period late")
    print(f"plans: {controller.plans}, late {controller.late}; limited ticks: {controller.limited}")
    if controller.problem:
        print(f"kept still at the end: {controller.problem}")
    else:
        print(f"server: {controller.policy.metrics()['latency']}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("address", metavar="HOST:PORT", help="of rgb2act serve")
    parser.add_argument("--task", default="lift_distractors", help="task of the tabletop")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--hz", type=float, default=20.0, help="commands per second")
    parser.add_argument("--policy-hz", type=float, default=10.0, help="rate of the demonstrations")
    parser.add_argument("--deadline-ms", type=float, default=35.0)
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds until a server is dead")
    parser.add_argument("--largest-step", type=float, default=0.2, help="of a joint in a tick, rad")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
