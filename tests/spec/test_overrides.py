"""Keys that the command line sets are read as strictly as those of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_components import find

from rgb2act_core import UserError
from rgb2act_core.spec import Spec
from rgb2act_core.spec.overrides import parse_overrides
from rgb2act_core.spec.reader import override_spec, read_source

SPECS = Path(__file__).parents[1] / "specs"
GOOD = (SPECS / "good.toml").read_text()


def overridden(*given: str, option: str = "--set") -> Spec:
    overrides = parse_overrides((option, text) for text in given)
    return read_source(SPECS / "good.toml", overrides, find).spec


def refusal(*given: str, option: str = "--set") -> list[str]:
    with pytest.raises(UserError) as caught:
        overridden(*given, option=option)
    return [problem.replace(f"{SPECS}/", "") for problem in caught.value.args]


def test_value_is_read_as_toml_and_a_word_as_a_string() -> None:
    spec = overridden(
        "policy.steps=100", "policy.condition=end_to_end", 'name="other"', "align.lr=1e-3"
    )
    assert (spec.policy.steps, spec.policy.condition) == (100, "end_to_end")
    assert (spec.name, spec.align.lr) == ("other", 1e-3)


def test_item_of_a_list_is_set_by_its_number() -> None:
    spec = overridden("backbone.1.patch=5", "backbone.1.crop.scale=3.0")
    assert [choice.config.patch for choice in spec.backbone] == [8, 5]
    assert spec.backbone[1].config.crop.scale == 3.0


def test_table_that_is_not_in_the_file_is_created() -> None:
    assert overridden("policy.closed_loop.every=5").policy.closed_loop.every == 5


def test_last_of_several_values_of_a_key_counts() -> None:
    assert overridden("seed=1", "seed=2").seed == 2


def test_short_options_set_their_keys() -> None:
    assert overridden("7", option="--seed").seed == 7
    assert overridden("cuda:1", option="--device").compute.device == "cuda:1"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("policy.stps=100", "unknown key; did you mean 'steps'?"),
        ("policy.steps=true", "expected int, got bool True"),
        ("polcy.steps=1", "polcy: unknown key; did you mean 'policy'?"),
        ("policy.steps", "has no value; write KEY=VALUE, such as policy.steps=100"),
        ("policy.proprio=True", "the value is not TOML; write true"),
        (
            "name=1x",
            "the value is not TOML; quote a string for TOML and for the shell, such as '\"1x\"'",
        ),
        (
            "backbone.2.patch=1",
            "backbone is a list; name an item by its number, from 0 to 1, such as backbone.1",
        ),
        ("seed.x=1", "seed is no table and has no key 'x'"),
        (
            "backbone[0].patch=1",
            "'backbone[0].patch' is no key of a spec; write keys with dots and items of lists by"
            " number, such as backbone.0.size",
        ),
    ],
)
def test_message_names_the_option(given: str, message: str) -> None:
    assert refusal(given) == [f"--set {given}: {message}"]


def test_problem_below_a_value_names_option_and_key() -> None:
    given = 'policy.head={use="mlp", width="x"}'
    assert refusal(given) == [f"--set {given}: policy.head.width: expected int, got str 'x'"]


def test_problems_of_file_and_options_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "good.toml"  # which it names itself
    path.write_text(GOOD.replace("[act]", "[act]\nepisods = 1", 1))
    line = path.read_text().splitlines().index("episods = 1") + 1
    with pytest.raises(UserError) as caught:
        read_source(path, parse_overrides([("--set", "seed=x"), ("--set", "a=1")]), find)
    places = [problem.partition(": ")[0] for problem in caught.value.args]
    assert places == [f"{path}:{line}", "--set seed=x", "--set a=1"]


def test_later_problems_of_a_key_name_its_place() -> None:
    source = read_source(SPECS / "good.toml", parse_overrides([("--seed", "3")]), find)
    lines = (SPECS / "good.toml").read_text().splitlines()
    with pytest.raises(UserError) as caught, source.places.located():
        raise UserError("seed: is odd", "policy.head: is small", "simulator: is lost")
    head = 1 + lines.index("[policy.head]")
    assert caught.value.args == (
        "simulator: is lost",
        f"{SPECS}/good.toml:{head}: policy.head: is small",
        "--seed 3: is odd",
    )


def test_recorded_spec_takes_overrides(puppet: None) -> None:
    spec = read_source(Path(__file__).parents[2] / "examples/smoke.toml").spec
    overrides = parse_overrides([("--set", "act.episodes=2")])
    assert override_spec(spec, overrides, Path("runs/smoke")).spec.act.episodes == 2
