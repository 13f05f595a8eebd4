"""Gradients of a cached batch are those of the plain one."""

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from rgb2act_core.alignment.aligner import Aligner, AlignerConfig
from rgb2act_core.alignment.augmentation import augment
from rgb2act_core.alignment.gradient_cache import gradcache_backward
from rgb2act_core.alignment.losses import Temperature, alike_to
from rgb2act_core.alignment.objective import LossInputs, embedded, objective, outputs
from rgb2act_core.plugins.components import Kind
from rgb2act_core.plugins.registry import find
from rgb2act_core.spec import AlignLoss, Augment, Context

LOSS = AlignLoss(
    infonce=1.0,
    mse=0.3,
    sigmoid=0.5,
    cosine=0.2,
    self_contrast=0.4,
    entropy=0.1,
    learn_temperature=True,
    local=0.2,
    chamfer=0.3,
    negatives="gradcache",
)


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def build(fusion: str, config: dict[str, Any] | None = None, **changes: Any) -> Aligner:
    torch.manual_seed(0)
    component = find(Kind.FUSION, fusion)
    chosen = component.tiny if config is None else component.config(**config)
    shape = AlignerConfig(
        backbones=("a", "b"),
        channels=(3, 5),
        grids=((4, 6), (2, 3)),
        cameras=2,
        teacher_dim=7,
        teacher_space="standardised",
        dim=8,
        width=6,
        pool="keypoints",
        maps=4,
        values=2,
        hidden=9,
        tau=0.1,
        groups=3,
    )
    shape = attrs.evolve(shape, **changes)
    return Aligner(shape, component.build(chosen)).double()


def groups_of(count: int) -> Tensor:
    return torch.randn(count, 4, 3, generator=torch.Generator().manual_seed(5))


