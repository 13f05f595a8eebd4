"""Loading tensors strictly."""

import pytest
import torch
from torch import nn

from rgb2act_core import UserError
from rgb2act_core.weights import (
    load_strict,
)


def tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(3, 4, generator=generator),
        "bias": torch.randn(3, generator=generator),
    }


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_tensors_are_assigned_without_a_copy():
    with torch.device("meta"):
        net = nn.Linear(4, 3)
    given = tensors()
    load_strict(net, given, source="a.pth")
    assert net.weight.data_ptr() == given["weight"].data_ptr()
    assert same(dict(net.state_dict()), given)


def test_only_floating_point_tensors_are_cast():
    class Counted(nn.Linear):
        def __init__(self):
            super().__init__(4, 3)
            self.register_buffer("count", torch.zeros(2, dtype=torch.int64))

    with torch.device("meta"):
        net = Counted()
    load_strict(net, {**tensors(), "count": torch.ones(2).long()}, source="a", dtype=torch.bfloat16)
    assert net.weight.dtype is torch.bfloat16
    assert net.count.dtype is torch.int64


def test_every_mismatched_key_is_listed():
    with torch.device("meta"):
        net = nn.Linear(4, 3)
    wrong = {"weight": torch.zeros(3, 5), **{f"more{i}": torch.zeros(1) for i in range(10)}}
    with pytest.raises(UserError) as caught:
        load_strict(net, wrong, source="a.pth")
    missing, unexpected, shape = caught.value.args
    assert missing.startswith("a.pth: 1 of 2 keys missing: bias; use")
    assert unexpected.startswith("a.pth: 10 keys unexpected: more0, more1,")
    assert "more7 and 2 more" in unexpected
    assert "weight [3, 5] instead of [3, 4]" in shape
    assert all(p.is_meta for p in net.parameters())


def test_integers_are_not_accepted_as_weights():
    net = nn.Linear(4, 3)
    wrong = {**tensors(), "bias": torch.zeros(3, dtype=torch.int8)}
    with pytest.raises(UserError, match=r"bias \[3\] of integers instead of \[3\]"):
        load_strict(net, wrong, source="a.pth")


def test_complex_numbers_are_not_accepted_as_weights():
    wrong = {**tensors(), "bias": torch.zeros(3, dtype=torch.complex64)}
    with pytest.raises(UserError, match=r"bias \[3\] of complex numbers instead of \[3\]"):
        load_strict(nn.Linear(4, 3), wrong, source="a.pth")


def test_only_the_counters_of_batch_norms_may_be_missing() -> None:
    state = nn.BatchNorm1d(3).state_dict() | {"bias": torch.ones(3)}
    counter = state.pop("num_batches_tracked")
    with torch.device("meta"):
        net = nn.BatchNorm1d(3)
    load_strict(nn.Sequential(net), {f"0.{k}": v for k, v in state.items()}, source="a.pth")
    assert torch.equal(net.num_batches_tracked, counter)
    assert torch.equal(net.bias, torch.ones(3))
    del state["running_mean"]
    with pytest.raises(UserError, match=r"2 of 5 keys missing: 0.running_mean, 0.num_batches"):
        load_strict(nn.Sequential(net), {f"0.{k}": v for k, v in state.items()}, source="a.pth")


class Masked(nn.Linear):
    """A module with a mask that is added to the scores of attention."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))


def test_a_buffer_may_be_infinite() -> None:
    with torch.device("meta"):
        net = Masked()
    mask = torch.full((3, 3), -torch.inf)
    load_strict(net, {**tensors(), "mask": mask}, source="a.pth")
    assert net.mask.isinf().all()


@pytest.mark.parametrize(("name", "value"), [("mask", "nan"), ("bias", "nan"), ("bias", "-inf")])
def test_nan_and_infinite_parameters_are_refused(name: str, value: str) -> None:
    given = {**tensors(), "mask": torch.zeros(3, 3)}
    given[name] = given[name].clone()
    given[name].view(-1)[-1] = float(value)
    with pytest.raises(UserError, match=rf"a\.pth: tensor '{name}' contains NaN or infinity"):
        load_strict(Masked(), given, source="a.pth")


def test_long_names_and_shapes_do_not_hide_what_was_expected():
    long, deep = "x" * 100, torch.ones([1] * 60)
    net = torch.nn.ParameterDict({long: torch.ones(3), "y": torch.ones(2)})
    with pytest.raises(
        UserError, match=rf"{long} \[2\] instead of \[3\], y \[60 dimensions\] inst"
    ):
        load_strict(net, {long: torch.ones(2), "y": deep}, source="a.pth")
