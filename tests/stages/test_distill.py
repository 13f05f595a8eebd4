"""Students are trained, resume with the same bits, act without backbones, and pass verify."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from rgb2act_core.distillation.batches import DistillationBatches
from rgb2act_core.distillation.saving import load_student, save_student
from rgb2act_core.distillation.student_encoder import StudentEncoder
from rgb2act_core.errors import UserError
from rgb2act_core.export.folder import export_run
from rgb2act_core.hub.pull import pull
from rgb2act_core.hub.push import push
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.finished_run import open_run
from rgb2act_core.pipeline.run_record import read_run
from rgb2act_core.pipeline.status import check
from rgb2act_core.pipeline.verify import verify
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.serving.server import load_server
from rgb2act_core.spec import BackboneChoice
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.store.stage_id import Stage, StageId

pytestmark = pytest.mark.usefixtures("puppet")
SpecFile = Callable[..., Path]
DISTILL = {
    "student": {"use": "cnn", "width": 8, "blocks": 0, "keypoints": 2, "hidden": 8},
    "steps": 12,
    "batch_size": 8,
    "warmup": 2,
}
STUDENT = {"encoder": "student"}
TRANSFORMER = {
    "head": {
        "use": "diffusion",
        "denoiser": "transformer",
        "sample_steps": 2,
        "transformer": {"width": 16, "layers": 1, "heads": 2},
    }
}
WINDOWS = {"sample": "window", "window": 3, "stride": 2, "aggregate": "attention"}


def keys(folder: Path) -> dict[str, str]:
    return {s["stage"]: s["key"] for s in json.loads((folder / "run.json").read_text())["stages"]}


def student_bytes(folder: Path) -> bytes:
    path = read_run(folder).stage_folder(StageId(Stage.DISTILL))
    return (path / "student.safetensors").read_bytes()


def no_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every backbone impossible to build, as where its weights are missing."""

    def build(self: BackboneChoice) -> Any:
        raise AssertionError("a backbone was built")

    monkeypatch.setattr(BackboneChoice, "build", build)


@pytest.mark.parametrize(
    ("condition", "head", "align"),
    [
        ("aligned", "kept", {}),
        ("dual", "trained", {}),
        ("tokens", "kept", {}),
        ("tokens", "trained", WINDOWS),
        ("aligned", "kept", WINDOWS),
    ],
)
def test_a_student_resumes_with_the_same_bits_acts_without_backbones_and_is_verified(
    spec_file: SpecFile,
    tmp_path: Path,
    puppets_done: Path,
    monkeypatch: pytest.MonkeyPatch,
    condition: str,
    head: str,
    align: dict[str, Any],
) -> None:
    policy = STUDENT | TRANSFORMER | {"condition": condition}
    spec = read_spec(
        spec_file("puppets", distill=DISTILL | {"head": head}, policy=policy, align=align)
    )
    first = shutil.copytree(puppets_done, tmp_path / "first")
    second = shutil.copytree(puppets_done, tmp_path / "second")
    folder = chain.run_pipeline(spec, first, "train")
    steps: list[int] = []
    loss = DistillationBatches.loss

    def trip(self: DistillationBatches, rows: Any, step: int) -> Any:
        steps.append(step)
        if len(steps) == 8:
            raise RuntimeError("interrupted")
        return loss(self, rows, step)

    monkeypatch.setattr(DistillationBatches, "loss", trip)
    with pytest.raises(RuntimeError, match="interrupted"):
        chain.run_pipeline(spec, second, "distill")
    assert student_bytes(chain.run_pipeline(spec, second, "distill")) == student_bytes(folder)
    assert steps == [*range(8), *range(7, 12)]  # resumed after the seventh step
    no_backbones(monkeypatch)
    folder = chain.run_pipeline(spec, first)
    assert verify(folder, 2).problems == ()
    info, sessions = load_server(folder)
    sessions.close()
    assert open_run(folder).planner().config.cameras == info.cameras
    full = attrs.evolve(spec, policy=attrs.evolve(spec.policy, encoder="full"))
    states = {str(s.status.id): str(s.status) for s in check_without_building(full, first)}
    assert (states["train"] == "cached") == (head == "kept")  # a kept head is the full encoder's
    assert states["act"] == "runs"