def gradients(
    aligner: Aligner, size: int, poorer: Augment, places: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return loss and gradients of 12 frames embedded ``size`` at once, by the caching."""
    generator = torch.Generator().manual_seed(1)
    tokens = [torch.randn(12, 2, n, c, generator=generator) for n, c in ((24, 3), (6, 5))]
    target = torch.randn(12, 7, generator=generator)
    frames = torch.arange(12) // 4, torch.arange(12) % 4
    alike = alike_to(*frames, *frames, 1).__getitem__
    batch = LossInputs(target_BD=target, alike=alike, groups_BHC=groups_of(12))
    stats = [(torch.zeros(c), torch.ones(c)) for c in (3, 5)]

    torch.manual_seed(2)
    drawn = aligner.draw(places, replacement=False) if places else None

    def embed(rows: Tensor) -> tuple[Tensor, ...]:
        part = [t[rows] for t in tokens]
        if drawn is not None:
            part = [t[:, :, b.needed] for t, b in zip(part, drawn.blends, strict=True)]
        if poorer != Augment():
            part = augment_double(part, stats, poorer)
        return outputs(aligner(part, pooled=True, drawn=drawn, local=True))

    aligner.zero_grad()
    loss, _ = gradcache_backward(
        list(torch.arange(12).split(size)),
        embed,
        lambda parts: objective(LOSS, parts, batch, aligner.temperature),
    )
    grads = {n: p.grad.clone() for n, p in aligner.named_parameters() if p.grad is not None}
    return loss.detach(), grads


def augment_double(
    part: list[Tensor], stats: list[tuple[Tensor, Tensor]], poorer: Augment
) -> list[Tensor]:
    made = augment(part, [mean for mean, _ in stats], [std for _, std in stats], poorer)
    return [tensor.double() for tensor in made]


def plain(aligner: Aligner) -> tuple[Tensor, dict[str, Tensor]]:
    """Return loss and gradients of the 12 frames with one ordinary backward."""
    generator = torch.Generator().manual_seed(1)
    tokens = [torch.randn(12, 2, n, c, generator=generator) for n, c in ((24, 3), (6, 5))]
    target = torch.randn(12, 7, generator=generator)
    frames = torch.arange(12) // 4, torch.arange(12) % 4
    alike = alike_to(*frames, *frames, 1).__getitem__
    aligner.zero_grad()
    parts = [outputs(aligner(tokens, pooled=True, local=True))]
    batch = LossInputs(target_BD=target, alike=alike, groups_BHC=groups_of(12))
    loss, _ = objective(LOSS, parts, batch, aligner.temperature)
    loss.backward()
    grads = {n: p.grad.clone() for n, p in aligner.named_parameters() if p.grad is not None}
    return loss.detach(), grads


def worst(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("size", [1, 4, 5, 12])
def test_cached_gradients_are_those_of_the_whole_batch(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # float64 all the way
    aligner = build("weighted").eval()
    loss, expected = plain(aligner)
    found, cached = gradients(aligner, size, Augment())
    assert abs(float(found - loss)) < 1e-10
    assert worst(cached, expected) < 1e-8
    assert any(name.startswith("temperature") for name in cached)


def test_in_bfloat16_parts_add_up_to_the_whole_batch() -> None:
    """Gradients are neither scaled nor lost, whatever the number of parts."""
    torch.set_default_dtype(torch.float32)
    aligner = build("weighted", context=Context(layers=1, heads=2)).float().eval()
    stir(aligner)
    for adapter in aligner.adapters:
        adapter.mean.fill_(3000.0)  # float16 tokens may be large and vary little
    exact = rounded_gradients(aligner, 12, "float32")
    whole = rounded_gradients(aligner, 12, "bfloat16")
    parts = rounded_gradients(aligner, 5, "bfloat16")
    assert 0 < float((whole - exact).norm() / exact.norm()) < 0.05
    assert float((parts - whole).norm() / whole.norm()) < 0.01
    assert not torch.equal(parts, exact)


def rounded_gradients(aligner: Aligner, size: int, precision: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = [3000 + torch.randn(12, 2, n, c, generator=generator) for n, c in ((24, 3), (6, 5))]
    batch = LossInputs(
        target_BD=torch.randn(12, 7, generator=generator),
        alike=torch.eye(12, dtype=torch.bool).__getitem__,
        groups_BHC=groups_of(12),
    )
    aligner.zero_grad()
    loss, _ = gradcache_backward(
        list(torch.arange(12).split(size)),
        lambda rows: embedded(
            aligner, [t[rows] for t in tokens], pooled=True, local=True, precision=precision
        ),
        lambda parts: objective(LOSS, parts, batch, aligner.temperature),
    )
    assert loss.dtype is torch.float32
    assert all(p.grad is not None for p in aligner.parameters())
    return torch.cat([p.grad.flatten() for p in aligner.parameters() if p.grad is not None])


FUSIONS: dict[str, dict[str, Any]] = {
    f"{name} per {per}": {"fusion": name, "config": more | {"per": per}}
    for name, more in (("weighted", {}), ("moe", {"k": 2, "hidden": 8, "noise": 0.0, "balance": 0}))
    for per in ("global", "sample", "token")
}


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
def test_caching_is_exact_with_every_option(
    fusion: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of 5, 5 and 2 frames against one part of all 12, places and context included."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    context = Context(layers=2, heads=2, position="learned")
    aligner = build(**fusion, context=context, adapter="wide").train()
    stir(aligner)
    loss, expected = gradients(aligner, 12, Augment(), places=7)
    found, cached = gradients(aligner, 5, Augment(), places=7)
    assert abs(float(found - loss)) < 1e-10
    assert worst(cached, expected) < 1e-8
    assert max(float(g.abs().max()) for n, g in cached.items() if n.startswith("context")) > 1e-4


def stir(aligner: Aligner) -> None:
    """Move weights away from where they begin, as some begin at zero."""
    with torch.no_grad():
        for parameter in aligner.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))


def test_the_entropy_term_moves_the_fusion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    aligner = build("weighted").eval()
    stir(aligner)
    (logits,) = aligner.fusion.parameters()
    found = []
    for entropy in (0.0, 1.0):
        monkeypatch.setattr(f"{__name__}.LOSS", attrs.evolve(LOSS, entropy=entropy))
        found += [gradients(aligner, 5, Augment())[1]["fusion.logits_M"].clone()]
    share = logits.detach().softmax(0)
    push = found[1] - found[0]
    assert torch.equal(push > 0, share > 0.5)  # a step downhill takes from the larger share


def test_the_batchs_parts_alone_have_other_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: accumulating small batches is not a large batch."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    aligner = build("weighted").eval()
    _, expected = plain(aligner)
    generator = torch.Generator().manual_seed(1)
    tokens = [torch.randn(12, 2, n, c, generator=generator) for n, c in ((24, 3), (6, 5))]
    target = torch.randn(12, 7, generator=generator)
    aligner.zero_grad()
    for rows in torch.arange(12).split(4):
        alike = torch.eye(4, dtype=torch.bool).__getitem__
        batch = LossInputs(target_BD=target[rows], alike=alike, groups_BHC=groups_of(12)[rows])
        parts = [outputs(aligner([t[rows] for t in tokens], pooled=True, local=True))]
        (objective(LOSS, parts, batch, aligner.temperature)[0] / 3).backward()
    found = {n: p.grad.clone() for n, p in aligner.named_parameters() if p.grad is not None}
    assert worst(found, expected) > 1e-3


def test_random_numbers_are_the_same_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augmentation and a noisy gate draw again what they drew; the stream goes on behind."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    aligner = build("moe").train()
    poorer = Augment(token_dropout=0.3, noise=0.2, backbone_dropout=0.3)
    seen: list[tuple[Tensor, ...]] = []
    forward = aligner.forward

    def watched(tokens: list[Tensor], **more: Any) -> object:
        seen.append(tuple(tokens))
        return forward(tokens, **more)

    monkeypatch.setattr(aligner, "forward", watched)
    gradients(aligner, 4, poorer)
    after = torch.rand(1)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(seen[0][0], seen[1][0])
    gradients(aligner, 4, poorer)
    assert torch.equal(torch.rand(1), after)


def test_a_learned_temperature_is_that_of_infonce_and_of_the_sigmoid_alone() -> None:
    shares, fused = torch.full((2,), 0.5), torch.zeros(())
    pooled, local = torch.randn(5, 2, 6), torch.randn(5, 8, 3)
    parts = [(torch.randn(5, 7), shares, fused, pooled, local)]
    apart = torch.zeros(5, 5, dtype=torch.bool).__getitem__
    batch = LossInputs(target_BD=torch.randn(5, 7), alike=apart, groups_BHC=groups_of(5))

    def terms(tau: float, learned: bool) -> dict[str, float]:
        config = attrs.evolve(LOSS, learn_temperature=learned)
        found = objective(config, parts, batch, Temperature(tau))[1]
        return {name: float(value.detach()) for name, value in found.items()}

    def moved(learned: bool) -> set[str]:
        one, other = terms(0.1, learned), terms(0.05, learned)
        return {name for name in one if one[name] != other[name]}

    assert moved(learned=True) == {"infonce", "sigmoid"}
    assert moved(learned=False) == {"sigmoid"}
