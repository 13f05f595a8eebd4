import torch

from rgb2act_core.alignment.augmentation import augment
from rgb2act_core.spec import Augment

TOKENS = [torch.full((200, 1, 10, 3), 5.0), torch.full((200, 1, 4, 2), 7.0)]
MEANS, STDS = [torch.zeros(3), torch.ones(2)], [torch.ones(3), torch.full((2,), 2.0)]


def made(**options: float) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return augment(TOKENS, MEANS, STDS, Augment(**options))


def test_nothing_asked_for_changes_nothing() -> None:
    assert all(torch.equal(a, b) for a, b in zip(made(), TOKENS, strict=True))


def test_lost_tokens_become_the_mean_token() -> None:
    first, second = made(token_dropout=0.3)
    for part, mean, value in ((first, 0.0, 5.0), (second, 1.0, 7.0)):
        lost = (part == mean).all(-1)
        assert ((part == value).all(-1) | lost).all()
        assert 0.2 < float(lost.float().mean()) < 0.4


def test_noise_is_in_units_of_each_channels_deviation() -> None:
    first, second = made(noise=0.5)
    assert abs(float((first - 5).std()) - 0.5) < 0.03
    assert abs(float((second - 7).std()) - 1.0) < 0.08


def test_a_frame_keeps_at_least_one_backbone() -> None:
    first, second = made(backbone_dropout=0.95)
    lost = [(first == 0).all((1, 2, 3)), (second == 1).all((1, 2, 3))]
    assert not (lost[0] & lost[1]).any()
    assert float((lost[0] | lost[1]).float().mean()) > 0.8
    assert all(
        (part.flatten(1) == part.flatten(1)[:, :1]).all() for part in (first, second)
    )  # whole frames
