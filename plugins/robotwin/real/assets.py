"""Write stand-in assets, with which RoboTwin's tasks on boxes run without a download.

usage: python assets.py FOLDER   writes FOLDER/assets

The robot has the joints, links, cameras and config of RoboTwin's aloha-agilex, but other geometry:
two six-joint arms made of slim cylinders, which hide little from the head camera, with parallel
fingers. Tasks whose objects are boxes (handover_block, stack_blocks_two, stack_blocks_three,
blocks_ranking_rgb, blocks_ranking_size) need nothing else; beat_block_hammer needs the hammer of
``hammer.py``. ``demo_randomized`` also takes the boxes of ``clutter.py`` and the patterns of
``textures.py``.
Success rates with these assets do not carry over to the real robot.

Lengths are metres, angles radians; a link's frame has x along the hand and z up.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from clutter import write_clutter
from hammer import write_hammer
from textures import write_textures

Vector = tuple[float, float, float]

SIDES = {"fl": 0.30, "fr": -0.30}  # prefix of an arm's names, and its position along y
UPPER, FORE, ELBOW = (
    0.32,
    0.31,
    0.06,
)  # arm lengths, upward offset of the forearm
MIDDLE: Vector = (FORE / 2, 0, ELBOW)
HAND: Vector = (0.075, 0, 0)  # position of the fingers
SLIM = 0.024  # diameter of the links between the head camera and the table; 0.04 hides blocks
UPRIGHT: Vector = (0, 0, 0)
ACROSS: Vector = (math.pi / 2, 0, 0)
DARK, LIGHT, FINGER = "0.25 0.25 0.28 1", "0.75 0.75 0.78 1", "0.9 0.45 0.1 1"
ROBOT = "aloha-agilex"
URDF = "arx5_description_isaac"
DEFAULT = "Default"  # the only reason for which SAPIEN ignores collisions of two links
MOST_PAIRS = 31  # limit of SAPIEN's loader


@dataclass(frozen=True)
class Box:
    """A box parallel to a link's axes."""

    size: Vector
    centre: Vector
    colour: str
    rotation: Vector = (0, 0, 0)

    def shape(self) -> ElementTree.Element:
        """Return the shape in URDF's format."""
        return ElementTree.Element("box", size=as_text(self.size))


@dataclass(frozen=True)
class Rod:
    """A cylinder along a link's z axis, or rotated from it: roll, pitch, yaw."""

    length: float
    diameter: float
    centre: Vector
    colour: str
    rotation: Vector = (0, math.pi / 2, 0)  # along x

    def shape(self) -> ElementTree.Element:
        """Return the shape in URDF's format."""
        radius, length = f"{self.diameter / 2:g}", f"{self.length:g}"
        return ElementTree.Element("cylinder", radius=radius, length=length)


@dataclass(frozen=True)
class Part:
    """A link and the joint that connects it to its parent."""

    link: str
    parent: str
    at: Vector
    solid: Box | Rod | None = None
    joint: str = "fixed"  # type
    axis: Vector = (0, 0, 0)
    limits: tuple[float, float] = (0, 0)
    tilt: float = 0.0  # about y
    mass: float = 0.5


