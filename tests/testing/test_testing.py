"""The conformance kit passes good components, and fails faulty ones with what to fix."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import rgb2act_process
import torch
from torch import Tensor

from rgb2act_core import Capability, Component, Kind, UserError
from rgb2act_core.interfaces import FusedTokens, Plans, PointCloud, fields
from rgb2act_core.scaffold import write
from rgb2act_core.testing import Check, NotTested, checks, component_checks, config_checks


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kind, Component]]:
    """Return a good component of each kind: what ``new-plugin`` writes."""
    out = tmp_path_factory.mktemp("plugins")
    found, before = {}, list(sys.path)
    for kind in Kind:
        name = f"kit{kind}"
        sys.path.insert(0, str(write(name, kind, out)))
        module = importlib.import_module(f"rgb2act_{name}")
        found[kind] = next(iter(getattr(module, kind.hook)()))
    yield found
    sys.path[:] = before
    for kind in Kind:  # the fixture may be set up again in this process
        del sys.modules[f"rgb2act_kit{kind}"]


@pytest.mark.parametrize("kind", Kind)
def test_what_new_plugin_writes_passes(parts: dict[Kind, Component], kind: Kind) -> None:
    for check in checks(f"rgb2act_kit{kind}"):
        check()


def failing(kind: Kind, component: Component) -> dict[str, str]:
    found = {}
    for check in component_checks(kind, component):
        try:
            check()
        except AssertionError as err:
            found[check.name] = str(err)
    return found


def not_tested(found: list[Check]) -> dict[str, str]:
    """Return the reasons of the checks that do not apply."""
    reasons = {}
    for check in found:
        try:
            check()
        except NotTested as reason:
            reasons[check.name] = str(reason)
    return reasons


def altered(
    parts: dict[Kind, Component],
    kind: Kind,
    alter: Callable[[Any], Any],
    *capabilities: Capability,
) -> Component:
    """Return the good component, built and then altered, with declared capabilities."""
    good = parts[kind]
    return attrs.evolve(
        good,
        build=lambda config: alter(good.build(config)),
        capabilities=frozenset(capabilities),
    )


def wrap(method: str, fault: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return an alteration that puts ``fault(good method, *args)`` instead of a method."""

    def alter(built: Any) -> Any:
        good = getattr(built, method)
        setattr(built, method, lambda *args: fault(good, *args))
        return built

    return alter


def dim_of_one_more(built: Any) -> Any:
    built.info = attrs.evolve(built.info, dim=built.info.dim + 1)
    return built


