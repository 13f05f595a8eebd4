import torch

from rgb2act_core.alignment.augmentation import TABLE, augment
from rgb2act_core.spec import Augment

TOKENS = [torch.full((200, 1, 10, 3), 5.0), torch.full((200, 1, 4, 2), 7.0)]
MEANS, STDS = [torch.zeros(3), torch.ones(2)], [torch.ones(3), torch.full((2,), 2.0)]


def augmented(seed: int = 0, **options: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return augment(TOKENS, MEANS, STDS, Augment(**options), generator)


def test_the_default_changes_nothing() -> None:
    assert all(torch.equal(a, b) for a, b in zip(augmented(), TOKENS, strict=True))


def test_dropped_tokens_become_the_mean_token() -> None:
    first, second = augmented(token_dropout=0.3)
    for part, mean, value in ((first, 0.0, 5.0), (second, 1.0, 7.0)):
        dropped = (part == mean).all(-1)
        assert ((part == value).all(-1) | dropped).all()
        assert 0.2 < float(dropped.float().mean()) < 0.4


def test_noise_is_in_units_of_each_channels_deviation() -> None:
    first, second = augmented(noise=0.5)
    assert abs(float((first - 5).std()) - 0.5) < 0.03
    assert abs(float((second - 7).std()) - 1.0) < 0.08


def test_no_two_frames_have_the_same_noise() -> None:
    first, _ = augmented(noise=0.5)
    assert len(first.flatten(1).unique(dim=0)) == len(first)


def test_frames_may_have_more_numbers_than_the_table_of_noise() -> None:
    tokens = [torch.zeros(2, 1, 1100, 4096, dtype=torch.float16)]
    generator = torch.Generator().manual_seed(0)
    (found,) = augment(
        tokens, [torch.zeros(4096)], [torch.ones(4096)], Augment(noise=0.5), generator
    )
    assert found[0].numel() > TABLE
    assert found.dtype == torch.float32
    assert abs(float(found.std()) - 0.5) < 0.01
    assert not torch.equal(found[0], found[1])


def test_a_frame_keeps_at_least_one_backbone() -> None:
    first, second = augmented(backbone_dropout=0.95)
    dropped = [(first == 0).all((1, 2, 3)), (second == 1).all((1, 2, 3))]
    assert not (dropped[0] & dropped[1]).any()
    assert float((dropped[0] | dropped[1]).float().mean()) > 0.8
    assert all(
        (part.flatten(1) == part.flatten(1)[:, :1]).all() for part in (first, second)
    )  # all tokens of a frame


def test_augmentation_is_a_function_of_the_generator() -> None:
    options = {"token_dropout": 0.3, "noise": 0.5, "backbone_dropout": 0.3}
    state = torch.get_rng_state()
    first, again, other = (augmented(seed, **options) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not used
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
