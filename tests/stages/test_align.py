"""Each option of ``[align]`` trains, resumes with the same bits, and passes verify."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rgb2act_core.alignment.batches import AlignmentBatches
from rgb2act_core.alignment.building import targets_of
from rgb2act_core.errors import UserError
from rgb2act_core.features.frames import TokenFrames
from rgb2act_core.features.reader import FrameIndex
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.run_record import open_dataset, read_run
from rgb2act_core.pipeline.status import check
from rgb2act_core.pipeline.verify import verify
from rgb2act_core.policy.batch_planner import BatchPlanner, open_encoders
from rgb2act_core.policy.saving import load_policy
from rgb2act_core.spec.reader import read_spec

pytestmark = pytest.mark.usefixtures("puppet")
SpecFile = Callable[..., Path]

OPTIONS: dict[str, dict[str, Any]] = {
    "tokens": {"tokens": 5},
    "replacement": {"tokens": 20, "replacement": True},
    "wide": {"adapter": "wide"},
    "context": {"context": {"layers": 1, "heads": 2}, "tokens": 5},
    "learned": {"context": {"layers": 2, "heads": 1, "position": "learned", "dropout": 0.1}},
    "bfloat16": {
        "precision": "bfloat16",
        "loss": {"negatives": "gradcache"},
        "micro_batch": 3,
        "tokens": 4,
        "ema": 0.9,
    },
    "window": {"sample": "window", "window": 3, "tokens": 4},
    "window/attention": {
        "sample": "window",
        "window": 2,
        "stride": 3,
        "aggregate": "attention",
        "loss": {"negatives": "bank"},
    },
    "window/cached": {
        "sample": "window",
        "stride": 2,
        "loss": {
            "negatives": "gradcache",
            "self_contrast": 0.1,
            "entropy": 0.1,
            "learn_temperature": True,
        },
        "micro_batch": 3,
        "augment": {"token_dropout": 0.2, "noise": 0.1, "backbone_dropout": 0.2},
        "ema": 0.9,
        "context": {"layers": 1, "heads": 2, "dropout": 0.1},
        "tokens": 5,
    },
    "local": {
        "sample": "window",
        "loss": {"local": 0.2, "chamfer": 0.1, "negatives": "gradcache"},
        "micro_batch": 3,
        "tokens": 5,
    },
    "weighted/sample": {"fusion": {"use": "weighted", "per": "sample"}},
    "weighted/token": {"fusion": {"use": "weighted", "per": "token"}, "tokens": 3},
    "moe/token": {"fusion": {"use": "moe", "k": 1}},
    "moe/sample": {"fusion": {"use": "moe", "k": 1, "per": "sample"}},
    "moe/global": {"fusion": {"use": "moe", "k": 1, "per": "global"}},
}


def weights(folder: Path) -> bytes:
    """Return the stored weights of a run's aligner."""
    stages_done = json.loads((folder / "run.json").read_text())["stages"]
    (path,) = [s["path"] for s in stages_done if s["stage"] == "align"]
    return (folder.parents[1] / path / "aligner.safetensors").read_bytes()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_trains_resumes_with_the_same_bits_and_is_verified(
    spec_file: SpecFile,
    tmp_path: Path,
    puppets_done: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    grouped = {"teacher": {"use": "cloudstats"}} if "local" in options.get("loss", {}) else {}
    spec = read_spec(spec_file("puppets", align=options, **grouped))
    uninterrupted = shutil.copytree(puppets_done, tmp_path / "uninterrupted")
    interrupted = shutil.copytree(puppets_done, tmp_path / "interrupted")
    folder = chain.run_pipeline(spec, uninterrupted, "train")
    assert weights(folder) != weights(puppets_done / "puppets" / "1")
    assert verify(folder, 2).problems == ()
    steps: list[int] = []
    loss = AlignmentBatches.loss

    def trip(self: AlignmentBatches, rows: Any, step: int) -> Any:
        steps.append(step)
        if len(steps) == 8:
            raise RuntimeError("interrupted")
        return loss(self, rows, step)

    monkeypatch.setattr(AlignmentBatches, "loss", trip)
    with pytest.raises(RuntimeError, match="interrupted"):
        chain.run_pipeline(spec, interrupted, "align")
    assert weights(chain.run_pipeline(spec, interrupted, "align")) == weights(folder)
    assert steps == [*range(8), *range(7, 12)]  # resumed after the seventh step


def test_more_tokens_than_positions_are_an_error_as_soon_as_the_grid_is_known(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    words = "align.tokens: 17 is more than the {1} tokens of the common grid {0}; sample fewer"
    spec = read_spec(spec_file("puppets", align={"tokens": 17}))
    check(spec, tmp_path)  # the grid is not known yet
    for begin in (
        lambda: chain.run_pipeline(spec, tmp_path, "align"),
        lambda: check(spec, tmp_path),
    ):
        with pytest.raises(UserError, match=words.format("4 x 4", 16)):
            begin()
    extract_grid = {"align": {"tokens": 17}, "extract": {"tokens": {"grid": [2, 3]}}}
    with pytest.raises(UserError, match=words.format("2 x 3", 6)):
        check(read_spec(spec_file("puppets", **extract_grid)), tmp_path / "empty")
    several = {"tokens": 17, "replacement": True}
    check(read_spec(spec_file("puppets", align=several)), tmp_path)


CONDITIONS = ("dual", "tokens", "finetuned", "random_aligner", "end_to_end")


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_uses_the_same_windows_offline_and_online(
    spec_file: SpecFile, tmp_path: Path, puppets_done: Path, condition: str
) -> None:
    options = {"sample": "window", "window": 3, "stride": 2, "aggregate": "attention"}
    head = {"use": "diffusion", "denoiser": "transformer", "sample_steps": 2}
    head["transformer"] = {"width": 16, "layers": 1, "heads": 2}
    policy = {"condition": condition, "head": head}
    spec = read_spec(spec_file("puppets", align=options, policy=policy))
    root = shutil.copytree(puppets_done, tmp_path / "root")
    folder = chain.run_pipeline(spec, root)  # includes acting, with several steps between plans
    assert verify(folder, 3).problems == ()


@pytest.mark.parametrize("together", [1, 2, 7])
def test_a_window_does_not_depend_on_how_its_frames_arrive(
    spec_file: SpecFile, tmp_path: Path, puppets_done: Path, together: int
) -> None:
    """Frames arrive one by one or many at once, of which only the newest are kept."""
    options = {"sample": "window", "window": 3, "stride": 2}
    spec = read_spec(spec_file("puppets", align=options))
    folder = chain.run_pipeline(spec, shutil.copytree(puppets_done, tmp_path / "root"), "train")
    tasks, data = open_dataset(read_run(folder))
    run = tasks.run
    (path,) = (folder.parents[1] / "store" / "policy").glob("*[0-9a-f]")
    policy = load_policy(path)
    planner = BatchPlanner(policy, open_encoders(policy, run.spec.backbone, "cpu"), 1, "cpu")
    assert planner.frames_needed == 2 + 4
    rgb = np.asarray(data.demonstrations[1].open().rgb[:])
    joints = np.zeros((len(rgb), 4), np.float32)
    history, one_by_one = planner.history(), planner.history()
    for first in range(0, len(rgb), together):
        last = min(first + together, len(rgb))
        newest = slice(max(first, last - planner.frames_needed), last)
        history.add(rgb[newest], joints[newest])
        planner.see([history])
    for frame in rgb:
        one_by_one.add(frame[None], joints[:1])
        planner.see([one_by_one])
    found, expected = history.observation()[0], one_by_one.observation()[0]
    single_frame = one_by_one.features[one_by_one.count - 1].vector
    for a, b in zip(found, expected, strict=True):
        # float32 of the same layers with another number of rows
        assert torch.allclose(a.vector, b.vector, atol=2e-5)
    assert not torch.allclose(expected[-1].vector, single_frame, atol=1e-4)


def test_a_windows_target_is_the_mean_of_its_frames_within_its_episode() -> None:
    sources = [stub(joints=True), stub(joints=True), stub(joints=False)]
    frames = TokenFrames(tokens=[], index=FrameIndex.of([3, 4, 3]), episodes=sources, device="cpu")
    config = SimpleNamespace(window=3, stride=2)
    rows = np.array([0, 2, 3, 6, 8])  # the last is in a pack of static scenes
    assert frames.windows(rows, config).tolist() == [
        [0, 0, 0],
        [0, 0, 2],
        [3, 3, 3],
        [3, 4, 6],
        [8, 8, 8],
    ]
    teacher = torch.randn(10, 2)
    aligner = SimpleNamespace(config=config, teacher_space=lambda e: e)
    found = targets_of(aligner, frames, teacher)[torch.from_numpy(rows)]
    wanted = torch.stack([teacher[w].mean(0) for w in frames.windows(rows, config)])
    assert torch.allclose(found, wanted, atol=1e-5)  # float32 means of three values near 1


def stub(joints: bool) -> Any:
    episode = SimpleNamespace(joints=np.zeros(1) if joints else None)
    return SimpleNamespace(open=lambda: episode)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stride": 2}, "stride = 2 is used only with sample = 'window'; remove it"),
        ({"window": 3}, "window = 3 is used only with sample = 'window'; remove it"),
        ({"replacement": True}, "replacement = true has no effect with tokens = 0; set tokens"),
        (
            {"context": {"heads": 2}},
            "context: heads = 2 has no effect with layers = 0; remove it or set layers",
        ),
        (
            {"loss": {"infonce": 0.0, "negatives": "bank"}},
            "loss: negatives = 'bank' is used only by InfoNCE, and infonce is 0; remove it",
        ),
        (
            {"loss": {"infonce": 0.0, "learn_temperature": True}},
            "loss: learn_temperature = True is used only by InfoNCE, and infonce is 0; remove it",
        ),
        (
            {"loss": {"learn_temperature": True, "temperature": 2.0}},
            "loss: temperature must be between 0.01 and 1.0 if it is learned, got 2.0",
        ),
        (
            {"context": {"layers": 1, "heads": 3}},
            "context.heads = 3 does not divide token_dim = 4; choose another number of heads",
        ),
    ],
)
def test_options_that_contradict_one_another_are_an_error(
    spec_file: SpecFile, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        read_spec(spec_file("puppets", align=options))
    assert str(caught.value).endswith(words)
