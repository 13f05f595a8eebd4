"""Lower precision of a training step."""

import pytest
import torch

from rgb2act_core.training.precision import bfloat16, tf32


@pytest.mark.parametrize("used", [False, True])
def test_tf32_is_used_in_the_block_only(used: bool) -> None:
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    with tf32(used):
        assert (products.fp32_precision == "tf32") is used
    assert products.fp32_precision == before


def test_bfloat16_rounds_products_and_keeps_gradients_float32() -> None:
    weight = torch.randn(4, 4, requires_grad=True)
    inputs = torch.randn(3, 4)
    with bfloat16(True, weight.device):
        product = inputs @ weight
    assert product.dtype is torch.bfloat16
    product.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype is torch.float32
    with bfloat16(False, weight.device):
        assert (inputs @ weight).dtype is torch.float32
