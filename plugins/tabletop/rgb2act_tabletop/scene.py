"""The MuJoCo model, made of primitives: two ViperX 300s arms, a table, cubes, cameras.

Joint axes, link lengths and joint limits are those of Trossen's ViperX 300s, which ALOHA uses in
pairs (x = -0.469 and 0.469 m). Shapes, masses, fingers and servos are simplified.
"""

from __future__ import annotations

import math

from .tasks import PEDESTAL, Body, Task

SIDES = ("left", "right")
STEP = 0.002  # seconds per physics step
FLOOR = -0.75  # height of the floor; the table's surface is 0
FINGER = 0.04  # opening of a finger in metres
HOME = (0.0, -0.96, 1.16, 0.0, -0.3, 0.0)
BASES = ((-0.469, 0.5, 0.0), (0.469, 0.5, math.pi))  # x, y, yaw
# name: lowest, highest angle, servo gain, damping
JOINTS = {
    "waist": (-math.pi, math.pi, 800, 60),
    "shoulder": (-1.85005, 1.25664, 1600, 120),
    "elbow": (-1.76278, 1.6057, 800, 60),
    "forearm_roll": (-math.pi, math.pi, 200, 10),
    "wrist_angle": (-1.8675, 2.23402, 200, 10),
    "wrist_rotate": (-math.pi, math.pi, 100, 6),
}
# name: position, point looked at, vertical field of view in degrees
CAMERAS = {
    "head": ((0.0, -0.05, 0.55), (0.0, 0.5, 0.05), 50),
    "top": ((0.0, 0.5, 0.9), (0.0, 0.5, 0.0), 40),
    "front": ((0.0, -0.45, 0.80), (0.0, 0.5, 0.05), 50),
}
# direction and strength of the light, for both renderers
LIGHTS = (((0.3, 0.5, -0.8), 0.65), ((-0.6, 0.3, -0.5), 0.30))
AMBIENT = 0.40

# Collision bits: 1 = objects, 2 = left hand, 4 = right hand; an arm does not collide with itself.
_HANDS = ('contype="2" conaffinity="5"', 'contype="4" conaffinity="3"')
_GRIP = 'condim="4" friction="1.5 0.02 0.0001" solref="0.01 1" solimp="0.95 0.99 0.001"'
_RGB = {
    "red": "0.86 0.12 0.10 1",
    "blue": "0.12 0.25 0.85 1",
    "green": "0.10 0.62 0.20 1",
    "arm": "0.16 0.16 0.18 1",
    "finger": "0.32 0.32 0.35 1",
    "pedestal": "0.80 0.80 0.78 1",
    "table": "0.52 0.50 0.47 1",
    "floor": "0.28 0.29 0.31 1",
}
# red, green and blue of each material, 0 to 1
MATERIALS = {name: tuple(float(part) for part in rgba.split()[:3]) for name, rgba in _RGB.items()}
ROUND = 1.08  # radius of a cylinder / half an edge of a box with about the same visible area


def mjcf(task: Task) -> str:
    """Return the model of a task as MJCF."""
    objects = [_object(body) for body in task.bodies]
    if task.pedestal:
        objects.append(_pedestal())
    return f"""
<mujoco model="tabletop">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{STEP}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual>
    <headlight ambient="{AMBIENT} {AMBIENT} {AMBIENT}" diffuse="0 0 0" specular="0 0 0"/>
    <quality offsamples="0" shadowsize="0"/><map znear="0.01" zfar="10"/>
    <global offwidth="2048" offheight="2048"/>
  </visual>
  <default>
    <geom contype="0" conaffinity="0"/>
    <joint armature="0.05"/>
    <default class="object">
      <geom type="box" contype="1" conaffinity="7" condim="4" friction="1 0.01 0.0001"/>
    </default>
  </default>
  <worldbody>
    {_lights()}
    <geom name="floor" type="plane" size="0 0 1" pos="0 0 {FLOOR}" group="2"
      rgba="{_RGB["floor"]}"/>
    <geom name="table" class="object" size="0.65 0.42 0.02" pos="0 0.48 -0.02"
      rgba="{_RGB["table"]}"/>
    {"".join(_camera(name) for name in CAMERAS)}
    {"".join(_arm(side) for side in range(2))}
    {"".join(objects)}
  </worldbody>
  <actuator>{"".join(_servos(name) for name in SIDES)}</actuator>
</mujoco>"""


def _lights() -> str:
    return "".join(
        f'<light directional="true" castshadow="false" dir="{x} {y} {z}" '
        f'diffuse="{k} {k} {k}" specular="0 0 0"/>'
        for (x, y, z), k in LIGHTS
    )


