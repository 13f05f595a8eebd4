"""Which of several processes this is, from the variables of launchers."""

from __future__ import annotations

import pytest

from rgb2act_core.commands.run import warn_of_launcher
from rgb2act_core.store.stage_id import Stage
from rgb2act_core.system.launcher import launched
from rgb2act_core.system.shards import ALL, Shard

SLURM = {"SLURM_PROCID": "2", "SLURM_NTASKS": "16"}


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (SLURM, "this is process 3 of 16 (SLURM_PROCID, SLURM_NTASKS)"),
        (
            {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
            "this is process 1 of 2 (OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE)",
        ),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "this is process 2 of 2 (RANK, WORLD_SIZE)"),
        ({"RANK": "0", "WORLD_SIZE": "1"}, "None"),
        ({"SLURM_NTASKS": "16"}, "None"),
        ({"RANK": "one", "WORLD_SIZE": "two"}, "None"),
        ({}, "None"),
    ],
)
def test_launchers_are_recognised(variables: dict[str, str], text: str) -> None:
    assert str(launched(variables)) == text


@pytest.mark.parametrize(
    ("last", "shard", "variables", "expected"),
    [
        (
            Stage.EXTRACT,
            ALL,
            SLURM,
            "this is process 3 of 16 (SLURM_PROCID, SLURM_NTASKS); all of them run the same"
            " extract: give each its part with --shard $((SLURM_PROCID+1))/$SLURM_NTASKS\n",
        ),
        (
            None,
            ALL,
            SLURM,
            "this is process 3 of 16 (SLURM_PROCID, SLURM_NTASKS); all of them run the same spec"
            " and wait for each other: run collect, extract and act with"
            " --shard $((SLURM_PROCID+1))/$SLURM_NTASKS, and align and train once\n",
        ),
        (Stage.EXTRACT, Shard(3, 16), SLURM, ""),
        (Stage.TRAIN, ALL, SLURM, ""),
        (None, ALL, {"RANK": "0", "WORLD_SIZE": "2"}, ""),
        (Stage.ACT, ALL, {}, ""),
    ],
)
def test_one_of_several_processes_prints_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    last: Stage | None,
    shard: Shard,
    variables: dict[str, str],
    expected: str,
) -> None:
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    warn_of_launcher(last, shard)
    assert capsys.readouterr().err == expected
