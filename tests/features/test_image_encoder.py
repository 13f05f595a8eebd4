"""Backbones that encode a user's own images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rgb2act_core import ImageEncoder, UserError, backbone
from rgb2act_core.interfaces import BackboneInfo


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 24, 3), np.uint8)


def test_tokens_of_images_do_not_depend_on_the_batch() -> None:
    encoder = backbone("patchstats", patch=4, device="cpu")
    assert encoder.grid(16, 24) == (4, 6)
    tokens_BNC = encoder.encode(images(5))
    assert tokens_BNC.shape == (5, 24, encoder.dim)
    assert tokens_BNC.dtype == torch.float32
    torch.testing.assert_close(encoder.encode(images(5), batch_size=2), tokens_BNC)
    direct = encoder.model.encode(torch.from_numpy(images(5))[:, None, None])[:, 0]
    torch.testing.assert_close(tokens_BNC, direct.half().float())
    torch.testing.assert_close(encoder.encode_video(images(5)), tokens_BNC)


class Sum:
    """A backbone that adds up the frames of its window."""

    info = BackboneInfo(dim=1, context=3)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return 1, 1

    def encode(self, rgb_BKVHW3: torch.Tensor) -> torch.Tensor:
        return rgb_BKVHW3[:, :, :, 0, 0, 0].float().sum(1)[..., None, None]

    def to(self, device: torch.device) -> Sum:
        return self


def test_context_looks_back_in_a_video_only() -> None:
    encoder = ImageEncoder(Sum(), "cpu")
    frames = np.zeros((4, 2, 2, 3), np.uint8)
    frames[:, 0, 0, 0] = (1, 2, 3, 4)
    assert encoder.encode(frames).flatten().tolist() == [3, 6, 9, 12]
    assert encoder.encode_video(frames, batch_size=3).flatten().tolist() == [3, 4, 6, 9]


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UserError, match="backbone patchstats: pach: unknown key; did you mean"):
        backbone("patchstats", pach=4)
    with pytest.raises(UserError, match="no backbone 'patchstat'; did you mean 'patchstats'"):
        backbone("patchstat")
    encoder = backbone("patchstats", device="cpu")
    for wrong in (images(2)[0], images(0), images(2).astype(np.float32), images(2)[..., :2]):
        with pytest.raises(ValueError, match="expected uint8 images"):
            encoder.encode(wrong)