def spoil(good: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    tokens = good(frames)
    frames.zero_()
    return tokens


def two_steps(fault: Callable[[Tensor], Tensor], key: Callable[[Tensor], Tensor]) -> Any:
    """Return an alteration that makes a backbone encode in two steps, with a fault."""

    def alter(built: Any) -> Any:
        built.encode_frames = lambda rgb: {"rgb": key(rgb)}
        built.encode_windows = lambda parts, image: fault(built.encode(parts["rgb"]))
        return built

    return alter


def test_backbone_that_encodes_in_two_steps_passes(parts: dict[Kind, Component]) -> None:
    alter = two_steps(lambda tokens: tokens, lambda rgb: rgb)
    component = altered(parts, Kind.BACKBONE, alter, Capability.WINDOWED)
    assert failing(Kind.BACKBONE, component) == {}
    undeclared = failing(Kind.BACKBONE, attrs.evolve(component, capabilities=frozenset()))
    assert list(undeclared) == ["capabilities_are_as_declared"]
    assert "add it to Component(capabilities=...)" in undeclared["capabilities_are_as_declared"]


@pytest.mark.parametrize("capability", Capability)
def test_a_declared_capability_must_be_implemented(parts: Any, capability: Capability) -> None:
    component = attrs.evolve(parts[capability.kind], capabilities=frozenset({capability}))
    message = failing(capability.kind, component)["capabilities_are_as_declared"]
    assert f"declares {capability.name}" in message


def test_capability_of_another_kind_fails(parts: Any) -> None:
    group_tokens = frozenset({Capability.GROUP_TOKENS})
    component = attrs.evolve(parts[Kind.FUSION], capabilities=group_tokens)
    message = failing(Kind.FUSION, component)["capabilities_are_as_declared"]
    assert message == "a fusion cannot have the capability GROUP_TOKENS; remove it"


def skipping(built: Any) -> Any:
    make = built.make

    def fault() -> Any:
        env = make()
        env.unwrapped.observe = True
        return env

    built.make = fault
    return built


def test_undeclared_attribute_of_the_simulator_fails(parts: Any) -> None:
    found = failing(Kind.ENVIRONMENT, altered(parts, Kind.ENVIRONMENT, skipping))
    assert "can do IMAGE_SKIPPING" in found["capabilities_are_as_declared"]


BACKBONE_FAULTS = [
    ("two_steps_equal_encode", two_steps(lambda x: x * 1.01, lambda rgb: rgb)),
    ("two_steps_equal_encode", two_steps(lambda x: x[:, :, 1:], lambda rgb: rgb)),
    ("two_steps_equal_encode", two_steps(lambda x: x, lambda rgb: rgb[:, :1])),
    ("tokens_have_the_shape_of_the_grid", dim_of_one_more),
    ("tokens_have_the_shape_of_the_grid", wrap("encode", lambda f, x: f(x)[:, :, 1:])),
    ("tokens_are_finite_float32", wrap("encode", lambda f, x: f(x).half())),
    ("tokens_are_finite_float32", wrap("encode", lambda f, x: f(x) / 0)),
    ("tokens_fit_float16", wrap("encode", lambda f, x: f(x) * 1e6)),
    ("tokens_depend_on_the_image", wrap("encode", lambda f, x: f(torch.zeros_like(x)))),
    ("input_is_not_modified", wrap("encode", spoil)),
    ("batch_does_not_change_tokens", wrap("encode", lambda f, x: f(x) - f(x).mean(0))),
    (
        "same_config_gives_same_tokens",
        wrap("encode", lambda f, x: f(x) + 1e-6 * torch.randn(())),
    ),
    ("tokens_are_frozen", wrap("encode", lambda f, x: f(x).requires_grad_())),
    ("moves_to_a_device", wrap("to", lambda f, device: None)),
]


@pytest.mark.parametrize(("name", "alter"), BACKBONE_FAULTS)
def test_faulty_backbone_fails(parts: Any, name: str, alter: Any) -> None:
    capabilities = [Capability.WINDOWED] if name.startswith("two_steps") else []
    assert name in failing(Kind.BACKBONE, altered(parts, Kind.BACKBONE, alter, *capabilities))


def unseeded(built: Any) -> Any:
    built.projection = torch.randn_like(built.projection)
    return built


def test_backbone_with_unseeded_weights_fails(parts: Any) -> None:
    found = failing(Kind.BACKBONE, altered(parts, Kind.BACKBONE, unseeded))
    assert "draw random weights from a seed" in found["same_config_gives_same_tokens"]


def padded(good: Callable[[Sequence[PointCloud]], Tensor], clouds: Sequence[PointCloud]) -> Tensor:
    return good(clouds) * max(len(cloud.xyz) for cloud in clouds)


def recolour(
    good: Callable[[Sequence[PointCloud]], Tensor], clouds: Sequence[PointCloud]
) -> Tensor:
    found = good(clouds)
    for cloud in clouds:
        cloud.rgb[:] = 0
    return found


TEACHER_FAULTS = [
    ("embeddings_are_finite_float32", dim_of_one_more),
    ("embeddings_are_finite_float32", wrap("embed", lambda f, x: f(x).double())),
    ("embeddings_depend_on_the_cloud", wrap("embed", lambda f, x: f(x) * 0)),
    ("batch_does_not_change_embeddings", wrap("embed", padded)),
    (
        "same_config_gives_same_embeddings",
        wrap("embed", lambda f, x: f(x) + 1e-6 * torch.randn(())),
    ),
    ("empty_cloud_is_rejected", wrap("embed", lambda f, x: f(x) if len(x[0].xyz) else None)),
    ("input_is_not_modified", wrap("embed", recolour)),
    ("embeddings_are_frozen", wrap("embed", lambda f, x: f(x).requires_grad_())),
]


@pytest.mark.parametrize(("name", "alter"), TEACHER_FAULTS)
def test_faulty_teacher_fails(parts: Any, name: str, alter: Any) -> None:
    assert name in failing(Kind.TEACHER, altered(parts, Kind.TEACHER, alter))


def fused(change: Callable[[FusedTokens, Tensor], FusedTokens]) -> Callable[[Any], Any]:
    """Return an alteration of what the fusion's module gives."""

    def fault(good: Callable[[int, int], Any], backbones: int, dim: int) -> Any:
        module = good(backbones, dim)
        forward = module.forward
        module.forward = lambda tokens: change(forward(tokens), tokens)
        return module

    return wrap("module", fault)


FUSION_FAULTS = [
    ("weights_sum_to_one", fused(lambda f, t: attrs.evolve(f, weights=f.weights * 2))),
    ("fuses_any_number_of_backbones", fused(lambda f, t: attrs.evolve(f, weights=f.loss))),
    ("fuses_any_number_of_backbones", fused(lambda f, t: attrs.evolve(f, loss=f.weights))),
    ("fused_tokens_are_finite_float32", fused(lambda f, t: attrs.evolve(f, loss=f.loss / 0))),
    ("gradient_reaches_every_backbone", fused(lambda f, t: attrs.evolve(f, tokens=t[:, :, 0]))),
    (
        "evaluation_is_deterministic",
        fused(lambda f, t: attrs.evolve(f, tokens=f.tokens + torch.randn(()))),
    ),
    ("patches_are_fused", fused(lambda f, t: attrs.evolve(f, tokens=f.tokens * 0))),
]


@pytest.mark.parametrize(("name", "alter"), FUSION_FAULTS)
def test_faulty_fusion_fails(parts: Any, name: str, alter: Any) -> None:
    assert name in failing(Kind.FUSION, altered(parts, Kind.FUSION, alter))


def printing(good: Callable[..., Any], *args: Any) -> Any:
    print("started")
    return good(*args)


def drawing(good: Callable[..., Any], *args: Any) -> Any:
    torch.randn(())
    return good(*args)


def failing_again(good: Callable[[Any], Any], run: Any) -> Any:
    if any(run.folder.iterdir()):
        raise FileExistsError(run.folder)
    return good(run)


def exiting(good: Callable[..., Any], *args: Any) -> Any:
    raise SystemExit


def undecided(built: Any) -> Any:
    built.replays = None
    return built


LOGGER_FAULTS = [
    ("replays_is_declared", undecided),
    ("a_run_is_logged_in_a_thread", wrap("log_stage", exiting)),
    ("an_interrupted_run_is_resumed", wrap("start", failing_again)),
    ("random_numbers_are_not_drawn", wrap("log_metrics", drawing)),
    ("stdout_is_not_used", wrap("start", printing)),
]


@pytest.mark.parametrize(("name", "alter"), LOGGER_FAULTS)
def test_faulty_logger_fails(parts: Any, name: str, alter: Any) -> None:
    assert name in failing(Kind.LOGGER, altered(parts, Kind.LOGGER, alter))


def test_logger_with_an_option_in_cache_keys_fails(parts: Any) -> None:
    config = attrs.make_class(
        "Config", {"path": attrs.field(default="")}, frozen=True, kw_only=True
    )
    component = attrs.evolve(parts[Kind.LOGGER], config=config, tiny=config())
    assert "every_option_is_runtime" in failing(Kind.LOGGER, component)


def flow(method: str, fault: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return an alteration of a method of the head's module."""
    return wrap("module", lambda good, shape: wrap(method, fault)(good(shape)))


def unmasked(good: Callable[..., Tensor], obs: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
    return good(obs, actions, torch.ones_like(mask))


def careless(good: Callable[..., Tensor], obs: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
    return good(obs, actions, mask) + actions.square().mean()


def first_generator(good: Callable[..., Plans], obs: Tensor, generators: Any) -> Plans:
    return good(obs, [generators[0]] * len(generators))


def planned(change: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    """Return an alteration of the actions of plans."""

    def fault(good: Callable[..., Plans], obs: Tensor, generators: Any) -> Plans:
        plans = good(obs, generators)
        return attrs.evolve(plans, actions=change(plans.actions))

    return flow("plan", fault)


def clipping(limit: Any, clipped_by: Tensor | None) -> Callable[[Any], Any]:
    """Return an alteration that makes a head claim to clip."""

    def alter(built: Any) -> Any:
        def fault(good: Callable[..., Plans], obs: Tensor, generators: Any) -> Plans:
            return attrs.evolve(good(obs, generators), clipped_by=clipped_by)

        altered = flow("plan", fault)(built)
        altered.plan_limit = limit
        return altered

    return alter


HEAD_FAULTS = [
    ("check_returns_none_or_a_reason", wrap("check", lambda f, shape: "no")),
    (
        "check_returns_none_or_a_reason",
        wrap("check", lambda f, shape: None if shape.horizon > 9 else ""),
    ),
    ("plans_have_the_right_shape", planned(lambda actions: actions[:, :, 1:])),
    ("plans_have_the_right_shape", planned(lambda actions: actions[:, 0])),
    ("plans_have_the_right_shape", planned(lambda actions: actions.double())),
    ("plans_have_the_right_shape", flow("plan", lambda f, o, g: f(o, g).actions)),
    ("loss_is_a_finite_scalar", flow("loss", lambda f, *a: f(*a)[None])),
    ("loss_is_a_finite_scalar", flow("loss", lambda f, *a: f(*a) / 0)),
    ("loss_depends_on_observations", flow("loss", lambda f, o, a, m: f(o.detach(), a, m))),
    ("masked_steps_are_ignored", flow("loss", unmasked)),
    ("masked_steps_are_ignored", flow("loss", careless)),
    (
        "row_uses_its_own_generator",
        planned(lambda actions: actions + 1e-6 * torch.randn(())),
    ),
    ("row_uses_its_own_generator", flow("plan", first_generator)),
    ("clipping_is_reported", clipping(None, torch.zeros(3, 1, 16, 5))),
    ("clipping_is_reported", clipping(1e-4, torch.zeros(3, 1, 16, 5))),
    ("clipping_is_reported", clipping(9, torch.zeros(3, 1, 16, 5))),
    ("clipping_is_reported", clipping(9.0, None)),
    ("clipping_is_reported", clipping(9.0, torch.zeros(1))),
    ("clipping_is_reported", clipping(9.0, -torch.ones(3, 1, 16, 5))),
]


@pytest.mark.parametrize(("name", "alter"), HEAD_FAULTS)
def test_faulty_policy_head_fails(parts: Any, name: str, alter: Any) -> None:
    assert name in failing(Kind.POLICY_HEAD, altered(parts, Kind.POLICY_HEAD, alter))


def with_info(**changes: Any) -> Callable[[Any], Any]:
    def alter(built: Any) -> Any:
        built.info = attrs.evolve(built.info, **changes)
        return built

    return alter


def episode(**changes: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return an alteration of fields of every episode."""

    def fault(good: Callable[..., Any], *args: Any) -> Any:
        made = good(*args)
        return attrs.evolve(made, **{k: f(getattr(made, k)) for k, f in changes.items()})

    return wrap("episode", fault)


def world(method: str, fault: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return an alteration of a method of the gymnasium world."""

    def fault_of_make(good: Callable[[], Any]) -> Any:
        env = good()
        method_of = getattr(env, method)
        setattr(env, method, lambda *args, **kwargs: fault(method_of, *args, **kwargs))
        return env

    return wrap("make", fault_of_make)


def unsuccessful(good: Callable[..., Any], action: Any) -> Any:
    *rest, info = good(action)
    return (*rest, {"state": info["state"]})


ENVIRONMENT_FAULTS = [
    ("info_is_complete", with_info(cameras=())),
    ("info_is_complete", with_info(hand_states=("feet",))),
    ("action_names_are_unique", with_info(action_names=("x", "y", "z", "x", "v", "w"))),
    ("demonstrations_are_valid", episode(joints=lambda x: x if x is None else x[:-1])),
    ("demonstrations_are_valid", episode(actions=lambda x: x if x is None else x * np.inf)),
    ("demonstrations_are_valid", episode(rgb=lambda x: x.astype(np.float32))),
    ("demonstrations_are_valid", episode(clouds=lambda x: x[:-1])),
    ("demonstrations_are_valid", episode(state=lambda x: {})),
    ("demonstrations_are_valid", episode(actions=lambda x: x if x is None else x * np.float32(3))),
    ("demonstrations_are_valid", with_info(image=(20, 16))),
    ("scenes_are_single_frames", episode(clouds=lambda x: None)),
    (
        "same_seed_gives_the_same_demonstration",
        episode(rgb=lambda x: x ^ np.uint8(np.random.default_rng().integers(256))),
    ),
    ("env_passes_gymnasiums_checker", world("reset", lambda f, **k: f(**k)[0])),
    ("observations_match_info", world("step", unsuccessful)),
    ("observations_match_info", with_info(state_names=("pose",))),
    ("same_seed_gives_the_same_episode", world("reset", lambda f, seed=None, **k: f(**k))),
    ("same_seed_gives_the_same_episode", world("reset", lambda f, seed=None, **k: f(seed=7))),
]


@pytest.mark.parametrize(("name", "alter"), ENVIRONMENT_FAULTS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_faulty_environment_fails(parts: Any, name: str, alter: Any) -> None:
    assert name in failing(Kind.ENVIRONMENT, altered(parts, Kind.ENVIRONMENT, alter))


@attrs.frozen
class Positional:
    """A config given by position."""

    size: int = 1


@attrs.frozen(kw_only=True)
class Versioned:
    """A config whose field would hide the component's version in keys."""

    version: str = "v2"


@attrs.frozen(kw_only=True)
class Listed:
    """A config that reads back otherwise."""

    sizes: tuple[int, ...] = attrs.field(default=(1,), converter=lambda x: (*x, 1))


@attrs.frozen(kw_only=True)
class Filed:
    """A config that takes files for words."""

    weights: str = fields.file(default="")


@attrs.frozen(kw_only=True)
class Misspelt:
    """A config with metadata that nothing reads."""

    batch: int = attrs.field(default=1, metadata={"runtme": True})


@attrs.frozen(kw_only=True)
class Nested:
    """A config with such a table."""

    table: Misspelt | None = None


@pytest.mark.parametrize(
    ("name", "tiny"),
    [
        ("config_is_keyword_only", Positional()),
        ("config_is_keyword_only", Versioned()),
        ("config_can_be_written_and_read", Listed()),
        ("config_files_are_paths", Filed()),
        ("config_metadata_is_known", Misspelt()),
        ("config_metadata_is_known", Nested()),
    ],
)
def test_faulty_config_fails(name: str, tiny: Any) -> None:
    component = Component(name="x", config=type(tiny), build=lambda c: c, tiny=tiny, summary="x")
    assert name in failing_generally(component)


def failing_generally(component: Component) -> set[str]:
    found = set()
    for check in component_checks(Kind.FUSION, component)[:6]:
        try:
            check()
        except AssertionError:
            found.add(check.name)
    return found


def test_component_without_summary_fails(parts: Any) -> None:
    component = attrs.evolve(parts[Kind.FUSION], summary=" ")
    assert failing_generally(component) == {"component_is_described"}


def test_heavy_module_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mod_heavy.py").write_text("import zarr\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    light, valid = checks("mod_heavy")
    with pytest.raises(AssertionError, match=r"importing mod_heavy imports .*zarr"):
        light()
    with pytest.raises(AssertionError, match="provides no component"):
        valid()


def test_plugin_that_cannot_be_imported_fails_its_checks() -> None:
    for check in checks("mod_nowhere"):
        with pytest.raises(AssertionError, match="mod_nowhere"):
            check()


@pytest.mark.slow
def test_selftest_passes_a_builtin_and_suggests_similar_names() -> None:
    done = rgb2act_process.run(["selftest", "weighted"])
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
    assert "failed" not in done.stdout
    done = rgb2act_process.run(["selftest", "wieghted"])
    assert done.returncode == 2
    assert done.stderr == "wieghted: no such component; did you mean 'weighted'?\n"


def test_refusal_must_be_a_user_error() -> None:
    from rgb2act_core.testing.subject import refuses

    def refuse() -> None:
        raise UserError("so it is")

    assert refuses(refuse, "it") == "so it is"
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        refuses(lambda: 1 / 0, "it")
    with pytest.raises(AssertionError, match="is accepted"):
        refuses(lambda: None, "it")


def test_an_environment_without_data_expert_and_simulator_is_not_tested(parts: Any) -> None:
    def empty(built: Any) -> Any:
        built.info = attrs.evolve(built.info, demonstrates=False, acts=False)
        built.recorded = lambda: ()
        built.make = lambda: refuse("there is no simulator")
        return built

    component = altered(parts, Kind.ENVIRONMENT, empty, *parts[Kind.ENVIRONMENT].capabilities)
    reasons = not_tested(component_checks(Kind.ENVIRONMENT, component))
    expert, simulator = "the environment has no expert", "the environment has no simulator"
    assert reasons == {
        "recorded_episodes_are_valid": "the config names no files with recorded episodes; rgb2act"
        " selftest kitenvironment --spec SPEC tests those of a spec",
        "demonstrations_are_valid": expert,
        "same_seed_gives_the_same_demonstration": expert,
        "scenes_are_single_frames": expert,
        "env_passes_gymnasiums_checker": simulator,
        "observations_match_info": simulator,
        "observed_clouds_are_valid": simulator,
        "same_seed_gives_the_same_episode": simulator,
    }
    assert not_tested(component_checks(Kind.ENVIRONMENT, parts[Kind.ENVIRONMENT])) == {}


def refuse(message: str) -> Any:
    raise UserError(message)


def test_config_checks_build_the_config_that_they_are_given(parts: Any) -> None:
    built = []
    good = parts[Kind.BACKBONE]
    component = attrs.evolve(good, build=lambda config: built.append(config) or good.build(config))
    config = good.config()
    names = [check.name for check in config_checks(Kind.BACKBONE, component, config, (32, 64))]
    assert "tiny_builds_quickly" not in names
    for check in config_checks(Kind.BACKBONE, component, config, (32, 64)):
        check()
    assert built
    assert all(each is config for each in built)


def test_a_backbone_must_accept_the_images_of_the_spec(parts: Any) -> None:
    def picky(built: Any) -> Any:
        good = built.grid

        def grid(height: int, width: int) -> Any:
            if width % 20:
                raise UserError("the width is not a multiple of 20")
            return good(height, width)

        built.grid = grid
        return built

    component = altered(parts, Kind.BACKBONE, picky)
    found = config_checks(Kind.BACKBONE, component, component.tiny, (32, 64))
    (check,) = (each for each in found if each.name == "tokens_have_the_shape_of_the_grid")
    with pytest.raises(AssertionError, match=r"grid rejects all of \(\(32, 64\),\)"):
        check()
