"""Encoders check what a backbone returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rgb2act_core.errors import UserError
from rgb2act_core.features.encoder import Encoder, Stream
from rgb2act_core.interfaces import BackboneInfo
from rgb2act_core.spec import Tokens


class Wrong:
    """A backbone whose tokens do not match its grid."""

    info = BackboneInfo(dim=3)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return 2, 2

    def encode(self, rgb_BKVHW3: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(rgb_BKVHW3), rgb_BKVHW3.shape[2], 5, 3)

    def to(self, device: torch.device) -> Wrong:
        return self


@pytest.mark.parametrize("token_format", [Tokens(), Tokens(dtype="int8"), Tokens(grid=(1, 1))])
def test_tokens_that_do_not_match_the_grid_are_an_error(token_format: Tokens) -> None:
    stream = Stream(Encoder(Wrong(), "cpu", token_format, "wrong"))
    with pytest.raises(UserError) as caught:
        stream.encode(np.zeros((1, 1, 8, 8, 3), np.uint8))
    assert str(caught.value) == (
        "backbone wrong: tokens have shape (5, 3), its grid and width require (4, 3);"
        " fix the plugin (rgb2act selftest wrong)"
    )
