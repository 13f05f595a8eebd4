"""Which seeds a policy is tried on: those in a row, those of a file, or those that are accepted.

Verdicts on seeds lie in ``store/seeds/<environment>-<key>/verdicts.json``: another policy in the
same environment needs no second screening.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import attrs

from ..errors import EnvironmentLost, UserError
from ..interfaces import SeedScreening, SeedVerdict
from ..plugins.components import Capability, Kind
from ..spec import Act
from ..store.files import guard, locked, read_json, write_json
from ..store.keys import canonical, key_of
from ..store.run import Run
from ..system import processes
from ..system.devices import workers_of
from ..system.progress import task

REPEATS = 3  # times that one seed is screened again after its simulator was lost


@attrs.frozen(eq=False, kw_only=True)
class Seeds:
    """Hold the seeds to act on, and what is known of them and of those that were not accepted."""

    accepted: tuple[int, ...]
    told: Mapping[int, Mapping[str, Any]] = attrs.field(factory=dict)
    rejected: Mapping[int, str] = attrs.field(factory=dict)  # and the reasons
    source: str = ""  # empty where they are in a row

    def plain(self) -> dict[str, Any]:
        """Return what ``[act] seeds`` reads."""
        return {
            "accepted": [{"seed": s, "told": dict(self.told.get(s, {}))} for s in self.accepted],
            "rejected": [{"seed": s, "reason": why} for s, why in sorted(self.rejected.items())],
        }

    def summary(self) -> dict[str, Any]:
        """Return what results say of them."""
        return {
            "source": self.source,
            "accepted": list(self.accepted),
            "rejected": self.plain()["rejected"],
        }


def choose(run: Run, place: str = "act") -> Seeds:
    """Return the seeds to act on, after the environment has screened as many as needed.

    ``place`` is the table that errors name.
    """
    (environment,) = run.spec.environments
    if run.spec.act.seeds is None and environment.can(Capability.SEED_SCREENING):
        return _screened(run, place)
    return named(run.spec.act)


def named(tries: Act) -> Seeds:
    """Return the seeds that a spec names, unscreened: those of its file, or those in a row."""
    if tries.seeds is not None:
        return of_file(tries)
    return Seeds(accepted=tuple(range(tries.start, tries.start + tries.episodes)))


def of_file(tries: Act) -> Seeds:
    """Return the first seeds that the file of ``[act] seeds`` accepts, as many as episodes."""
    assert tries.seeds is not None
    path, count = tries.seeds, tries.episodes
    wrong = f"{path}: is no list of seeds; give a list of numbers, or a seeds.json that act wrote"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = data["accepted"] if isinstance(data, dict) else [{"seed": seed} for seed in data]
        told = {row["seed"]: dict(row.get("told", {})) for row in rows}
        others = data.get("rejected", []) if isinstance(data, dict) else []
        rejected = {row["seed"]: str(row["reason"]) for row in others}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise UserError(wrong) from err
    if not all(type(seed) is int and seed >= 0 for seed in (*told, *rejected)):
        raise UserError(wrong)
    if len(rows) != len(told) or len(told) < count:
        raise UserError(
            f"{path}: holds {len(told)} different seeds in {len(rows)}, [act] episodes ="
            f" {count}; give each once, and as many as episodes"
        )
    accepted = tuple(told)[:count]
    kept = {seed: told[seed] for seed in accepted if told[seed]}
    return Seeds(accepted=accepted, told=kept, rejected=rejected, source="file")


def folder_of(run: Run) -> Path:
    """Return the folder of an environment's verdicts."""
    (environment,) = run.spec.environments
    name = environment.component.name
    return run.store / "seeds" / f"{name}-{key_of(canonical(environment))}"


def _screened(run: Run, place: str) -> Seeds:
    folder = folder_of(run)
    with locked(folder.with_name(folder.name + ".lock")):
        with guard(folder):
            folder.mkdir(parents=True, exist_ok=True)
        verdicts = _Screening(run, folder / "verdicts.json", place).verdicts()
    accepted = tuple(seed for seed, verdict in verdicts.items() if verdict.accepted)
    return Seeds(
        accepted=accepted,
        told={seed: verdicts[seed].told for seed in accepted},
        rejected={seed: v.reason for seed, v in verdicts.items() if not v.accepted},
        source="screened",
    )


