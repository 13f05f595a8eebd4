"""The component keeps the contract of its kind."""

import pytest

from rgb2act_core.testing import checks


@pytest.mark.parametrize("check", checks("rgb2act_timm"), ids=str)
def test_conformance(check):
    check()
