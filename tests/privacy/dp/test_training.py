"""DP-SGD on one device, through `privatize`: what the promise of the ledger stands on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from privacy.cipher import Key
from privacy.dp import rules, training
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from privacy.dp.rules import Share
from privacy.dp.training import Private, privatize
from privacy.errors import ModelError

METHODS = ["onepass", "hooks"]


both = pytest.mark.parametrize("per_sample", METHODS)


CLIP, Q, RECORDS = 1.0, 0.4, 40


EXPECTED = Q * RECORDS


def make_model(seed: int = 0) -> nn.Sequential:
    """Two dense layers in float64, from 4 features to 3 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()


def make_private(
    model: nn.Module, ledger: Ledger | None = None, *, sigma: float = 0.0, **others: Any
) -> Private:
    """`privatize` with plain SGD at rate 1 and seeds that are always the same."""
    given = {
        "budget": Budget(noise_multiplier=sigma, clip=CLIP),
        "sample_rate": Q,
        "num_records": RECORDS,
        "sampling": Key.of("batches", 1),
        "noise": Key.of("noise", 2),
    } | others
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    return privatize(model, optimizer, Ledger() if ledger is None else ledger, **given)


def make_loss(model: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Cross-entropy of record i against class i mod 3."""

    def loss(indices: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x[indices]), indices % 3, reduction="none")

    return loss


def flat(model: nn.Module) -> Tensor:
    """All weights in one vector."""
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def records(seed: int = 0, count: int = RECORDS) -> Tensor:
    """Features [count, 4]."""
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def update(per_sample: str, x: Tensor, indices: Tensor, seed: int = 0) -> Tensor:
    """What one noiseless step on `indices` takes off the weights."""
    model = make_model(seed)
    private = make_private(model, per_sample=per_sample)
    before = flat(model)
    take(private, make_loss(model, x), indices)
    return before - flat(model)


def take(private: Private, loss: Callable[[Tensor], Tensor], indices: Tensor) -> None:
    """A step on chosen records, as if they had been sampled and charged."""
    private._batch = indices
    private.step(loss, indices)


# (1) sensitivity


def sensitivity(per_sample: str, seed: int, scale: float) -> float:
    """How far one record of size `scale` moves the noiseless clipped sum (L2)."""
    x = records(seed)
    (batch,) = make_private(
        make_model(seed),
        per_sample=per_sample,
        sampling=Key.of("batches", seed),
    ).batches(1)
    assert len(batch) > 1
    victim = batch[0]
    x[victim] *= scale
    moved = update(per_sample, x, batch, seed) - update(per_sample, x, batch[1:], seed)
    return float(moved.norm()) * EXPECTED


@both
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1.0, 30.0, 1e4]))
def test_sensitivity_is_bounded(per_sample: str, seed: int, scale: float) -> None:
    """One record, however large, moves the sum by at most the clip norm."""
    assert sensitivity(per_sample, seed, scale) <= CLIP * (1 + 1e-5)


@both
def test_missing_clip_is_caught(per_sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the same measure finds a clip factor that is always one."""
    assert 0.9 * CLIP <= sensitivity(per_sample, 3, 1e4) <= CLIP * (1 + 1e-5)
    monkeypatch.setattr(Tensor, "clamp", lambda self, *a, **k: torch.ones_like(self))
    assert sensitivity(per_sample, 3, 1e4) > 100 * CLIP


def test_understated_norms_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: norms that are 1 % too small overstep the bound."""
    rule = rules.RULES[nn.Linear]

    def small(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
        share = rule(layer, x, g)
        return share._replace(squared_norms=share.squared_norms * 0.98)

    monkeypatch.setitem(rules.RULES, nn.Linear, small)
    assert sensitivity("onepass", 3, 1e4) > CLIP * (1 + 1e-5)


@both
def test_sensitivity_of_positions_folded_into_the_batch(per_sample: str) -> None:
    """A loss that folds a record's 9 positions into the batch is refused, or still bounded."""
    x = records(0, RECORDS * 9).reshape(RECORDS, 9, 4) * 1e4
    indices = torch.arange(5)

    def moved(batch: Tensor) -> Tensor:
        model = make_model()
        private = make_private(model, per_sample=per_sample)
        before = flat(model)

        def loss(i: Tensor) -> Tensor:
            out = model(x[i].reshape(-1, 4))
            target = torch.zeros(len(out), dtype=torch.int64)
            each = nn.functional.cross_entropy(out, target, reduction="none")
            return each.reshape(len(i), 9).sum(1)

        take(private, loss, batch)
        return before - flat(model)

    try:
        distance = float((moved(indices) - moved(indices[1:])).norm()) * EXPECTED
    except ModelError:
        return
    assert distance <= CLIP * (1 + 1e-5)


def test_parameters_outside_the_model_are_not_trained_raw() -> None:
    """The optimizer holds a parameter that is not the model's: refused, or not moved by data."""
    model = make_model()
    scale = nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = torch.optim.SGD([*model.parameters(), scale], lr=1.0)
    x = records() * 1e4
    try:
        private = privatize(
            model,
            optimizer,
            Ledger(),
            budget=Budget(noise_multiplier=1.0, clip=CLIP),
            sample_rate=Q,
            num_records=RECORDS,
            sampling=Key.of("batches", 1),
            noise=Key.of("noise", 2),
        )
    except (ModelError, ValueError):
        return
    take(private, lambda i: (model(x[i]) * scale).square().sum(1), torch.arange(5))
    assert float(scale) == 1.0


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e300])
def test_a_record_without_a_finite_gradient_adds_nothing(value: float) -> None:
    """It can neither poison the sum nor be seen in it."""
    x, indices = records(), torch.arange(5)
    x[2] = value
    moved = update("onepass", x, indices)
    assert torch.equal(moved, update("onepass", x, indices)), "the data were changed"
    others = torch.tensor([0, 1, 3, 4])
    assert torch.allclose(moved, update("onepass", x, others), atol=1e-12)


