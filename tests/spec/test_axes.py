"""The values of a sweep's keys, and their combinations."""

from __future__ import annotations

import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.spec.axes import combinations, parse_axes, split_values


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("0,1, 2", ("0", "1", "2")),
        ("aligned,end_to_end", ("aligned", "end_to_end")),
        ("[4, 4],[8, 8]", ("[4, 4]", "[8, 8]")),
        ('{use="moe",k=1},{use="weighted"}', ('{use="moe",k=1}', '{use="weighted"}')),
        ("\"a,b\",'c]'", ('"a,b"', "'c]'")),
    ],
)
def test_values_are_a_toml_array_without_its_brackets(text: str, items: tuple[str, ...]) -> None:
    assert split_values(text) == items


def test_all_combinations_are_formed_and_the_last_key_changes_fastest() -> None:
    axes = parse_axes([("--set", "policy.steps=1,2"), ("--seed", "0,1")])
    assert [tuple(values.values()) for values in combinations(axes)] == [
        ("1", "0"),
        ("1", "1"),
        ("2", "0"),
        ("2", "1"),
    ]
    assert [*combinations(axes)[0]] == ["policy.steps", "seed"]


def test_without_options_the_spec_itself_is_the_only_combination() -> None:
    assert combinations(parse_axes([])) == ({},)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("seed", "--set seed: has no value; write KEY=VALUE,VALUE, such as seed=0,1,2"),
        ("seed=0,0", "--set seed=0,0: a value is listed twice; list each once"),
        ("a=True,false", "--set a=True: the value is not TOML; write true"),
    ],
)
def test_values_that_cannot_be_read_are_named(given: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_axes([("--set", given)])
    assert str(caught.value) == message
