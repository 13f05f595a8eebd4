import math

import torch

from rgb2act_core.losses import alike, infonce


def test_infonce_of_one_pair_among_equals_is_the_log_of_their_number() -> None:
    same = torch.ones(5, 3)
    assert torch.isclose(
        infonce(same, same, 0.1, torch.eye(5, dtype=torch.bool)), torch.tensor(math.log(5))
    )


def test_infonce_equals_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 4, generator=generator) for _ in range(2))
    mask = alike(torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 9, 0, 1, 2]), 1)
    unit = [x / x.norm(dim=1, keepdim=True) for x in (a, b)]
    total = 0.0
    for x, y in (unit, unit[::-1]):
        for i in range(6):
            allowed = [j for j in range(6) if j == i or not mask[i, j]]
            scores = {j: float(x[i] @ y[j]) / 0.1 for j in allowed}
            total -= scores[i] - math.log(sum(math.exp(s) for s in scores.values()))
    assert math.isclose(float(infonce(a, b, 0.1, mask)), total / 12, rel_tol=1e-5)


def test_only_near_frames_of_one_episode_are_alike() -> None:
    found = alike(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 2, 3, 0]), 2)
    assert found.tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [False, True, True, False],
        [False, False, False, True],
    ]
