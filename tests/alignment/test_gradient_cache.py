"""GradCache gives the gradients of the full batch."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
import torch
from small_aligner import CONFIG
from torch import Tensor

from rgb2act_core.alignment.aligner import Aligned, Aligner
from rgb2act_core.alignment.augmentation import augment
from rgb2act_core.alignment.gathering import BatchOutputs
from rgb2act_core.alignment.gradient_cache import gradcache_backward
from rgb2act_core.alignment.losses import Temperature, near_in_time
from rgb2act_core.alignment.objective import LossTargets, embed, objective
from rgb2act_core.alignment.outputs import AlignedOutputs
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

# Float64 sums over 12 frames in another order: 1e-16 times some 1e3 operations on values below 10,
# and for gradients times 1 / temperature.
SAME_LOSS, SAME_GRADIENT = 1e-10, 1e-8


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def build(fusion: str, options: dict[str, Any] | None = None, **changes: Any) -> Aligner:
    torch.manual_seed(0)
    component = find(Kind.FUSION, fusion)
    chosen = component.tiny if options is None else component.config(**options)
    config = attrs.evolve(CONFIG, temperature=0.1, group_dim=3)
    config = attrs.evolve(config, **changes)
    return Aligner(config, component.build(chosen)).double()


def groups_of(count: int) -> Tensor:
    return torch.randn(count, 4, 3, generator=torch.Generator().manual_seed(5))


def frames_of_two_backbones() -> tuple[list[Tensor], Tensor]:
    """Return tokens of 12 frames and their targets."""
    generator = torch.Generator().manual_seed(1)
    tokens = [torch.randn(12, 2, n, c, generator=generator) for n, c in ((24, 3), (6, 5))]
    return tokens, torch.randn(12, 7, generator=generator)


def targets_of(target: Tensor) -> LossTargets:
    frames = torch.arange(12) // 4, torch.arange(12) % 4
    similar = near_in_time(*frames, *frames, 1).__getitem__
    return LossTargets(target_BD=target, similar=similar, groups_NHC=groups_of(12))


def value(
    aligner: Aligner, parts: list[AlignedOutputs], targets: LossTargets
) -> tuple[Tensor, Mapping[str, Tensor]]:
    outputs = AlignedOutputs.concatenate(parts)
    found = objective(LOSS, BatchOutputs.alone(outputs), targets, aligner.temperature)
    return found.loss, found.terms


def gradients(
    aligner: Aligner, size: int, augmentation: Augment, positions: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return loss and gradients of 12 frames with GradCache, ``size`` frames at once."""
    tokens, target = frames_of_two_backbones()
    generator, sample = torch.Generator().manual_seed(2), None
    if positions:
        sample = aligner.sample_cells(positions, False, generator)
    torch.manual_seed(2)

    def embed_part(rows: Tensor) -> AlignedOutputs:
        part = [t[rows] for t in tokens]
        if sample is not None:
            part = [t[:, :, b.needed] for t, b in zip(part, sample.interpolations, strict=True)]
        if augmentation != Augment():
            part = augment_double(part, augmentation, seed=int(rows[0]))
        return AlignedOutputs.of(aligner(part, pooled=True, sample=sample, local=True))

    aligner.zero_grad()
    loss, _ = gradcache_backward(
        list(torch.arange(12).split(size)),
        embed_part,
        lambda parts: value(aligner, parts, targets_of(target)),
    )
    return loss.detach(), gradients_of(aligner)


def gradients_of(aligner: Aligner) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in aligner.named_parameters() if p.grad is not None}


def augment_double(part: list[Tensor], augmentation: Augment, seed: int) -> list[Tensor]:
    means, stds = [torch.zeros(c) for c in (3, 5)], [torch.ones(c) for c in (3, 5)]
    generator = torch.Generator().manual_seed(seed)
    return [t.double() for t in augment(part, means, stds, augmentation, generator)]