class _Screening:
    """Screen seeds in a row until enough are accepted: which ones depends on no worker's speed."""

    def __init__(self, run: Run, place: Path, table: str) -> None:
        self.run, self.place, self.table = run, place, table
        known = read_json(place)["verdicts"] if place.exists() else {}
        self.known = {int(seed): SeedVerdict(**row) for seed, row in known.items()}
        self.losses: Counter[int] = Counter()
        self.pool: ProcessPoolExecutor | None = None

    def verdicts(self) -> dict[int, SeedVerdict]:
        """Return the verdicts on all seeds up to the last that is needed, in order."""
        first, wanted = self.run.spec.act.start, self.run.spec.act.episodes
        try:
            with task("screen seeds", wanted, "accepted") as advance:
                self._screen(first, wanted, advance)
        finally:
            if self.pool is not None:
                self.pool.shutdown(wait=True, cancel_futures=True)
        return {seed: self.known[seed] for seed in self._needed(first, wanted)}

    def _needed(self, first: int, wanted: int) -> range:
        """Return the seeds that are known from the first on, up to the last that is needed."""
        seed = first
        while wanted and seed in self.known:
            wanted -= self.known[seed].accepted
            seed += 1
        return range(first, seed)

    def _screen(self, first: int, wanted: int, advance: Any) -> None:
        under_way: dict[Future[SeedVerdict], int] = {}
        seed = first
        good = shown = 0
        while good < wanted or under_way:
            while good + len(under_way) < wanted and len(under_way) < 2 * self._workers():
                if seed in self.known:
                    good += self.known[seed].accepted
                else:
                    under_way[self._submit(seed)] = seed
                seed += 1
                self._check(seed - first, good, wanted)
            for future in wait(under_way, return_when=FIRST_COMPLETED).done if under_way else ():
                at = under_way.pop(future)
                verdict = self._verdict(future, at)
                if verdict is None:
                    under_way[self._submit(at)] = at
                else:
                    good += verdict.accepted
                    self._keep(at, verdict)
            advance(good - shown, rejected=seed - first - good - len(under_way))
            shown = good

    def _workers(self) -> int:
        return workers_of(self.run.spec.compute)

    def _submit(self, seed: int) -> Future[SeedVerdict]:
        (choice,) = self.run.spec.environments
        if self.pool is None:
            count = min(self._workers(), self.run.spec.act.episodes)
            self.pool = processes.pool(count, _initialise, choice.component.name, choice.config)
        try:
            return self.pool.submit(_judge, seed)
        except BrokenProcessPool:
            self.pool.shutdown()
            self.pool = None
            return self._submit(seed)

    def _verdict(self, future: Future[SeedVerdict], seed: int) -> SeedVerdict | None:
        """Return a seed's verdict; None when what should give it is lost, and is to be repeated."""
        try:
            return future.result()
        except (EnvironmentLost, BrokenProcessPool) as err:
            self.losses[seed] += 1
            if self.losses[seed] > REPEATS:
                raise UserError(
                    f"{self.table}: seed {seed}, screened {REPEATS + 1} times in vain: {err}"
                ) from err
            return None

    def _keep(self, seed: int, verdict: SeedVerdict) -> None:
        self.known[seed] = verdict
        self._write()

    def _write(self) -> None:
        rows = {str(s): attrs.asdict(self.known[s]) for s in sorted(self.known)}
        write_json(self.place, {"verdicts": rows})

    def _check(self, tried: int, good: int, wanted: int) -> None:
        if tried > 20 + 10 * wanted:
            reasons = Counter(v.reason for v in self.known.values() if not v.accepted)
            (reason, count), *_ = reasons.most_common(1)
            # what is to be mended may have rejected seeds that are to be acted on
            self.known = {seed: v for seed, v in self.known.items() if v.accepted}
            self._write()
            raise UserError(
                f"{self.table}: only {good} of {tried - 1} seeds were accepted, {count} not because"
                f" of {reason!r}; mend that, or set another {self.table}.first_seed"
            )


class _Worker:
    """Hold what a worker process built once."""

    environment: SeedScreening


def _initialise(name: str, config: Any) -> None:
    from ..plugins.registry import find

    _Worker.environment = find(Kind.ENVIRONMENT, name).build(config)


def _judge(seed: int) -> SeedVerdict:
    try:
        return _Worker.environment.screen(seed)
    except EnvironmentLost:
        raise
    except Exception as err:
        err.add_note(f"while screening seed {seed}")
        raise
