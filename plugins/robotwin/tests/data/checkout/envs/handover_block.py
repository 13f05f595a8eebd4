"""As a task of RoboTwin: seed 2 does not rest, 3 breaks, 4 cannot be planned, 5 misses."""

import json
from pathlib import Path

import mplib
import numpy as np
import sapien.render

from ._base_task import Base_Task, Scene
from .camera.camera import Camera
from .entity import Entity
from .listed import like
from .robot.robot import Robot
from .utils.create_actor import UnStableError, create_actor


class Thing:
    """An object of the task, at a height that the seed determines."""

    def __init__(self, number, x, seed):
        self.actor = Entity(number)
        self.actor.set_pose(mplib.Pose([0.1 * number, x, seed], [1, 0, 0, 0]))

    def get_pose(self):
        return self.actor.pose


@like("envs/handover_block.py")
class handover_block(Base_Task):  # noqa: N801 RoboTwin's tasks are named as their modules
    def setup_demo(self, **kwags):
        args, seed = kwags, kwags["seed"]
        np.random.seed(seed)
        sapien.render.set_camera_shader_dir("rt")
        self._double_args, self._double_seed = args, seed
        self.data_type, self.scene = args["data_type"], Scene()
        self.robot, self.cameras = Robot(None, **args), Camera(**args)
        self.setup_scene()
        self._double_noise = np.random.rand()
        self._double_vector = np.zeros(14)
        self._double_vector[[6, 13]] = 1.0
        self.plan_success, self.eval_success, self.take_action_cnt = True, False, 0
        self.left_joint_path, self.right_joint_path = args["left_joint_path"], []
        self.record_cluttered_objects, self.table_z_bias = [], 0.0
        self.load_actors()
        if seed == 2:
            raise UnStableError("box moves")
        self.step_lim = 5 if args.get("eval_mode") else None

    def load_actors(self):
        y, seed = np.random.rand(), self._double_seed
        known = len(self.scene.entities)
        for name, number in (("target_box", 8), ("box", 7)):
            vars(self)[name] = Thing(number + 10 * known, y, seed)
            self.scene.entities.append(vars(self)[name].actor)
        for name in json.loads(Path(__file__).with_name("objects.json").read_text()):
            create_actor(self, None, name, model_id=0).set_mass(0.01)

    def play_once(self):
        if self._double_seed == 3:
            raise ValueError("no contact point")
        height = -1.0 if self._double_seed == 4 else 2.0
        if self._double_args.get("need_plan", True):
            goal = mplib.Pose([0, 0, height], [1, 0, 0, 0])
            found = self.robot.left_planner.plan_path(np.zeros(16), goal, arms_tag="left")
            self.left_joint_path.append(found)
        found = self.left_joint_path[0]
        self.plan_success = found["status"] == "Success"
        for position in found.get("position", []):
            self._double_vector[:6] += 0.1 * position
            if not self._double_args.get("need_plan", True):
                self._take_picture()
        return {"info": {"{A}": "red block"}, "texture_info": {"wall_texture": None}}

    def check_success(self):
        return self._double_seed != 5