def arm(side: str, y: float) -> list[Part]:
    """Return the parts of one arm, from the shoulder to the camera at the wrist."""
    link = [f"{side}_base_link", *(f"{side}_link{i}" for i in range(1, 9))]
    turn, lift, down, roll = (0, 0, 1), (0, 1, 0), (0, -1, 0), (1, 0, 0)
    hinges: list[tuple[Vector, Vector, tuple[float, float], Box | Rod]] = [
        ((0, 0, 0.06), turn, (-3.0, 3.0), Rod(0.05, 0.06, (0, 0, 0.02), DARK, UPRIGHT)),
        ((0.02, 0, 0.04), lift, (-0.2, 3.6), Rod(UPPER - 0.1, 0.05, (-UPPER / 2, 0, 0), LIGHT)),
        ((-UPPER, 0, 0), down, (-0.2, 3.4), Rod(FORE - 0.1, SLIM, MIDDLE, LIGHT)),
        ((FORE, 0, ELBOW), down, (-2.0, 2.0), Rod(0.04, SLIM, (0.03, 0, 0), DARK)),
        ((0.06, 0, 0), turn, (-1.6, 1.6), Rod(0.08, SLIM, (0.04, 0, 0), DARK)),
        ((0.03, 0, 0), roll, (-3.1, 3.1), Rod(0.09, SLIM, (0.06, 0, 0), DARK, ACROSS)),
    ]
    parts = [
        Part(link[0], "base_link", (0.23, y, 0.80), Box((0.08, 0.08, 0.08), (0, 0, -0.01), DARK)),
        *(
            Part(link[i], link[i - 1], at, solid, "revolute", axis, limits)
            for i, (at, axis, limits, solid) in enumerate(hinges, 1)
        ),
    ]
    for i, way in ((7, 1), (8, -1)):
        pad = Box((0.064, 0.012, 0.04), (0.032, 0.006 * way, 0), FINGER)
        slide, span = (0, way, 0), (-0.02, 0.05)
        parts.append(Part(link[i], link[6], HAND, pad, "prismatic", slide, span, mass=0.05))
    eye = "left_camera" if side == "fl" else "right_camera"
    return [*parts, Part(eye, link[6], (-0.06, 0, 0.09), tilt=0.45)]


def urdf() -> ElementTree.Element:
    """Return the robot's description."""
    robot = ElementTree.Element("robot", name="standin")
    trunk = Box((0.3, 0.5, 0.4), (0.0, 0.0, 0.35), DARK)
    write(robot, Part("base_link", "", (0, 0, 0), trunk, mass=10))
    for side, y in SIDES.items():
        for part in arm(side, y):
            write(robot, part)
    return robot


def write(robot: ElementTree.Element, part: Part) -> None:
    """Add the link of a part, and its joint if it has a parent."""
    link = ElementTree.SubElement(robot, "link", name=part.link)
    inertial = ElementTree.SubElement(link, "inertial")
    ElementTree.SubElement(inertial, "mass", value=str(part.mass))
    ElementTree.SubElement(inertial, "origin", xyz="0 0 0")
    turning = {name: "0.002" if name[1] == name[2] else "0" for name in inertias()}
    ElementTree.SubElement(inertial, "inertia", turning)
    solid = part.solid
    for kind in ("visual", "collision") if solid else ():
        assert solid is not None
        shape = ElementTree.SubElement(link, kind)
        rotation = as_text(solid.rotation)
        ElementTree.SubElement(shape, "origin", xyz=as_text(solid.centre), rpy=rotation)
        ElementTree.SubElement(shape, "geometry").append(solid.shape())
        if kind == "visual":
            material = ElementTree.SubElement(shape, "material", name=f"{part.link}_paint")
            ElementTree.SubElement(material, "color", rgba=solid.colour)
    if not part.parent:
        return
    name = part.link.replace("link", "joint") if "link" in part.link else f"{part.link}_joint"
    joint = ElementTree.SubElement(robot, "joint", name=name, type=part.joint)
    ElementTree.SubElement(joint, "parent", link=part.parent)
    ElementTree.SubElement(joint, "child", link=part.link)
    ElementTree.SubElement(joint, "origin", xyz=as_text(part.at), rpy=f"0 {part.tilt} 0")
    if part.joint != "fixed":
        low, high = map(str, part.limits)
        ElementTree.SubElement(joint, "axis", xyz=as_text(part.axis))
        ElementTree.SubElement(joint, "limit", lower=low, upper=high, effort="100", velocity="10")


def inertias() -> list[str]:
    """Return the names of an inertia's entries."""
    return ["ixx", "iyy", "izz", "ixy", "ixz", "iyz"]


def as_text(vector: Vector) -> str:
    """Return a vector in URDF's format."""
    return " ".join(f"{round(value, 6):g}" for value in vector)