def plain(aligner: Aligner) -> tuple[Tensor, dict[str, Tensor]]:
    """Return loss and gradients of the 12 frames with one ordinary backward pass."""
    tokens, target = frames_of_two_backbones()
    aligner.zero_grad()
    parts = [AlignedOutputs.of(aligner(tokens, pooled=True, local=True))]
    loss, _ = value(aligner, parts, targets_of(target))
    loss.backward()
    return loss.detach(), gradients_of(aligner)


def worst(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("size", [1, 4, 5, 12])
def test_gradients_are_those_of_the_full_batch(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # float64 throughout
    aligner = build("weighted").eval()
    loss, expected = plain(aligner)
    found, cached = gradients(aligner, size, Augment())
    assert abs(float(found - loss)) < SAME_LOSS
    assert worst(cached, expected) < SAME_GRADIENT
    assert any(name.startswith("temperature") for name in cached)


def test_in_bfloat16_parts_add_up_to_the_full_batch() -> None:
    """Gradients are neither scaled nor lost, for any number of parts."""
    torch.set_default_dtype(torch.float32)
    aligner = build("weighted", context=Context(layers=1, heads=2)).float().eval()
    stir(aligner)
    for adapter in aligner.adapters:
        adapter.mean.fill_(3000.0)  # float16 tokens may have a large mean and vary little
    exact = rounded_gradients(aligner, 12, "float32")
    full = rounded_gradients(aligner, 12, "bfloat16")
    parts = rounded_gradients(aligner, 5, "bfloat16")
    # bfloat16 rounds by 2**-9 = 0.002 of a value; norms of gradients of some ten layers
    assert 0 < float((full - exact).norm() / exact.norm()) < 0.05
    assert float((parts - full).norm() / full.norm()) < 0.01
    assert not torch.equal(parts, exact)


def rounded_gradients(aligner: Aligner, size: int, precision: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    tokens = [3000 + torch.randn(12, 2, n, c, generator=generator) for n, c in ((24, 3), (6, 5))]
    targets = LossTargets(
        target_BD=torch.randn(12, 7, generator=generator),
        similar=torch.eye(12, dtype=torch.bool).__getitem__,
        groups_NHC=groups_of(12),
    )
    aligner.zero_grad()
    loss, _ = gradcache_backward(
        list(torch.arange(12).split(size)),
        lambda rows: embed(aligner, [t[rows] for t in tokens], LOSS, precision=precision),
        lambda parts: value(aligner, parts, targets),
    )
    assert loss.dtype is torch.float32
    assert all(p.grad is not None for p in aligner.parameters())
    return torch.cat([p.grad.flatten() for p in aligner.parameters() if p.grad is not None])


FUSIONS: dict[str, dict[str, Any]] = {
    f"{name} per {per}": {"fusion": name, "options": more | {"per": per}}
    for name, more in (("weighted", {}), ("moe", {"k": 2, "hidden": 8, "noise": 0.0, "balance": 0}))
    for per in ("global", "sample", "token")
}


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
def test_gradcache_is_exact_with_every_option(
    fusion: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of 5, 5 and 2 frames against one part of 12, with sampled positions and context."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    context = Context(layers=2, heads=2, position="learned")
    aligner = build(**fusion, context=context, adapter="wide").train()
    stir(aligner)
    loss, expected = gradients(aligner, 12, Augment(), positions=7)
    found, cached = gradients(aligner, 5, Augment(), positions=7)
    assert abs(float(found - loss)) < SAME_LOSS
    assert worst(cached, expected) < SAME_GRADIENT
    assert max(float(g.abs().max()) for n, g in cached.items() if n.startswith("context")) > 1e-4


def stir(aligner: Aligner) -> None:
    """Move all weights away from their initial values, some of which are zero."""
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
    assert torch.equal(push > 0, share > 0.5)  # gradient descent reduces the larger share


def test_accumulating_small_batches_gives_other_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: GradCache is not gradient accumulation."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    aligner = build("weighted").eval()
    _, expected = plain(aligner)
    tokens, target = frames_of_two_backbones()
    aligner.zero_grad()
    for rows in torch.arange(12).split(4):
        similar = torch.eye(4, dtype=torch.bool).__getitem__
        groups = groups_of(12)[rows]
        targets = LossTargets(target_BD=target[rows], similar=similar, groups_NHC=groups)
        parts = [AlignedOutputs.of(aligner([t[rows] for t in tokens], pooled=True, local=True))]
        (value(aligner, parts, targets)[0] / 3).backward()
    assert worst(gradients_of(aligner), expected) > 1e-3


def test_both_passes_use_the_same_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augmentation and a noisy gate repeat their draws, and the global generator moves on."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    aligner = build("moe").train()
    augmentation = Augment(token_dropout=0.3, noise=0.2, backbone_dropout=0.3)
    inputs: list[tuple[Tensor, ...]] = []
    outputs: list[Tensor] = []
    forward = aligner.forward

    def recorded(tokens: list[Tensor], **options: Any) -> Aligned:
        inputs.append(tuple(tokens))
        aligned = forward(tokens, **options)
        outputs.append(aligned.embedding.detach())
        return aligned

    monkeypatch.setattr(aligner, "forward", recorded)
    gradients(aligner, 4, augmentation)
    after = torch.rand(1)
    assert len(inputs) == 6
    for first, second in zip(inputs[:3], inputs[3:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    for first, second in zip(outputs[:3], outputs[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(inputs[0][0], inputs[1][0])
    gradients(aligner, 4, augmentation)
    assert torch.equal(torch.rand(1), after)


def test_a_learned_temperature_changes_only_infonce_and_the_sigmoid_loss() -> None:
    outputs = AlignedOutputs(
        embedding_BD=torch.randn(5, 7),
        weights_M=torch.full((2,), 0.5),
        fusion_loss=torch.zeros(()),
        pooled_BMW=torch.randn(5, 2, 6),
        local_BTC=torch.randn(5, 8, 3),
    )
    none = torch.zeros(5, 5, dtype=torch.bool).__getitem__
    targets = LossTargets(target_BD=torch.randn(5, 7), similar=none, groups_NHC=groups_of(5))

    def terms(temperature: float, learned: bool) -> dict[str, float]:
        config = attrs.evolve(LOSS, learn_temperature=learned)
        found = objective(
            config, BatchOutputs.alone(outputs), targets, Temperature(temperature)
        ).terms
        return {name: float(term.detach()) for name, term in found.items()}

    def changed(learned: bool) -> set[str]:
        one, other = terms(0.1, learned), terms(0.05, learned)
        return {name for name in one if one[name] != other[name]}

    assert changed(learned=True) == {"infonce", "sigmoid"}
    assert changed(learned=False) == {"sigmoid"}


def test_the_loss_is_the_weighted_sum_of_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    aligner = build("moe").train()
    tokens, target = frames_of_two_backbones()
    outputs = AlignedOutputs.of(aligner(tokens, pooled=True, local=True))
    found = objective(LOSS, BatchOutputs.alone(outputs), targets_of(target), aligner.temperature)
    names = {"infonce", "mse", "sigmoid", "cosine", "self_contrast", "entropy", "local", "chamfer"}
    assert found.terms.keys() == names
    expected = outputs.fusion_loss + sum(getattr(LOSS, n) * t for n, t in found.terms.items())
    assert float((found.loss - expected).detach().abs()) < 1e-12  # float64


@pytest.mark.parametrize("pooled", [True, False])
def test_concatenated_outputs_are_those_of_the_batch(
    monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    aligner = build("weighted", {"per": "token"}).eval()
    stir(aligner)
    tokens, _ = frames_of_two_backbones()

    def outputs(rows: slice) -> AlignedOutputs:
        return AlignedOutputs.of(aligner([t[rows] for t in tokens], pooled=pooled))

    found = AlignedOutputs.concatenate([outputs(slice(0, 5)), outputs(slice(5, 12))])
    for a, b in zip(found.tensors(), outputs(slice(0, 12)).tensors(), strict=True):
        assert torch.allclose(a, b, atol=1e-12)  # float64
    assert (found.pooled_BMW is not None) == pooled
    assert found.local_BTC is None
