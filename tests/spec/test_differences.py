"""The keys of a recorded spec that differ from the defaults."""

from __future__ import annotations

from rgb2act_core.spec import Spec
from rgb2act_core.spec.differences import without_defaults
from rgb2act_core.spec.reader import read_spec, structure, unstructure


def test_only_keys_that_differ_from_the_defaults_are_kept(spec_file):
    spec = read_spec(spec_file("smoke", act={"episodes": 3, "videos": 4}))
    data = unstructure(spec)
    kept = without_defaults(data)
    assert kept["act"]["episodes"] == 3
    assert "videos" not in kept["act"]  # 4 is the default
    assert "compute" not in kept or kept["compute"]
    assert kept["policy"]["head"]["use"] == data["policy"]["head"]["use"]
    assert structure(Spec, kept) == spec


def test_tables_of_components_that_are_not_installed_are_kept():
    table = {"use": "nowhere", "size": 3}
    assert without_defaults({"name": "a", "backbone": [table], "future": 1}) == {
        "name": "a",
        "backbone": [table],
        "future": 1,
    }
