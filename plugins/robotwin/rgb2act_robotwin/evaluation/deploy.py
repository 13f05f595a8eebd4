"""``rgb2act deploy-robotwin``: write what RoboTwin's own evaluation runs a served policy with."""

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

from rgb2act_core import __version__
from rgb2act_core.errors import UserError
from rgb2act_core.pipeline.run_record import read_run
from rgb2act_core.store.files import read_json
from rgb2act_core.store.stage_id import Stage, StageId

from ..recorded.joint_states import ACTION_NAMES

THIN = Path(rgb2act_wire.__file__).parent
OURS = Path(__file__).parent / "deploy_files"
NOTE = "rgb2act.json"  # which files of a folder are ours
SCRIPTS = (  # RoboTwin's own evaluation in its trees, the older first
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
CLIENT = ("rgb2act_client.py", "rgb2act_wire.py")


@attrs.frozen(kw_only=True)
class Deployed:
    """Say what was written."""

    folders: tuple[Path, ...]
    cameras: tuple[str, ...]
    image: tuple[int, int]


def deploy(run_folder: Path, root: Path, name: str, force: bool) -> Deployed:
    """Write the policy folders that a checkout of RoboTwin can use.

    Raises UserError when the run is not RoboTwin's, when there is no checkout, or when a file that
    is not ours lies where one is to be written.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(f"--name {name!r}: is imported by RoboTwin; give letters and digits")
    recorded = read_run(run_folder)
    shape = read_json(recorded.stage_folder(StageId(Stage.TRAIN)) / "policy.json")["shape"]
    if tuple(shape["action_names"]) != ACTION_NAMES:
        raise UserError(
            f"{run_folder}: moves {', '.join(shape['action_names'])}; RoboTwin takes"
            f" {', '.join(ACTION_NAMES)}; deploy a run of RoboTwin"
        )
    words = {
        "NAME": name,
        "RUN": recorded.run.spec.name,
        "PYTHON": shlex.quote(sys.executable),
        "FOLDER": shlex.quote(str(run_folder.resolve())),
    }
    folders = dict(_folders(root, name, words))
    if not force:
        problems = [p for folder, files in folders.items() for p in _foreign(folder, files)]
        if problems:
            raise UserError(*problems)
    for folder, files in folders.items():
        _write(folder, files, recorded.run.spec.name)
    return Deployed(
        folders=tuple(folders), cameras=tuple(shape["cameras"]), image=tuple(shape["image"])
    )


def _folders(
    root: Path, name: str, words: Mapping[str, str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield each folder to write and its files' contents."""
    lab = root / "XPolicyLab"
    if not (lab.is_dir() or any((root / script).is_file() for script in SCRIPTS)):
        raise UserError(
            f"--into {root}: is no checkout of RoboTwin: it has neither {' nor '.join(SCRIPTS[:2])}"
        )
    yield (
        root / "policy" / name,
        {"__init__.py": "from .deploy_policy import *  # noqa: F403 as RoboTwin asks for\n"}
        | _copies("policy", POLICY, words),
    )
    if lab.is_dir():
        yield (
            lab / "policy" / name,
            {"__init__.py": ""} | _copies("xpolicylab", LAB, words),
        )


def _copies(place: str, names: Sequence[str], words: Mapping[str, str]) -> dict[str, str]:
    """Return the contents of files by name, the words put in, with what all need beside them."""
    files = {}
    for path in (*(OURS / place / name for name in names), OURS / "start_server.sh"):
        text = path.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text if path.suffix == ".py" else text.replace(f"@{word}@", value)
        files[path.name] = text
    return files | {name: (THIN / name).read_text(encoding="utf-8") for name in CLIENT}


def _foreign(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with overwriting: files that are not as we wrote them."""
    note = folder / NOTE
    written = read_json(note).get("files", {}) if note.is_file() else {}
    for name in files:
        path = folder / name
        if path.exists() and written.get(name) != _digest(path.read_bytes()):
            yield f"{path}: is not as rgb2act wrote it; move it away, give --name, or --force"


def _write(folder: Path, files: Mapping[str, str], run: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        if name.endswith(".sh"):
            (folder / name).chmod(0o755)
    digests = {name: _digest(text.encode()) for name, text in files.items()}
    note = {"rgb2act": __version__, "run": run, "files": digests}
    (folder / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
