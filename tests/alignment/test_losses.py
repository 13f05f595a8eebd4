import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rgb2act_core.alignment import losses
from rgb2act_core.alignment.losses import (
    Temperature,
    cosine,
    cosine_above,
    infonce,
    infonce_bank,
    missing_entropy,
    near_in_time,
    self_contrast,
    sigmoid,
)

# Plain loops add at most 36 terms, in float64 from unit vectors in float32; these round by 6e-8,
# times 1 / 0.1 of the temperature.
CLOSE = 1e-5
NONE = torch.eye(6, dtype=torch.bool).__getitem__  # each frame is similar only to itself


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def close_in_time(episode: list[int], step: list[int], steps: int) -> Tensor:
    frames = torch.tensor(episode), torch.tensor(step)
    return near_in_time(*frames, *frames, steps)


def test_infonce_of_equal_embeddings_is_the_log_of_their_number() -> None:
    same = torch.ones(6, 3)
    assert torch.isclose(infonce(same, same, 0.1, NONE), torch.tensor(math.log(6)))


def test_infonce_equals_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 4, generator=generator) for _ in range(2))
    mask = close_in_time([0, 0, 0, 1, 1, 1], [0, 1, 9, 0, 1, 2], 1)
    units = [x / x.norm(dim=1, keepdim=True) for x in (a, b)]
    total = 0.0
    for x, y in (units, units[::-1]):
        for i in range(6):
            allowed = [j for j in range(6) if j == i or not mask[i, j]]
            scores = {j: float(x[i] @ y[j]) / 0.1 for j in allowed}
            total -= scores[i] - math.log(sum(math.exp(s) for s in scores.values()))
    assert math.isclose(float(infonce(a, b, 0.1, mask.__getitem__)), total / 12, rel_tol=CLOSE)


def test_only_close_frames_of_one_episode_are_excluded() -> None:
    found = close_in_time([0, 0, 0, 1], [0, 2, 3, 0], 2)
    assert found.tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [False, True, True, False],
        [False, False, False, True],
    ]


def pair(seed: int = 0, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator), torch.randn(count, 4, generator=generator)


