"""Containers and prefixes of training frameworks are removed; odd tensors are refused by name."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Any

import pytest
import torch

from rgb2act_core import UserError
from rgb2act_core.weights import fitting, listed, named_tensors

TENSORS = {"stem.weight": torch.ones(3), "blocks.0.bias": torch.zeros(2)}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in TENSORS.items()}


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (TENSORS, ""),
        (prefixed("module."), "a.pth: reads the names without module.\n"),
        (prefixed("_orig_mod."), "without _orig_mod."),
        (prefixed("model."), "without model."),
        (prefixed("backbone."), "without backbone."),
        (prefixed("teacher.backbone."), "without teacher. backbone."),
        (prefixed("vision_model."), "without vision_model."),
        ({"model": prefixed("module."), "epoch": 3}, "reads [model] without module.\n"),
        ({"state_dict": TENSORS}, "reads [state_dict]\n"),
        ({"teacher": prefixed("backbone.")}, "reads [teacher] without backbone.\n"),
    ],
)
def test_prefixes_that_all_tensors_have_are_removed(
    capsys: pytest.CaptureFixture[str], content: dict[str, Any], note: str
) -> None:
    found = named_tensors(content, ("stem.",), "a.pth")
    assert found.keys() == TENSORS.keys()
    printed = capsys.readouterr().err
    assert note in printed
    assert bool(printed) == bool(note)


OTHERS = {"stem.weight": torch.zeros(3), "blocks.0.bias": torch.ones(2)}


@pytest.mark.parametrize(
    ("content", "container"),
    [
        (
            {"state_dict": OTHERS, "state_dict_ema": TENSORS},
            "[state_dict_ema], the averaged weights\n",
        ),  # as timm
        ({"model": OTHERS, "model_ema": TENSORS}, "[model_ema], the averaged weights\n"),
        ({"model": OTHERS, "state_dict": TENSORS}, "[state_dict]"),
        ({"model": {"x": torch.ones(1)}, "state_dict": TENSORS}, "[state_dict]"),
        ({"state_dict_ema": None, "state_dict": TENSORS}, "[state_dict]"),
        (
            {"loss": torch.ones(1), "model_state_dict": prefixed("module.")},
            "[model_state_dict] without module.",
        ),
        ({"net": {"model": TENSORS}}, "[net] [model]"),
    ],
)
def test_the_container_that_has_the_model_is_read(
    capsys: pytest.CaptureFixture[str], content: dict[str, Any], container: str
) -> None:
    found = named_tensors(content, ("stem.",), "a.pth")
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert f"a.pth: reads {container}" in capsys.readouterr().err


@pytest.mark.parametrize("other", [{"n": torch.zeros(0)}, {0: torch.ones(1)}])
def test_faults_of_a_container_that_is_not_read_do_not_matter(other: dict[Any, Any]) -> None:
    content = {"state_dict_ema": other, "state_dict": TENSORS}
    assert named_tensors(content, ("stem.",), "a.pth").keys() == TENSORS.keys()


def test_attributes_that_a_file_sets_do_not_hide_methods() -> None:
    inner = collections.OrderedDict(TENSORS)
    content = collections.OrderedDict(model=inner)
    for held in (inner, content):
        vars(held).update(dict.fromkeys(("items", "get", "keys", "values"), 1))
    weight = torch.ones(3)
    vars(weight).update(dict.fromkeys(("numel", "to", "element_size", "is_floating_point"), 1))
    inner["stem.weight"] = weight
    found = named_tensors(content, ("stem.",), "a.pth")
    assert found["stem.weight"].numel() == 3
    assert listed(content) == "model; model: stem.weight, blocks.0.bias"


def test_containers_that_contain_themselves_are_read_once() -> None:
    content: dict[str, Any] = {"x": torch.ones(1)}
    content |= dict.fromkeys(("model", "state_dict", "net", "module", "teacher"), content)
    assert named_tensors(content, ("stem.",), "a.pth").keys() == {"x"}


def test_a_prefix_of_some_tensors_is_kept() -> None:
    content = prefixed("module.") | {"other": torch.ones(1)}
    assert named_tensors(content, ("stem.",), "a.pth").keys() == content.keys()


def test_a_prefix_of_the_official_names_is_kept() -> None:
    content = prefixed("model.")
    assert named_tensors(content, ("model.stem.",), "a.pth").keys() == content.keys()


def test_names_that_cannot_be_printed_are_escaped_and_shortened() -> None:
    text = listed({"\x1b[31mred\n\nfoo: ok": 1, "y" * 10**6: 1})
    assert text == "\\x1b[31mred\\n\\nfoo: ok, " + "y" * 255 + "..."


def test_without_marks_the_largest_group_is_returned() -> None:
    content = {"loss": torch.ones(1), "model": TENSORS}
    assert named_tensors(content, ("other.",), "a.pth").keys() == TENSORS.keys()


def test_keys_inside_a_container_are_listed() -> None:
    text = listed({"epoch": 1, "model": {"module.x": 1}})
    assert text == "epoch, model; model: module.x"


@pytest.mark.parametrize(
    ("key", "tensor", "fault"),
    [
        (1, torch.ones(2), "has the key 1, expected a name"),
        ("a", torch.ones(0, 3), r"tensor 'a' has shape \[0, 3\], so it has no values"),
        ("a", torch.ones(3, device="meta"), "tensor 'a' is on the meta device"),
        ("a", torch.ones(2, 2).to_sparse(), "expected a dense tensor"),
        ("a", torch.ones(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), "float4_e2m1fn_x2"),
        ("a", torch.ones(1).expand(10**6, 10**6), "which is more than its stored values"),
        ("blocks.1000000000000000000.a", torch.ones(1), "has the index 1000000000000000000"),
        ("blocks.1001.a", torch.ones(1), "has the index 1001, but there are 3 tensors"),
    ],
)
def test_tensors_that_no_official_file_has_are_refused(
    key: Any, tensor: torch.Tensor, fault: str
) -> None:
    with pytest.raises(UserError, match=f"^a.pth: .*{fault}.*; use the official file$"):
        named_tensors({**TENSORS, key: tensor}, ("stem.",), "a.pth")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_refused() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    with pytest.raises(UserError, match=r"^a\.pth: tensor 'a' is nested, expected a dense tensor"):
        named_tensors({"a": nested}, ("stem.",), "a.pth")


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError("x"), RuntimeError("x")])
def test_errors_of_conversions_are_user_errors(error: Exception) -> None:
    with (
        pytest.raises(UserError, match=r"a\.pth: its tensors do not fit the network"),
        fitting(Path("a.pth")),
    ):
        raise error
