import torch

from rgb2act_core.data.standardization import Standardization


def test_standardised_values_have_mean_zero_and_deviation_one() -> None:
    values = 300 + 20 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    found = Standardization.of(values)(values)
    # float32 values near 300 have a rounding error of 1.5e-5, divided by a deviation of 20
    assert torch.allclose(found.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(found.std(0), torch.ones(3), atol=1e-5)


def test_constant_channels_and_single_samples_are_divided_by_the_floor() -> None:
    constant = torch.full((5, 2), 7.0)
    assert Standardization.of(constant, floor=1e-3).std.tolist() == [
        torch.tensor(1e-3).item(),
        torch.tensor(1e-3).item(),
    ]
    single = Standardization.of(torch.ones(1, 2))
    assert single(torch.ones(1, 2)).tolist() == [[0.0, 0.0]]


def test_statistics_are_copied_into_buffers() -> None:
    found = Standardization.of(torch.tensor([[1.0], [3.0]]))
    mean, std = torch.zeros(1), torch.ones(1)
    found.copy_to(mean, std)
    assert mean.tolist() == [2.0]
    assert std.item() == torch.tensor(2.0).sqrt().item()
