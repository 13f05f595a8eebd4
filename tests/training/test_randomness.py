import itertools

import torch

from rgb2act_core.training.randomness import Purpose, seed_modules, step_generator


def test_each_seed_step_purpose_and_part_has_its_own_numbers() -> None:
    draws = {
        tuple(torch.rand(4, generator=step_generator(seed, step, purpose, part)).tolist())
        for seed, step, purpose, part in itertools.product((0, 1), (0, 1), Purpose, (0, 1))
    }
    assert len(draws) == 2 * 2 * len(Purpose) * 2


def test_numbers_are_the_same_whenever_they_are_drawn() -> None:
    first = torch.rand(4, generator=step_generator(7, 5, Purpose.ROWS))
    torch.rand(4, generator=step_generator(7, 6, Purpose.ROWS))
    assert torch.equal(torch.rand(4, generator=step_generator(7, 5, Purpose.ROWS)), first)


def test_modules_draw_from_the_global_generator() -> None:
    found = []
    for step in (1, 2, 1):
        seed_modules(0, step)
        found.append(torch.rand(3).tolist())
    assert found[0] == found[2] != found[1]