def test_a_bank_of_only_the_batch_is_plain_infonce() -> None:
    a, b = pair()
    mask = close_in_time([0, 0, 0, 1, 1, 1], [0, 1, 9, 0, 1, 2], 1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    position = order.argsort()
    found = infonce_bank(
        a, b, unit(b[order]), position, 0.1, mask.__getitem__, mask[:, order].__getitem__
    )
    assert torch.isclose(found, infonce(a, b, 0.1, mask.__getitem__))


def test_a_larger_bank_is_harder_unless_its_frames_are_masked() -> None:
    a, b = pair()
    more = unit(torch.cat([b, a]))  # the hardest possible negatives
    position = torch.arange(6)
    wide = torch.cat([torch.eye(6, dtype=torch.bool), torch.zeros(6, 6, dtype=torch.bool)], 1)
    plain = infonce(a, b, 0.1, NONE)
    assert infonce_bank(a, b, more, position, 0.1, NONE, wide.__getitem__) > plain + 0.5
    wide[:, 6:] = True
    assert torch.isclose(infonce_bank(a, b, more, position, 0.1, NONE, wide.__getitem__), plain)


def test_the_sigmoid_loss_equals_a_plain_loop() -> None:
    a, b = pair()
    mask = close_in_time([0, 0, 0, 1, 1, 1], [0, 1, 9, 0, 1, 2], 1)
    x, y = (v / v.norm(dim=1, keepdim=True) for v in (a, b))
    total = 0.0
    for i in range(6):
        for j in range(6):
            if i != j and mask[i, j]:
                continue
            sign = 1 if i == j else -1
            total += math.log1p(math.exp(-sign * (3.0 * float(x[i] @ y[j]) - 1.0)))
    found = sigmoid(a, b, torch.tensor(3.0), torch.tensor(-1.0), mask.__getitem__)
    assert math.isclose(float(found), total / 6, rel_tol=CLOSE)


def test_cosine_and_missing_entropy_are_zero_at_their_optimum() -> None:
    a, _ = pair()
    assert float(cosine(a, 3 * a)) < CLOSE
    assert float(cosine(a, -a)) > 1.9
    assert abs(float(missing_entropy(torch.full((4,), 0.25)))) < CLOSE
    one_takes_all = missing_entropy(torch.tensor([1.0, 0, 0, 0]))
    assert math.isclose(float(one_takes_all), math.log(4), rel_tol=CLOSE)


def test_self_contrast_is_lower_if_backbones_agree_per_frame() -> None:
    a, b = pair()
    same, other = torch.stack([a, a], 1), torch.stack([a, b], 1)
    assert self_contrast(same, 0.1, NONE) < self_contrast(other, 0.1, NONE)
    assert self_contrast(a[:, None], 0.1, NONE) == 0


def test_a_learned_temperature_stays_bounded() -> None:
    learned = Temperature(0.1)
    assert math.isclose(float(learned().detach()), 0.1, rel_tol=CLOSE)
    for log_scale, expected in ((99.0, 0.01), (-99.0, 1.0)):
        learned.log_scale.data.fill_(log_scale)
        temperature = learned()
        assert math.isclose(float(temperature.detach()), expected, rel_tol=CLOSE)
        temperature.backward()
        assert learned.log_scale.grad  # not stuck at the bound


def test_frames_with_similar_teacher_embeddings_are_found() -> None:
    a = unit(pair()[0])
    found = cosine_above(a[:2], torch.cat([a[:1], -a[1:2]]), 0.99)
    assert found.tolist() == [[True, False], [False, False]]


EPISODE, STEP = torch.arange(90) // 30, torch.arange(90) % 30


def loss_of(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return a loss of students (90, 4), teachers (90, 4) and a temperature."""
    mask = near_in_time(EPISODE, STEP, EPISODE, STEP, 2)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(3))
    position, wide = order.argsort(), mask[:, order].__getitem__

    def bank(a: Tensor, b: Tensor, temperature: Tensor) -> Tensor:
        return infonce_bank(a, b, unit(b[order]), position, temperature, mask.__getitem__, wide)

    functions: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "infonce": lambda a, b, temperature: infonce(a, b, temperature, mask.__getitem__),
        "bank": bank,
        "sigmoid": lambda a, b, temperature: sigmoid(
            a, b, 1 / temperature, -10 * temperature, mask.__getitem__
        ),
    }
    return functions[name]


@pytest.mark.parametrize("name", ["infonce", "bank", "sigmoid"])
@pytest.mark.parametrize("block", [1, 7 * 90, 45 * 90])  # rows per block: 1, 7, 45
def test_a_loss_in_blocks_equals_the_loss_in_one_block(
    monkeypatch: pytest.MonkeyPatch, name: str, block: int
) -> None:
    found = []
    monkeypatch.setattr(losses, "MIN_ROWS", 1)
    for size in (90 * 90, block):
        monkeypatch.setattr(losses, "BLOCK", size)
        a, b = (x.double().requires_grad_() for x in pair(1, 90))
        temperature = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
        loss = loss_of(name)(a, b.detach(), temperature)
        found.append([loss, *torch.autograd.grad(loss, [a, temperature])])
    for single, parts in zip(*found, strict=True):
        # float64 sums of 90 terms in another order, scaled by 1 / 0.1
        assert torch.allclose(single, parts, rtol=1e-12, atol=1e-14)


class Largest(TorchDispatchMode):
    """Record the number of elements of the largest tensor."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.count = max(self.count, tensor.numel())
        return result


@pytest.mark.parametrize("name", ["infonce", "bank", "sigmoid"])
def test_no_tensor_grows_with_the_square_of_the_batch(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(losses, "BLOCK", 1000)
    monkeypatch.setattr(losses, "MIN_ROWS", 1)
    a, b = pair(1, 90)
    loss = loss_of(name)
    with Largest() as largest:
        loss(a.requires_grad_(), b, torch.tensor(0.1)).backward()
    assert 900 <= largest.count <= 1000


def test_a_bank_is_read_once_per_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows would each read the bank of all frames."""
    monkeypatch.setattr(losses, "BLOCK", 100)
    a, b = pair(1, 90)
    blocks: list[slice] = []

    def similar_bank(rows: slice) -> Tensor:
        blocks.append(rows)
        return torch.zeros(len(range(90)[rows]), 90, dtype=torch.bool)

    none = torch.zeros(90, 90, dtype=torch.bool).__getitem__
    infonce_bank(a, b, unit(b), torch.arange(90), 0.1, none, similar_bank)
    assert [(rows.start, rows.stop) for rows in blocks] == [(0, 64), (64, 90)]
