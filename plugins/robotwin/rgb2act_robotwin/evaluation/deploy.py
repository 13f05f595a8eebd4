"""Write the policy folders with which RoboTwin's own evaluation runs a served policy."""

from __future__ import annotations

import hashlib
import json
import keyword
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import rgb2act_wire

from rgb2act_core import UserError, __version__, open_run
from rgb2act_core.serving import read_policy_info

from ..config import Robotwin
from ..recorded.joint_states import ACTION_NAMES
from ..simulator.worker_client import FOLDER as WORKER
from .compression import compression_of
from .xpolicylab import history_warning

CLIENT_FOLDER = Path(rgb2act_wire.__file__).parent
TEMPLATES = Path(__file__).parent / "deploy_files"
MANIFEST = "rgb2act.json"  # digests of the files that rgb2act wrote
SCRIPTS = (  # of RoboTwin's evaluation, in its older and its newer trees
    "script/eval_policy.py",
    "scripts/eval_policy_xpolicylab.py",
    "script/eval_policy_xpolicylab.py",
)
POLICY = ("deploy_policy.py", "deploy_policy.yml", "eval.sh")
LAB = (
    "model.py",
    "deploy.yml",
    "rgb2act_xpolicylab.py",
    "eval.sh",
    "setup_eval_policy_server.sh",
    "setup_eval_env_client.sh",
)
SHARED = ("start_server.sh", "fallbacks.sh", "rgb2act_images.py")
CLIENT = ("rgb2act_client.py", "rgb2act_wire.py")
FALLBACKS = ("shader", "shadows", "planner", "fps")  # settings of the spec that RoboTwin lacks


@attrs.frozen(kw_only=True)
class Deployment:
    """The written folders, the input of the policy, and what limits it in that checkout."""

    folders: tuple[Path, ...]
    cameras: tuple[str, ...]
    image: tuple[int, int]
    warnings: tuple[str, ...] = ()


def deploy(run_folder: Path, root: Path, name: str, force: bool) -> Deployment:
    """Write policy folders into a checkout of RoboTwin.

    Raises UserError if the run's joints are not RoboTwin's, if ``root`` is not a checkout, or,
    without ``force``, if a file to be written exists and rgb2act did not write it.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(f"--name {name!r}: is not a Python identifier; give letters and digits")
    info = read_policy_info(run_folder)
    if info.action_names != ACTION_NAMES:
        raise UserError(
            f"{run_folder}: has actions {', '.join(info.action_names)}; RoboTwin has"
            f" {', '.join(ACTION_NAMES)}; deploy a run of RoboTwin"
        )
    values = {
        "NAME": name,
        "RUN": info.run,
        "PYTHON": shlex.quote(sys.executable),
        "FOLDER": shlex.quote(str(run_folder.resolve())),
        "FALLBACKS": shlex.quote(_fallbacks(run_folder)),
        "WORKER": shlex.quote(str(WORKER)),
        "JPEG": compression_of(run_folder),
    }
    folders = dict(_folders(root, name, values))
    if not force:
        problems = [p for folder, files in folders.items() for p in _foreign(folder, files)]
        if problems:
            raise UserError(*problems)
    for folder, files in folders.items():
        _write(folder, files, info.run)
    warning = history_warning(info) if _uses_xpolicylab(root) else None
    return Deployment(
        folders=tuple(folders),
        cameras=info.cameras,
        image=info.image,
        warnings=(warning,) if warning else (),
    )


def _fallbacks(run_folder: Path) -> str:
    """Return the settings of a run's simulator that are not RoboTwin's own, as JSON, or ``""``."""
    config = open_run(run_folder).spec.environments[0].config
    defaults = attrs.fields_dict(Robotwin)
    chosen = {
        name: getattr(config, name)
        for name in FALLBACKS
        if isinstance(config, Robotwin) and getattr(config, name) != defaults[name].default
    }
    return json.dumps(chosen) if chosen else ""


def _uses_xpolicylab(root: Path) -> bool:
    """Return whether a checkout evaluates through XPolicyLab's client."""
    return (root / "XPolicyLab").is_dir() or not (root / SCRIPTS[0]).is_file()


def _folders(
    root: Path, name: str, values: Mapping[str, str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield each folder to write with the contents of its files."""
    lab = root / "XPolicyLab"
    if not (lab.is_dir() or any((root / script).is_file() for script in SCRIPTS)):
        raise UserError(
            f"--into {root}: is not a checkout of RoboTwin, which has {' or '.join(SCRIPTS[:2])};"
            " give its folder"
        )
    yield (
        root / "policy" / name,
        {"__init__.py": "from .deploy_policy import *  # noqa: F403 RoboTwin needs it\n"}
        | _copies("policy", POLICY, values),
    )
    if lab.is_dir():
        yield (
            lab / "policy" / name,
            {"__init__.py": ""} | _copies("xpolicylab", LAB, values),
        )


def _copies(folder: str, names: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
    """Return the contents of files by name, with placeholders filled, and of the shared files."""
    files = {}
    for path in (*(TEMPLATES / folder / name for name in names), *(TEMPLATES / n for n in SHARED)):
        text = path.read_text(encoding="utf-8")
        for key, value in values.items():
            text = text if path.suffix == ".py" else text.replace(f"@{key}@", value)
        files[path.name] = text
    return files | {name: (CLIENT_FOLDER / name).read_text(encoding="utf-8") for name in CLIENT}


def _foreign(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each existing file that rgb2act did not write or that was changed."""
    manifest = folder / MANIFEST
    text = manifest.read_text(encoding="utf-8") if manifest.is_file() else "{}"
    written = json.loads(text).get("files", {})
    for name in files:
        path = folder / name
        if path.exists() and written.get(name) != _digest(path.read_bytes()):
            yield (
                f"{path}: was changed or not written by rgb2act; move it, or give --name or --force"
            )


def _write(folder: Path, files: Mapping[str, str], run: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        if name.endswith(".sh"):
            (folder / name).chmod(0o755)
    digests = {name: _digest(text.encode()) for name, text in files.items()}
    manifest = {"rgb2act": __version__, "run": run, "files": digests}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
