"""Any change of a spec gives a valid spec or an error for the user, and soon."""

from __future__ import annotations

import copy
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rgb2act_core.errors import UserError
from rgb2act_core.pipeline.status import check
from rgb2act_core.spec.reader import read_spec

SMOKE = tomllib.loads((Path(__file__).parents[2] / "examples/smoke.toml").read_text())
EXTRA = {  # keys that the example does not set
    "align": {"window": 4, "stride": 1, "keypoint_maps": 16, "tokens": 0, "holdout": 0.1},
    "policy": {"n_obs_steps": 2, "history_stride": 1, "ema": 0.9, "noise": 0.1},
    "act": {"candidates": 1, "first_seed": 0, "warm_start": 0.0},
    "extract": {"batch_size": 0, "tokens": {"grid": [4, 4]}},
    "compute": {"threads": 1},
}
SECONDS = 10.0  # of CPU time, far above the second that a check takes on a slow processor

VALUES = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 3, 10**3, 10**6, 10**7, 10**9, 2**31, 2**62, 2**63, 10**400]),
    st.integers(),
    st.floats(),
    st.sampled_from([1e400, -1e400, 1e-320, 0.5]),
    st.text(max_size=8),
    st.booleans(),
    st.lists(st.integers(-1, 10**7), max_size=3),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(), max_size=2),
)


def joined(base: Any, extra: Any) -> Any:
    out = dict(base)
    for key, value in extra.items():
        out[key] = joined(out.get(key, {}), value) if isinstance(value, dict) else value
    return out


BASE = joined(SMOKE, EXTRA)


def places(table: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value."""
    items = table.items() if isinstance(table, dict) else enumerate(table)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


PLACES = [place for place in places(BASE) if place[0] not in ("name", "environment")]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Check the spec once, which imports torch."""
    folder = tmp_path_factory.mktemp("unchanged")
    (folder / "spec.toml").write_text(tomli_w.dumps(BASE))
    check(read_spec(folder / "spec.toml"), folder / "root")


@pytest.mark.slow
@pytest.mark.usefixtures("imported")
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=2))
def test_a_changed_spec_is_checked_or_refused(
    tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    spec = copy.deepcopy(BASE)
    for place, value in changes:
        table = spec
        try:
            for key in place[:-1]:
                table = table[key]
            table[place[-1]] = value
        except (TypeError, KeyError, IndexError):  # an earlier change replaced the table
            continue
    path = tmp_path / "spec.toml"
    path.write_text(tomli_w.dumps(spec))
    start = time.process_time()
    try:
        check(read_spec(path), tmp_path / "root")
    except UserError as err:
        assert str(err)  # noqa: PT017 a valid change raises nothing
    assert time.process_time() - start < SECONDS