def srdf() -> ElementTree.Element:
    """Return the pairs of links whose collisions are ignored: those always close to each other."""
    robot = ElementTree.Element("robot", name="standin")
    for side in SIDES:
        names = [f"{side}_base_link", *(f"{side}_link{i}" for i in range(1, 9))]
        near = [(0, 5), (0, 6), (0, 7), (0, 8), (1, 3), (1, 5), (1, 6), (1, 7), (1, 8)]
        near += [(2, 4), (2, 5), (4, 6), (5, 7), (5, 8), (7, 8)]
        for a, b in near:
            both = {"link1": names[a], "link2": names[b], "reason": DEFAULT}
            ElementTree.SubElement(robot, "disable_collisions", both)
    assert len(robot) <= MOST_PAIRS
    return robot


def config() -> dict[str, object]:
    """Return the embodiment's config; gripper_scale holds a box without squeezing it out."""
    still = [[0] * 6, [0] * 6]
    grippers = [
        {"base": f"{side}_joint7", "mimic": [[f"{side}_joint8", 1.0, 0.0]]} for side in SIDES
    ]
    return {
        "urdf_path": f"./urdf/{URDF}.urdf",
        "srdf_path": f"./srdf/{URDF}.srdf",
        "joint_stiffness": 1000,
        "joint_damping": 200,
        "gripper_stiffness": 1000,
        "gripper_damping": 200,
        "move_group": [f"{side}_link6" for side in SIDES],
        "ee_joints": [f"{side}_joint6" for side in SIDES],
        "arm_joints_name": [[f"{side}_joint{i}" for i in range(1, 7)] for side in SIDES],
        "gripper_name": grippers,
        "gripper_bias": 0.12,
        "gripper_scale": [0.006, 0.045],
        "homestate": still,
        "delta_matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "global_trans_matrix": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
        "robot_pose": [[0, -0.65, 0, 0.707, 0, 0, 0.707]],
        "planner": "mplib_RRT",
        "dual_arm": True,
        "rotate_lim": [0, 1],
        "grasp_perfect_direction": ["front_right", "front_left"],
        "static_camera_list": [
            camera("head_camera", (-0.032, -0.45, 1.35), (0, 0.6, -0.8)),
            camera("front_camera", (0.2, -0.45, 0.85), (0, 1, -0.1)),
        ],
    }


def camera(name: str, position: Vector, forward: Vector) -> dict[str, object]:
    """Return a static camera."""
    left = [-1, 0, 0]
    return {"name": name, "type": "D435", "position": position, "forward": forward, "left": left}


def make(folder: Path) -> Path:
    """Write FOLDER/assets and return its path; JSON is YAML too."""
    assets = folder / "assets"
    robot = assets / "embodiments" / ROBOT
    for path in (robot / "urdf", robot / "srdf", assets / "objects" / "objaverse"):
        path.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(urdf()).write(robot / "urdf" / f"{URDF}.urdf", xml_declaration=True)
    for name in (
        "srdf",
        "urdf",
    ):  # read by RoboTwin and by SAPIEN, respectively
        ElementTree.ElementTree(srdf()).write(robot / name / f"{URDF}.srdf")
    (robot / "config.yml").write_text(json.dumps(config(), indent=1))
    for arm_name, side in zip(("left", "right"), SIDES, strict=True):
        kinematics = {"base_link": f"{side}_base_link", "ee_link": f"{side}_link6"}
        settings = {"robot_cfg": {"kinematics": kinematics}, "planner": {"frame_bias": [0, 0, 0]}}
        for name in (f"curobo_{arm_name}.yml", f"curobo_{arm_name}_tmp.yml"):
            (robot / name).write_text(json.dumps(settings))
    no_objects = {"item_names": [], "list_of_items": {}, "z_max": {}, "radius": {}, "z_offset": {}}
    (assets / "objects" / "objaverse" / "list.json").write_text(json.dumps(no_objects))
    (assets / "objects" / "same.json").write_text("{}")
    write_hammer(assets / "objects")
    write_clutter(assets / "objects")
    write_textures(assets / "background_texture")
    return assets


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
