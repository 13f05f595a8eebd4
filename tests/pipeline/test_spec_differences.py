"""The keys in which recorded specs differ."""

from __future__ import annotations

from rgb2act_core.pipeline.spec_differences import differences, shown
from rgb2act_core.spec.reader import read_spec, unstructure


def test_differences_name_the_keys_of_nested_tables() -> None:
    old = {"a": {"b": 1, "c": [1, 2]}, "d": [{"use": "x"}], "e": True}
    new = {"a": {"b": 1, "c": [1, 3]}, "d": [{"use": "y"}], "f": None}
    found = {each.key: each.values for each in differences([old, new])}
    assert found == {"a.c": ([1, 2], [1, 3]), "d[0].use": ("x", "y"), "e": (True, None)}
    assert differences([old, old]) == []
    assert [shown(v) for v in (None, True, "text", [1, 2], 0.5)] == [
        "-",
        "true",
        "text",
        "[1, 2]",
        "0.5",
    ]
    assert len(shown("x" * 100)) == 40


def test_a_key_that_an_older_version_does_not_know_counts_only_where_it_is_set(spec_file):
    new = unstructure(read_spec(spec_file("smoke")))
    old = unstructure(read_spec(spec_file("smoke")))
    del old["align"]["tokens"], old["act"]["delay"]
    assert differences([old, new]) == differences([new, old]) == []
    changed = unstructure(read_spec(spec_file("smoke", act={"delay": 2})))
    found = {each.key: each.values for each in differences([old, new, changed])}
    assert found == {"act.delay": (None, 0, 2)}


def test_a_third_spec_without_a_key_does_not_hide_that_two_differ(spec_file):
    heads = ({"use": "diffusion"}, {"use": "flow"})
    two = [unstructure(read_spec(spec_file("smoke", policy={"head": head}))) for head in heads]
    other = unstructure(read_spec(spec_file("smoke")))
    other["policy"]["head"] = {"use": "of a plugin"}
    found = {each.key: each.values for each in differences([*two, other])}
    assert found == {
        "policy.head.use": ("diffusion", "flow", "of a plugin"),
        "policy.head.sample_steps": (10, 8, None),
    }


def test_defaults_of_another_component_are_no_differences(spec_file):
    specs = [
        unstructure(read_spec(spec_file("smoke", policy={"head": head})))
        for head in ({"use": "diffusion", "prediction": "epsilon"}, {"use": "flow"})
    ]
    found = {each.key: each.values for each in differences(specs)}
    assert found == {
        "policy.head.use": ("diffusion", "flow"),
        "policy.head.prediction": ("epsilon", None),
        "policy.head.sample_steps": (10, 8),
    }
