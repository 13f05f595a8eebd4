"""Tokens as colours."""

from __future__ import annotations

import numpy as np
import pytest

from rgb2act_core.reporting.feature_maps import pca_rgb


def test_similar_tokens_have_similar_colours():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(3, 5))
    at = rng.integers(0, 3, (2, 1, 12))
    colours = pca_rgb(kinds[at].astype(np.float16), (3, 4))
    assert colours.shape == (2, 1, 3, 4, 3)
    by_kind = [np.unique(colours.reshape(2, 1, 12, 3)[at == kind], axis=0) for kind in range(3)]
    assert [len(found) for found in by_kind] == [1, 1, 1]
    assert len(np.unique(np.concatenate(by_kind), axis=0)) == 3


@pytest.mark.parametrize("channels", [1, 2])
def test_tokens_with_fewer_than_three_channels_have_colours(channels):
    tokens = np.random.default_rng(0).normal(size=(2, 1, 6, channels))
    assert pca_rgb(tokens, (2, 3)).shape == (2, 1, 2, 3, 3)
