from pathlib import Path
from typing import Any

import attrs
import pytest

from rgb2act_core.errors import UserError
from rgb2act_core.interfaces import fields
from rgb2act_core.plugins.components import Component
from rgb2act_core.spec import BackboneChoice
from rgb2act_core.store.file_digests import file_digest
from rgb2act_core.store.keys import canonical, difference, key_of
from rgb2act_core.weights import OfficialWeights


@attrs.frozen(kw_only=True)
class Config:
    size: int = 8
    batch: int = fields.runtime(default=4)
    late: tuple[int, ...] = fields.added_later(default=())
    named: dict[str, int] = fields.added_later(factory=dict)
    table: Path | None = fields.file(default=None)
    weights: str = fields.weights()

    @property
    def official(self) -> OfficialWeights:
        return OfficialWeights(name="tiny", filename="tiny.pth", repo="someone/tiny", sha256="ab")


def key(version: int = 1, **options: Any) -> str:
    component = Component(
        name="fake", config=Config, build=lambda c: c, tiny=Config(), version=version
    )
    return key_of(canonical(BackboneChoice(component=component, config=Config(**options))))


def test_runtime_fields_are_not_in_the_key() -> None:
    assert key(batch=4) == key(batch=400)


@pytest.mark.parametrize("options", [{"size": 9}, {"version": 2}, {"weights": "random"}])
def test_everything_else_is_in_the_key(options: dict[str, Any]) -> None:
    assert key(**options) != key()


def test_a_field_added_later_is_in_the_key_unless_it_has_its_default() -> None:
    assert not {"late", "named"} & canonical(Config()).keys()
    changed = canonical(Config(late=(1,), named={"a": 2}))
    assert (changed["late"], changed["named"]) == ([1], {"a": 2})
    assert len({key(), key(late=(1,)), key(named={"a": 2})}) == 3


def test_files_are_in_the_key_by_content_not_by_path(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).write_text(text)
    for field in ("table", "weights"):
        kind = Path if field == "table" else str
        keys = [key(**{field: kind(tmp_path / name)}) for name in "abc"]
        assert keys[0] == keys[1] != keys[2]


def test_a_changed_file_has_another_digest_in_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("one")
    before = file_digest(path)
    path.write_text("three")
    assert file_digest(path) != before


def test_official_weights_are_in_the_key_without_a_download() -> None:
    assert canonical(Config())["weights"] == {
        "hub": "https://huggingface.co/someone/tiny/tiny.pth",
        "sha256": "ab",
    }


def test_difference_names_the_field_and_both_values() -> None:
    old = {"align": {"steps": 10, "lr": 1.0}, "seed": 0}
    new = {"align": {"steps": 20, "lr": 1.0}, "seed": 0, "more": True}
    assert difference(old, new) == ["align.steps: 10 -> 20", "more: default -> true"]


def test_a_missing_file_is_an_error_not_a_path_in_the_key(tmp_path: Path) -> None:
    for options in ({"table": tmp_path / "gone"}, {"weights": str(tmp_path / "gone")}):
        with pytest.raises(UserError, match=r"there is no file '.*gone', whose content is part of"):
            key(**options)


def test_a_path_that_is_no_file_field_cannot_enter_a_key(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"declare the config's field with fields\.file"):
        canonical({"folder": tmp_path})
