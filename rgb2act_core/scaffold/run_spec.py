"""A commented run spec to start from, for an environment or a recorded data set."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..errors import UserError
from ..interfaces import DatasetSummary, EnvironmentInfo
from ..plugins import registry
from ..plugins.components import Component, Kind
from ..reporting.formats import toml
from ..spec.conditions import CONDITIONS
from ..spec.reader import structure_config, unstructure

HEAD = """\
# A starting point: rgb2act check FILE lists what a run does, rgb2act {command}, and
# --set policy.steps=100 tries another value without editing. docs/spec.md describes every key.
"""
RUNS = "run FILE runs it"
TRAINS = "train FILE trains the policy"  # in an environment in which none can act
LIGHT = {Kind.BACKBONE: "patchstats", Kind.TEACHER: "cloudstats"}  # which need no weights


@attrs.frozen(kw_only=True)
class Starter:
    """What a new spec is written for."""

    component: Component  # of the environment
    table: Mapping[str, Any]  # its keys, without ``use``
    clouds: bool  # whether all episodes have point clouds
    records: bool  # whether demonstrations are recorded by an expert
    acts: bool  # whether a policy can act in it
    problem: str = ""  # why the environment cannot be built on this machine


def starter(component: Component, table: Mapping[str, Any] | None = None) -> Starter:
    """Return what to write a spec for; without a table, its keys are those without a default."""
    table = required(component) if table is None else table
    try:
        info: EnvironmentInfo = component.build(structure_config(component, table)).info
    except UserError as err:
        return Starter(
            component=component, table=table, clouds=True, records=True, acts=True, problem=str(err)
        )
    return Starter(
        component=component,
        table=table,
        clouds=info.clouds,
        records=info.demonstrates,
        acts=info.acts,
    )


def of_data_set(component: Component, found: DatasetSummary) -> Starter:
    """Return what to write a spec for a recorded data set for."""
    table = {key: value for key, value in found.environment.items() if key != "use"}
    built = starter(component, table)
    return attrs.evolve(built, clouds=found.clouds, records=False)


def spec_text(environment: Starter, backbones: Sequence[str] = (), folder: Path = Path()) -> str:
    """Return a spec with comments, which names the command that runs it; its file is in ``folder``.

    Without point clouds, the policy observes the tokens of one backbone. Raises UserError if no
    backbone or teacher is installed, or if there is no backbone of a name.
    """
    chosen = [registry.find(Kind.BACKBONE, name) for name in backbones] or [light(Kind.BACKBONE)]
    head = HEAD.format(command=RUNS if environment.acts else TRAINS)
    return "\n".join([head, *_lines(environment, chosen, folder)])


def required(component: Component) -> dict[str, Any]:
    """Return the keys of a component that have no default, with the values of its tiny config."""
    tiny = unstructure(component.tiny)
    fields = attrs.fields(component.config)
    wanted = (field for field in fields if field.init and field.default is attrs.NOTHING)
    return {field.name: tiny[field.name] for field in wanted}


def light(kind: Kind) -> Component:
    """Return the component of a kind that needs no weights, or else the first one installed."""
    found = [component for each, component in registry.components() if each is kind]
    if not found:
        raise UserError(f"no {kind.label} is installed; install a plugin, such as plugins/mini")
    return next((one for one in found if one.name == LIGHT[kind]), found[0])


def _lines(environment: Starter, backbones: Sequence[Component], folder: Path) -> Iterator[str]:
    name = str(environment.table.get("task", environment.component.name)).replace("_", "-")
    yield f'name = "{re.sub(r"[^A-Za-z0-9_.-]", "-", name).strip("-_.")[:100] or "run"}"'
    yield "seed = 0\n"
    yield from _environment(environment, folder)
    if environment.records:
        yield "[collect]"
        yield "episodes = 50  # demonstrations to record"
        if environment.clouds:
            yield "scenes = 500  # random frames with point clouds, which only the aligner uses"
        yield ""
    for component in backbones:
        yield f"[[backbone]]  # {component.summary}"
        yield toml({"use": component.name} | required(component))
    condition = _condition(environment.clouds)
    if environment.clouds:
        yield "[teacher]  # point-cloud model that the aligner learns from"
        teacher = light(Kind.TEACHER)
        yield toml({"use": teacher.name} | required(teacher))
        yield "[align]"
        yield 'fusion = { use = "weighted" }'
        yield "steps = 2000"
        yield "batch_size = 64\n"
    yield "[policy]"
    yield 'head = { use = "diffusion", denoiser = "mlp" }'
    yield f'condition = "{condition}"  # what the policy sees: {CONDITIONS[condition].summary}'
    yield "horizon = 16  # steps of a plan"
    yield "n_action_steps = 8  # steps executed before the next plan"
    yield "steps = 5000  # of training\n"
    if environment.acts:
        yield "[act]"
        yield "episodes = 50  # evaluation episodes"


def _environment(environment: Starter, folder: Path) -> Iterator[str]:
    """Yield the table; keys with defaults are comments."""
    component, table = environment.component, environment.table
    yield f"# {component.summary}"
    values = {
        key: os.path.relpath(value, folder.resolve()) if isinstance(value, Path) else value
        for key, value in table.items()
    }
    yield toml({"environment": {"use": component.name} | values}).rstrip()
    defaults = {
        field.name: unstructure(field.default)
        for field in attrs.fields(component.config)
        if field.init
        and field.name not in table
        and isinstance(field.default, str | int | float | tuple)
    }
    for key, value in defaults.items():
        yield f"# {key} = {json.dumps(value)}"
    yield ""


def _condition(clouds: bool) -> str:
    """Return the first condition with a trained aligner; without clouds, with one backbone."""
    conditions = CONDITIONS.values()
    if clouds:
        return next(c.name for c in conditions if c.aligner == "trained")
    return next(c.name for c in conditions if c.backbones == "one")


def write_spec(path: Path, text: str) -> None:
    """Write a spec. Raises UserError if the file exists or cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UserError(f"{path}: already exists; choose another file name") from None
    except OSError as err:
        raise UserError(f"{path}: {str(err.strerror).lower()}; choose another file name") from err
