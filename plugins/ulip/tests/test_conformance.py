import pytest

from rgb2act_core.testing import checks


@pytest.mark.parametrize("check", checks("rgb2act_ulip"), ids=str)
def test_conformance(check):
    check()