def _camera(name: str) -> str:
    (px, py, pz), (tx, ty, tz), fovy = CAMERAS[name]
    fx, fy, fz = tx - px, ty - py, tz - pz
    if math.hypot(fx, fy) < 1e-9:  # straight down: the image's top points along y
        axes = "1 0 0 0 1 0"
    else:  # right = forward x up, and MuJoCo makes the second axis orthogonal
        axes = f"{fy} {-fx} 0 {-fx * fz} {-fy * fz} {fx * fx + fy * fy}"
    return f'<camera name="{name}" pos="{px} {py} {pz}" xyaxes="{axes}" fovy="{fovy}"/>'


def _object(body: Body) -> str:
    half = body.half
    if body.shape == "cylinder":
        shape = f'type="cylinder" size="{ROUND * half} {half}"'
    else:
        shape = f'size="{half} {half} {half}"'
    return f"""
    <body name="{body.name}" pos="0 0 {half}"><freejoint name="{body.name}"/>
      <geom name="{body.name}" class="object" {shape} mass="0.05"
        {_GRIP} rgba="{_RGB[body.colour]}"/>
    </body>"""


def _pedestal() -> str:
    half = PEDESTAL[1] / 2 + 0.005  # as high as the highest pedestal; the rest is inside the table
    return f"""
    <body name="pedestal" mocap="true">
      <geom name="pedestal" class="object" size="0.035 0.035 {half}" pos="0 0 {-half}"
        rgba="{_RGB["pedestal"]}"/>
    </body>"""


def _joint(side: str, name: str, axis: str) -> str:
    low, high, _, damping = JOINTS[name]
    return f'<joint name="{side}_{name}" axis="{axis}" range="{low} {high}" damping="{damping}"/>'


def _capsule(ends: str, radius: float, mass: float, more: str = "") -> str:
    return (
        f'<geom type="capsule" fromto="{ends}" size="{radius}" mass="{mass}" {more} '
        f'rgba="{_RGB["arm"]}"/>'
    )


def _box(size: str, pos: str, mass: float, colour: str, more: str = "") -> str:
    return (
        f'<geom type="box" size="{size}" pos="{pos}" mass="{mass}" {more} rgba="{_RGB[colour]}"/>'
    )


def _arm(side: int) -> str:
    s, hand = SIDES[side], _HANDS[side]
    x, y, yaw = BASES[side]
    g = 'gravcomp="1"'
    return f"""
    <body name="{s}_base" pos="{x} {y} 0" euler="0 0 {yaw}">
      {_box("0.06 0.05 0.03", "0 0 0.03", 1.0, "arm")}
      <body name="{s}_shoulder" pos="0 0 0.079" {g}>{_joint(s, "waist", "0 0 1")}
        {_box("0.035 0.04 0.045", "0 0 0.015", 0.8, "arm")}
        <body name="{s}_upper_arm" pos="0 0 0.04805" {g}>{_joint(s, "shoulder", "0 1 0")}
          {_capsule("0 0 0 0 0 0.29", 0.03, 0.6)}{_capsule("0 0 0.3 0.05955 0 0.3", 0.03, 0.2)}
          <body name="{s}_upper_forearm" pos="0.05955 0 0.3" {g}>{_joint(s, "elbow", "0 1 0")}
            {_capsule("0 0 0 0.2 0 0", 0.028, 0.35)}
            <body name="{s}_lower_forearm" pos="0.2 0 0" {g}>
              {_joint(s, "forearm_roll", "1 0 0")}{_capsule("0 0 0 0.09 0 0", 0.025, 0.35, hand)}
              <body name="{s}_wrist" pos="0.1 0 0" {g}>{_joint(s, "wrist_angle", "0 1 0")}
                {_capsule("0 0 0 0.05 0 0", 0.024, 0.12, hand)}
                <body name="{s}_gripper" pos="0.069744 0 0" {g}>
                  {_joint(s, "wrist_rotate", "1 0 0")}
                  {_box("0.03 0.052 0.025", "0.03 0 0", 0.4, "arm", hand)}
                  <site name="{s}_hand" pos="0.1347 0 0" group="5"/>
                  {_finger(s, "finger_a", 1, hand)}{_finger(s, "finger_b", -1, hand)}
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>"""


def _finger(side: str, name: str, sign: int, hand: str) -> str:
    return f"""
    <body name="{side}_{name}" pos="0.105 {sign * 0.006} 0" gravcomp="1">
      <joint name="{side}_{name}" type="slide" axis="0 {sign} 0" range="0 {FINGER}" damping="10"/>
      {_box("0.045 0.006 0.011", "0 0 0", 0.05, "finger", f'name="{side}_{name}" {hand} {_GRIP}')}
    </body>"""


def _servos(side: str) -> str:
    arm = "".join(
        f'<position joint="{side}_{name}" kp="{gain}" ctrlrange="{low} {high}"/>'
        for name, (low, high, gain, _) in JOINTS.items()
    )
    fingers = "".join(
        f'<position joint="{side}_{name}" kp="400" ctrlrange="0 {FINGER}"/>'
        for name in ("finger_a", "finger_b")
    )
    return arm + fingers
