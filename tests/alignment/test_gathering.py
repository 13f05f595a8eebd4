"""Processes that divide a batch compute the gradients of a single process."""

import divided_alignment
import pytest
from torch import Tensor

Found = dict[int, dict[str, dict[str, Tensor]]]

# Float64 sums of some 1e3 terms below 10 in another order, times 1 / temperature.
SAME = 1e-8


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return divided_alignment.run(tmp_path_factory.mktemp("divided"))


@pytest.mark.slow
@pytest.mark.parametrize("name", divided_alignment.cases())
@pytest.mark.parametrize("size", [2, 3, 4])
def test_divided_batches_have_the_gradients_of_one_process(
    found: Found, name: str, size: int
) -> None:
    alone, divided = found[1][name], found[size][name]
    assert divided.keys() == alone.keys()
    for key, expected in alone.items():
        if name != "windows" or not key.startswith("weight/"):
            assert float((divided[key] - expected).abs().max()) < SAME, key
