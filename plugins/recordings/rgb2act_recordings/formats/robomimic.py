"""HDF5 files of robomimic: all demonstrations in one file.

``data/demo_N/obs/KEY`` are observations and ``data/demo_N/actions`` the commands of a controller.
The attribute ``env_args`` of ``data`` is JSON with the environment's name, rate and controller, and
``mask/NAME`` lists the demonstrations of a filter. Source:
https://robomimic.github.io/docs/datasets/overview.html
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from rgb2act_core import UserError, did_you_mean, file_digest, parse_json
from rgb2act_core.recordings import hdf5

from .data_set import REMEDY, Array
from .hdf5_arrays import SUFFIXES, arrays_of, number_of

JOINTS = (
    ("robot0_joint_pos", "robot0_gripper_qpos", "robot1_joint_pos", "robot1_gripper_qpos"),
    ("joint_states", "gripper_states"),  # of LIBERO
)
CARTESIAN = ("OSC", "IK", "WHOLE_BODY_IK")  # first words of controllers of end effectors
SAMPLE = 5  # demonstrations by which a file is recognised
LONGEST = 1 << 20  # characters of an attribute with JSON


@attrs.frozen(kw_only=True)
class RobomimicFile:
    """Demonstrations of robomimic; implements ``DataSet``."""

    path: Path
    names: tuple[str, ...]
    settings: Mapping[str, Any]
    """``env_args``; empty if the file has none."""
    layout: str = "robomimic HDF5"
    missing: tuple[str, ...] = ()
    unread: Mapping[str, str] = attrs.field(factory=dict)
    action: str = "actions"

    @property
    def rate(self) -> float | None:
        """The control frequency of the environment."""
        found = self._kwargs.get("control_freq")
        return float(found) if isinstance(found, int | float) and 0 < found < 1e6 else None

    @property
    def task(self) -> str:
        """The name of the environment."""
        found = self.settings.get("env_name")
        return found if isinstance(found, str) else self.path.stem

    @property
    def controller(self) -> str:
        """The controller of end effectors, such as ``OSC_POSE``; otherwise empty."""
        return next((t for t in self._controllers() if t.upper().startswith(CARTESIAN)), "")

    @property
    def _kwargs(self) -> Mapping[str, Any]:
        found = self.settings.get("env_kwargs")
        return found if isinstance(found, dict) else {}

    def _controllers(self) -> Iterator[str]:
        """Yield the types of all controllers, which may be nested by the parts of a body."""
        queue = [self._kwargs.get("controller_configs")]
        while queue:
            part = queue.pop()
            values = list(part.values()) if isinstance(part, dict) else part
            queue += [v for v in values or () if isinstance(v, dict | list)]
            if isinstance(part, dict) and isinstance(part.get("type"), str):
                yield part["type"]

    def usual_joints(self, keys: Collection[str]) -> tuple[str, ...]:
        """Return the joints and grippers of robosuite's robots, or those of LIBERO."""
        found = (tuple(key for key in usual if key in keys) for usual in JOINTS)
        return next(filter(None, found), ())

    def filtered(self, name: str) -> tuple[str, ...]:
        """Return the demonstrations that ``mask/name`` lists."""
        filters = hdf5.names(self.path, "mask")
        if name not in filters:
            raise UserError(
                f"recordings.filter: {self.path} has no filter {name!r}"
                f"{did_you_mean(name, filters)}; choose from {', '.join(filters) or 'none'}"
            )
        listed = hdf5.read_text(self.path, f"mask/{name}")
        unknown = [demo for demo in listed if demo not in set(self.names)]
        if unknown:
            raise UserError(
                f"{self.path}: mask/{name}: lists {unknown[0]!r}, which is not in data; {REMEDY}"
            )
        return tuple(demo for demo in self.names if demo in set(listed))

    def file(self, name: str) -> Path:
        """Return the file."""
        return self.path

    def text(self, name: str) -> str:
        """Return the language of the demonstration (``ep_meta``) or of the data set."""
        for key, attribute, field in (
            (f"data/{name}", "ep_meta", "lang"),
            ("data", "problem_info", "language_instruction"),
        ):
            found = _json(self.path, key, attribute).get(field)
            if isinstance(found, str) and found:
                return found
        return ""

    def arrays(self, name: str) -> Mapping[str, Array]:
        """Return the observations, actions and rewards of a demonstration."""
        with hdf5.open_file(self.path):
            hdf5.array_info(self.path, f"data/{name}/actions")  # names a missing key
            own = arrays_of(self.path, f"data/{name}")
            return {**arrays_of(self.path, f"data/{name}/obs"), **own}

    def digest(self, name: str, keys: Collection[str]) -> str:
        """Return the digest of the file and the demonstration's name."""
        return f"{file_digest(self.path)} {name}"

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield the environment, its controllers and the filters."""
        yield "environment", str(self.settings.get("env_name", "not recorded"))
        controllers = ", ".join(dict.fromkeys(self._controllers()))
        yield "controller", controllers or "not recorded"
        yield "filters", ", ".join(hdf5.names(self.path, "mask")) or "none"


def open_data_set(path: Path) -> RobomimicFile | None:
    """Return the demonstrations in a file; None if it is none of robomimic."""
    if not path.is_file() or path.suffix not in SUFFIXES:
        return None
    try:
        with hdf5.open_file(path):
            names = hdf5.names(path, "data", groups=True)
            if not any("actions" in hdf5.names(path, f"data/{name}") for name in names[:SAMPLE]):
                return None
    except (UserError, OSError):
        return None
    return RobomimicFile(
        path=path,
        names=tuple(sorted(names, key=number_of)),
        settings=_json(path, "data", "env_args"),
    )


def _json(path: Path, key: str, attribute: str) -> Mapping[str, Any]:
    """Return the object in an attribute with JSON; empty if there is none."""
    found = hdf5.read_attribute(path, key, attribute)
    found = found.decode(errors="replace") if isinstance(found, bytes) else found
    if found is None:
        return {}
    try:
        if not isinstance(found, str) or len(found) > LONGEST:
            raise ValueError(f"is no text of at most {LONGEST} characters")
        value = parse_json(found)
    except ValueError as err:
        raise UserError(
            f"{path}: {key}: its attribute {attribute} is not valid JSON ({err}); {REMEDY}"
        ) from err
    return value if isinstance(value, dict) else {}