# (6) models


@both
@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), nn.BatchNorm2d(6)])
def test_batch_norm_is_refused(per_sample: str, norm: nn.Module) -> None:
    """A layer that mixes records is refused, with what to use instead."""
    model = nn.Sequential(nn.Linear(4, 6), norm, nn.Linear(6, 3))
    with pytest.raises(ModelError, match=r"not DP-safe: .*BatchNorm.*; use \[model\] norm = 'gr"):
        make_private(model, per_sample=per_sample)
    assert all(p.requires_grad for p in model.parameters())


@both
def test_close_gives_the_model_back(per_sample: str) -> None:
    """After `close` the model trains as any other."""
    model = make_model()
    private = make_private(model, sigma=1.0, per_sample=per_sample)
    loss = make_loss(model, records())
    for batch in private.batches(2):
        private.step(loss, batch)
    private.close()
    model.zero_grad()
    loss(torch.arange(5)).sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())


# (7) the two ways


def trained(per_sample: str, steps: int = 5) -> Tensor:
    """The weights after some steps without noise, of which the two have sources of their own."""
    model = make_model()
    private = make_private(model, per_sample=per_sample)
    loss = make_loss(model, records() * 3)
    for batch in private.batches(steps):
        private.step(loss, batch)
    return flat(model)


@pytest.mark.parametrize("piece", [training.PIECE, 7])
def test_one_pass_trains_as_hooks_do(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seeds give the same weights, also when batches are walked through in pieces."""
    whole = trained("onepass")
    monkeypatch.setattr(training, "PIECE", piece)
    one_pass, hooks = trained("onepass"), trained("hooks")
    assert float((one_pass - hooks).abs().max()) <= 1e-5
    assert float((one_pass - whole).abs().max()) <= 1e-5
    assert float((whole - flat(make_model())).abs().max()) > 1e-2


def test_a_lost_piece_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the comparison sees it when only the first piece of each batch counts."""
    step = Private.step
    whole = trained("hooks")

    def half(self: Private, loss: Callable[[Tensor], Tensor], i: Tensor) -> None:
        self._batch = i = i[:7]
        step(self, loss, i)

    monkeypatch.setattr(Private, "step", half)
    assert float((trained("onepass") - whole).abs().max()) > 1e-5


@both
def test_a_failed_step_leaves_no_trace(per_sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the loss raises at the second piece, the next step is as if it had not been."""
    monkeypatch.setattr(training, "PIECE", 7)
    x, first, second = records(), torch.arange(14), torch.arange(14, 19)
    model = make_model()
    private = make_private(model, per_sample=per_sample)
    loss = make_loss(model, x)

    def fails(indices: Tensor) -> Tensor:
        if 7 in indices:
            raise KeyError("stop")
        return loss(indices)

    with pytest.raises(KeyError, match="stop"):
        take(private, fails, first)
    before = flat(model)
    take(private, loss, second)
    assert torch.allclose(before - flat(model), update(per_sample, x, second), atol=1e-9)


# (8) before_update


@both
def test_before_update_is_called_once_a_step(
    per_sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a step, however many pieces, when `p.grad` holds the noisy mean; what it adds counts."""
    monkeypatch.setattr(training, "PIECE", 7)
    seen: list[Tensor] = []
    model = make_model()

    def note() -> None:
        seen.append(torch.cat([p.grad.flatten().clone() for p in model.parameters()]))  # type: ignore[union-attr]
        for p in model.parameters():
            p.grad += 1.0  # type: ignore[operator]

    private = make_private(model, sigma=0.5, per_sample=per_sample, before_update=note)
    assert isinstance(private._optimizer, DPOptimizer)
    loss = make_loss(model, records())
    for turn, batch in enumerate(private.batches(4), start=1):
        assert len(batch) > 7
        before = flat(model)
        private.step(loss, batch)
        assert len(seen) == turn
        assert torch.allclose(before - flat(model), seen[-1] + 1.0)
