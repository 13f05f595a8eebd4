"""The scripted expert's planner on a CPU: mplib, in the place of CuRobo.

RoboTwin already builds one mplib planner an arm, to time its paths; this plans with it. A path is
first a straight screw motion, and one found by RRT where that collides or leaves the limits.
"""

from __future__ import annotations

from typing import Any

import mplib
import numpy as np

STEP = 1 / 250  # seconds, RoboTwin's time step
LONGEST = 2500  # steps of a path that RoboTwin still takes
PATIENCE = 10.0  # seconds for RRT; generous, so that a busy machine changes no result
GRIPPER_STEPS = 200


class StandIn:
    """Be built where RoboTwin builds CuRobo's planner; ``replace`` puts the other in its place."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


class CpuPlanner:
    """Plan as RoboTwin asks CuRobo to."""

    def __init__(self, planner: Any) -> None:
        self.planner = planner

    def plan_path(
        self,
        curr_joint_pos: Any,
        target_gripper_pose: Any,
        constraint_pose: Any = None,  # a preference of CuRobo's cost, which mplib has not
        arms_tag: Any = None,
    ) -> dict[str, Any]:
        """Return status, position (n, 6) and velocity (n, 6) of a path to a pose in the world."""
        pose = target_gripper_pose
        goal = mplib.Pose(list(pose.p), list(pose.q))
        # all joints of both arms: six would be taken for the first six, which are of two arms
        qpos = np.asarray(curr_joint_pos, np.float64)
        found = self.planner.plan_screw(goal, qpos, time_step=STEP)
        if not good(found):
            found = self.planner.plan_pose(goal, qpos, time_step=STEP, planning_time=PATIENCE)
        return found if good(found) else {"status": "Fail"}

    def plan_batch(
        self,
        curr_joint_pos: Any,
        target_gripper_pose_list: list[Any],
        constraint_pose: Any = None,
        arms_tag: Any = None,
    ) -> dict[str, Any]:
        """Return the same for several poses, as three lists."""
        paths = [self.plan_path(curr_joint_pos, pose) for pose in target_gripper_pose_list]
        nothing = np.zeros((0, 6))
        return {
            "status": ["Success" if good(path) else "Failure" for path in paths],
            "position": [path.get("position", nothing) for path in paths],
            "velocity": [path.get("velocity", nothing) for path in paths],
        }

    def plan_grippers(self, now_val: float, target_val: float) -> dict[str, Any]:
        """Return a straight motion of a gripper."""
        return {
            "num_step": GRIPPER_STEPS,
            "per_step": (target_val - now_val) / GRIPPER_STEPS,
            "result": np.linspace(now_val, target_val, GRIPPER_STEPS),
        }


def good(found: dict[str, Any]) -> bool:
    """Return whether a path was found that RoboTwin would follow."""
    return found["status"] == "Success" and len(found["position"]) <= LONGEST


def replace(planner_module: Any, robot_module: Any) -> None:
    """Let RoboTwin's robots plan with mplib."""
    planner_module.CuroboPlanner = robot_module.CuroboPlanner = StandIn
    original = robot_module.Robot.set_planner

    def set_planner(self: Any, scene: Any = None) -> None:
        if self.left_robot_file != self.right_robot_file:
            raise ValueError("planner 'mplib' plans for one robot of two arms, not for two")
        original(self, scene)
        self.left_planner = CpuPlanner(self.left_mplib_planner.planner)
        self.right_planner = CpuPlanner(self.right_mplib_planner.planner)

    robot_module.Robot.set_planner = set_planner
