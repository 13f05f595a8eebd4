"""Local losses against plain loops, and the path from a teacher's groups to them."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rgb2act_core.alignment import losses
from rgb2act_core.alignment.local_loss import LocalHead, chamfer, matching
from rgb2act_core.errors import UserError
from rgb2act_core.pipeline import chain
from rgb2act_core.pipeline.run_record import open_dataset, read_run
from rgb2act_core.pipeline.verify import verify
from rgb2act_core.spec.reader import read_spec
from rgb2act_core.stages.keys import stored_embeddings
from rgb2act_core.stages.run import Run

SpecFile = Callable[..., Path]
STATS = {"use": "cloudstats"}
LOSS = {"local": 0.1, "chamfer": 0.1}

# Losses of pair() are float64: sums of at most 30 terms, each rounding 1e-16.
SAME = 1e-9


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 5, 4), (2, 3, 4))
    tokens, groups = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return tokens, groups


def test_matching_equals_a_plain_loop() -> None:
    tokens, groups = pair()
    total = 0.0
    for frame in range(2):
        near = [
            [float(t @ g / t.norm() / g.norm()) / 0.1 for g in groups[frame]] for t in tokens[frame]
        ]
        rows = [math.log(sum(map(math.exp, row))) for row in near]
        columns = [math.log(sum(map(math.exp, row))) for row in zip(*near, strict=True)]
        total -= (sum(rows) / 5 + sum(columns) / 3) / 2
    assert math.isclose(float(matching(tokens, groups, 0.1)), total / 2, rel_tol=SAME)


def test_chamfer_equals_a_plain_loop() -> None:
    tokens, groups = pair()
    total = 0.0
    for frame in range(2):
        far = [[float((t - g).square().mean()) for g in groups[frame]] for t in tokens[frame]]
        rows, columns = map(min, far), map(min, zip(*far, strict=True))
        total += (sum(rows) / 5 + sum(columns) / 3) / 2
    assert math.isclose(float(chamfer(tokens, groups)), total / 2, rel_tol=SAME)


@pytest.mark.parametrize("loss", [lambda t, g: matching(t, g, 0.1), chamfer])
def test_a_loss_in_blocks_of_frames_equals_the_loss_in_one_block(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    groups = torch.randn(7, 5, 3, generator=generator, dtype=torch.float64)
    tokens = torch.randn(7, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    found = []
    for block in (1000, 45):  # all frames at once; two frames per block and a rest of one
        monkeypatch.setattr(losses, "BLOCK", block)
        value = loss(tokens, groups)
        found.append([value, *torch.autograd.grad(value, tokens)])
    for single, parts in zip(*found, strict=True):
        # float64 sums of at most 140 terms in another order
        assert torch.allclose(single, parts, rtol=1e-12, atol=1e-14)


def test_both_losses_are_lower_if_tokens_equal_groups() -> None:
    tokens, groups = pair()
    found = groups.repeat(1, 2, 1)
    assert float(chamfer(found, groups)) < SAME < float(chamfer(tokens, groups))
    assert matching(found, groups, 0.1) < matching(tokens, groups, 0.1)


def test_groups_are_standardised() -> None:
    head = LocalHead(width=6, channels=4)
    groups = 300 + 20 * torch.randn(50, 3, 4)
    groups[..., 0] = 7.0  # a constant channel
    head.set_statistics(groups)
    found = head.standardised(groups).flatten(0, 1)
    # 300 rounds by 3e-5 in float32, which is 1.5e-6 of the deviation, 20
    assert torch.allclose(found.mean(0), torch.zeros(4), atol=1e-4)
    assert torch.allclose(found.std(0), torch.tensor([0.0, 1.0, 1.0, 1.0]), atol=1e-3)
    assert head(torch.randn(2, 3, 5, 6)).shape == (2, 15, 4)


@pytest.mark.slow
@pytest.mark.usefixtures("puppet")
def test_groups_are_stored_with_the_embeddings_if_a_loss_needs_them(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    plain = read_spec(spec_file(teacher=STATS))
    spec = read_spec(spec_file(teacher=STATS, align={"loss": LOSS, "tokens": 3}))
    folder = chain.run_pipeline(spec, tmp_path, "train")
    assert verify(folder, 2).problems == ()
    tasks, data = open_dataset(read_run(folder))
    stored = stored_embeddings(tasks.run)
    groups, embeddings = stored.groups(data.episodes), stored.embeddings(data.episodes)
    assert groups.row_shape == (5, 7)
    found = groups.gather(np.arange(len(embeddings))).reshape(-1, 35)
    # groups are float16, which rounds by 2**-11 of a value and 3e-8 near zero
    np.testing.assert_allclose(found, embeddings, rtol=2e-3, atol=1e-6)
    curves = next(tmp_path.glob("store/align/*/metrics.jsonl")).read_text()
    assert '"local"' in curves
    assert '"chamfer"' in curves
    chain.run_pipeline(plain, tmp_path, "extract")
    without = stored_embeddings(Run(spec=plain, root=tmp_path)).folder
    assert without != stored.folder
    assert not list(without.glob("*/groups"))


@pytest.mark.usefixtures("puppet")
def test_a_teacher_without_groups_is_an_error_before_anything_runs(
    spec_file: SpecFile, tmp_path: Path
) -> None:
    spec = read_spec(spec_file(align={"loss": {"chamfer": 0.1}}))
    with pytest.raises(UserError) as caught:
        chain.run_pipeline(spec, tmp_path)
    assert str(caught.value) == (
        "align.loss.chamfer: teacher 'puppet' has no group tokens; set it to 0 or choose a teacher"
        " that has, such as ulip"
    )
