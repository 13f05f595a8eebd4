from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from small_aligner import WEIGHTED, build, build_nonzero, tokens
from torch.nn.functional import interpolate

from rgb2act_core.alignment.pooling import KeypointPool
from rgb2act_core.alignment.saving import load_aligner, save_aligner
from rgb2act_core.alignment.teacher_space import TeacherStatistics, transform_into
from rgb2act_core.spec import Context, FusionChoice

CONTEXT = Context(layers=2, heads=3, hidden=2)
# float32 embeddings near 1 of some ten layers with sums of at most 50 terms, each rounding 6e-8;
# another batch size or other inputs change the order of the sums
ROUNDING = 1e-4
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "wide": {"adapter": "wide"},
    "context": {"context": CONTEXT},
    "window": {"window": 3, "stride": 2, "aggregate": "attention"},
    "learned": {"context": attrs.evolve(CONTEXT, position="learned", dropout=0.5)},
}


@pytest.mark.parametrize("pool", ["mean", "attention", "keypoints"])
def test_every_pool_gives_embeddings_of_the_teachers_width(pool: Any) -> None:
    out = build(pool=pool)(tokens(3))
    assert out.embedding.shape == (3, 7)
    assert float(out.weights.detach().sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_embedding_does_not_depend_on_the_rest_of_the_batch(options: dict[str, Any]) -> None:
    aligner, many = build_nonzero(**options), tokens(5)
    one = [part[2:3] for part in many]
    assert torch.allclose(aligner(many).embedding[2:3], aligner(one).embedding, atol=ROUNDING)


def test_the_module_standardises_its_inputs() -> None:
    aligner, part = build(), tokens(50)
    shifted = [10 * p + 3 for p in part]
    teacher = transform_into(
        "standardised", TeacherStatistics.of(torch.randn(50, 7), covariance=False), 0.0
    )
    plain = build()
    plain.set_statistics(part, teacher)
    aligner.set_statistics(shifted, teacher)
    assert torch.allclose(plain(part).embedding, aligner(shifted).embedding, atol=ROUNDING)


def test_a_coarse_grid_is_interpolated_to_the_common_grid_by_position() -> None:
    aligner = build()
    coarse = tokens(1)[1]
    fine = aligner._on_common_grid(coarse, 1, None)
    image = coarse[0, 0].T.reshape(1, 5, 2, 3)
    wanted = interpolate(image, (4, 6), mode="bilinear", align_corners=False)
    assert torch.allclose(
        fine[0, 0].T.reshape(1, 5, 4, 6), wanted, atol=1e-5
    )  # four products of values below 4, in float32


def test_a_keypoint_is_the_position_that_its_map_attends_to() -> None:
    pool = KeypointPool(cameras=1, width=1, maps=1, values=1, grid=(5, 4))
    with torch.no_grad():
        pool.heads[0].weight.copy_(torch.tensor([[50.0], [1.0]]))
        pool.heads[0].bias.zero_()
    tokens_in = torch.zeros(1, 1, 20, 1)
    tokens_in[0, 0, 4 * 3 + 1] = 1.0  # row 3 of 5, column 1 of 4
    # the other 19 cells weigh e-50; the softmax of 50 rounds to 4e-6 in float32
    row, column, spread, mass, value = pool(tokens_in)[0].tolist()
    assert row == pytest.approx(0.4, abs=1e-3)
    assert column == pytest.approx(-0.25, abs=1e-3)
    assert spread < 0.01
    assert mass == pytest.approx(50 - torch.log(torch.tensor(20.0)).item(), abs=1e-3)
    assert value == pytest.approx(1.0, abs=1e-3)


def test_teacher_dimensions_that_hardly_vary_are_not_amplified() -> None:
    aligner = build()
    teacher = torch.randn(1000, 7, generator=torch.Generator().manual_seed(0))
    teacher[:, 0] *= 1e-3
    found = TeacherStatistics.of(teacher, covariance=False)
    aligner.set_statistics(tokens(4), transform_into("standardised", found, 0.1))
    spread = aligner.teacher_space(teacher).std(0)
    assert spread[0] < 0.02
    assert torch.allclose(spread[1:], torch.ones(6), atol=1e-3)  # float32 sums of 1000 squares


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_saved_aligner_gives_the_same_bits(tmp_path: Path, options: dict[str, Any]) -> None:
    aligner, part = build_nonzero(**options), tokens(3)
    aligner.requires_grad_(False)  # as when a policy uses it
    save_aligner(tmp_path, aligner, FusionChoice(component=WEIGHTED, config=WEIGHTED.tiny))
    assert torch.equal(load_aligner(tmp_path)(part).embedding, aligner(part).embedding)