def check_without_building(spec: Any, root: Path) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rgb2act_core.pipeline.status.check_buildable", lambda *_, **__: None)
        patched.setattr("rgb2act_core.pipeline.forecast.stored_frame_bytes", lambda *_: 0)
        return check(spec, root).stages


def test_a_table_without_a_student_that_acts_changes_no_other_key(
    spec_file: SpecFile, tmp_path: Path, puppets_done: Path
) -> None:
    root = shutil.copytree(puppets_done, tmp_path / "root")
    plain = keys(chain.run_pipeline(read_spec(spec_file("puppets")), root))
    with_student = chain.run_pipeline(read_spec(spec_file("puppets", distill=DISTILL)), root)
    found = keys(with_student)
    assert found.pop("distill")
    assert found == plain
    assert open_run(with_student).results["distill"]["after"].keys() >= {
        "encoder_r2",
        "r2",
        "cosine",
    }
    assert open_run(with_student).student().config.camera_names == ("eye",)


@pytest.mark.parametrize("to", ["torch", "onnx"])
def test_a_student_is_exported_with_the_policy(
    spec_file: SpecFile,
    tmp_path: Path,
    puppets_done: Path,
    monkeypatch: pytest.MonkeyPatch,
    to: Any,
) -> None:
    root = shutil.copytree(puppets_done, tmp_path / "root")
    policy = STUDENT | TRANSFORMER | {"condition": "tokens"}
    spec = read_spec(spec_file("puppets", distill=DISTILL, policy=policy, align=WINDOWS))
    folder = chain.run_pipeline(spec, root, "train")
    no_backbones(monkeypatch)
    exported = export_run(folder, tmp_path / "exported", to)
    # float32 rounding of plans of size 1, through two sampling steps
    assert exported.description["comparison"]["largest"] < 1e-4
    assert exported.description["inputs"][0]["name"] == "image_eye"


def test_a_student_is_pushed_with_the_policy_and_pulled(
    spec_file: SpecFile, tmp_path: Path, puppets_done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(puppets_done, tmp_path / "root")
    spec = read_spec(spec_file("puppets", distill=DISTILL, policy=STUDENT))
    folder = chain.run_pipeline(spec, root, "train")
    push(folder, f"{tmp_path}/pushed")
    no_backbones(monkeypatch)
    pulled = open_run(pull(f"{tmp_path}/pushed", tmp_path / "elsewhere").folder)
    policies = [open_run(folder).policy("cpu"), pulled.policy("cpu")]
    assert pulled.planner("cpu").config.cameras == ("eye",)
    weights = [policy.state_dict() for policy in policies]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert verify(pulled.folder).problems == ()


def test_a_student_of_other_cameras_or_sizes_is_refused(
    spec_file: SpecFile, tmp_path: Path, puppets_done: Path
) -> None:
    root = shutil.copytree(puppets_done, tmp_path / "root")
    spec = read_spec(spec_file("puppets", distill=DISTILL, policy=STUDENT))
    recorded = read_run(chain.run_pipeline(spec, root, "train"))
    policy = recorded.stage_folder(StageId(Stage.TRAIN))
    assert recorded.student_path is not None
    made = load_student(recorded.student_path).config
    choice = spec.distill.student
    for change, words in (
        ({"camera_names": ("left",)}, r"cameras \('left',\), the policy has \('eye',\)"),
        ({"camera_names": ("eye", "other")}, r"cameras \('eye', 'other'\), the policy has"),
        ({"image": (16, 8)}, r"an image size of \(16, 8\), the policy has \(8, 8\)"),
        ({"fused": "pooled"}, "fused tokens 'pooled', the policy has 'none'"),
    ):
        other = StudentEncoder(attrs.evolve(made, **change), choice.build())
        save_student(tmp_path, other, choice)
        with pytest.raises(UserError, match=f"the student was made for {words}"):
            load_policy(policy, "cpu", tmp_path)


def test_what_needs_a_student_or_an_aligner_is_an_error(spec_file: SpecFile) -> None:
    with pytest.raises(UserError, match=r"distill: missing, and policy.encoder = 'student' needs"):
        read_spec(spec_file("puppets", policy=STUDENT))
    without = {"condition": "proprio_only"} | STUDENT
    with pytest.raises(UserError, match="encoder = 'student' replaces a trained and frozen"):
        read_spec(spec_file("puppets", distill=DISTILL, policy=without))
