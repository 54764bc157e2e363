"""DP-SGD on one device, through `privatize`: what the promise of the ledger stands on."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.optimizers import DPOptimizer
from scipy.stats import chi2
from torch import Tensor, nn

from privacy.dp import rules, training
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger, Spent
from privacy.dp.rules import Share
from privacy.dp.training import Private, privatize
from privacy.errors import BudgetExhausted, ModelError

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
        "sampling": torch.Generator().manual_seed(1),
        "noise": torch.Generator().manual_seed(2),
    } | others
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
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
        sampling=torch.Generator().manual_seed(seed),
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
            sampling=torch.Generator().manual_seed(1),
            noise=torch.Generator().manual_seed(2),
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


# (2) Poisson sampling

MANY_RECORDS, MANY_BATCHES, RATE = 200, 2000, 0.1


def sampled() -> tuple[bool, bool]:
    """Is each record drawn with probability q (chi-square), do sizes vary by n q (1 - q)?"""
    private = make_private(make_model(), sample_rate=RATE, num_records=MANY_RECORDS, sigma=1.0)
    counts, sizes = np.zeros(MANY_RECORDS), []
    for batch in private.batches(MANY_BATCHES):
        assert batch.dtype == torch.int64
        assert len(set(batch.tolist())) == len(batch)
        counts[batch.numpy()] += 1
        sizes.append(len(batch))
    assert private.ledger.entries == (Spent(1.0, RATE, MANY_BATCHES),)
    spread = MANY_BATCHES * RATE * (1 - RATE)
    frequency = float(((counts - MANY_BATCHES * RATE) ** 2).sum() / spread)
    variance = (MANY_BATCHES - 1) * np.var(sizes, ddof=1) / (MANY_RECORDS * RATE * (1 - RATE))
    return (
        bool(1e-4 < chi2.cdf(frequency, MANY_RECORDS) < 1 - 1e-4),
        bool(1e-4 < chi2.cdf(variance, MANY_BATCHES - 1) < 1 - 1e-4),
    )


def test_batches_are_poisson_samples() -> None:
    """Each record with probability q, each by itself."""
    assert sampled() == (True, True)


class Shuffled:
    """A sampler of batches of the expected size, without replacement."""

    def __init__(
        self, num_samples: int, sample_rate: float, generator: torch.Generator, steps: int
    ) -> None:
        self.size = int(num_samples * sample_rate)
        self.num_samples, self.generator, self.steps = num_samples, generator, steps

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.steps):
            yield torch.randperm(self.num_samples, generator=self.generator)[: self.size].tolist()


def test_other_sampling_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins: a shuffled sampler has no variance of sizes; one at 1.1 q draws too often."""
    poisson = training.UniformWithReplacementSampler
    monkeypatch.setattr(training, "UniformWithReplacementSampler", Shuffled)
    assert sampled()[1] is False
    monkeypatch.setattr(
        training,
        "UniformWithReplacementSampler",
        lambda sample_rate, **others: poisson(sample_rate=1.1 * sample_rate, **others),
    )
    assert sampled()[0] is False


@both
def test_empty_batches_are_steps(per_sample: str) -> None:
    """A batch without records is handed out, charged, and adds noise alone."""
    model = make_model().float()
    ledger = Ledger()
    private = make_private(
        model, ledger, sigma=1.0, sample_rate=1e-9, num_records=5, per_sample=per_sample
    )
    before = flat(model)
    for batch in private.batches(3):
        assert (len(batch), batch.dtype) == (0, torch.int64)
        private.step(make_loss(model, records().float()), batch)
    assert ledger.entries == (Spent(1.0, 1e-9, 3),)
    assert bool((flat(model) != before).all())


# (3) the divisor


def divided_by_expectation(per_sample: str) -> bool:
    """Do k like records, clipped alike, move the weights by k C / (q n), for several k?"""
    x = records()
    x[:] = 1e4
    same = torch.arange(0, RECORDS, 3)  # one class: gradients in one direction
    return all(
        float(update(per_sample, x, same[:k]).norm()) == pytest.approx(k * CLIP / EXPECTED)
        for k in (1, 2, 9)
    )


@both
def test_the_sum_is_divided_by_the_expected_size(
    per_sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By q n; and, twin, a division by the realised size is caught."""
    assert divided_by_expectation(per_sample)
    step = Private.step

    def by_realised(self: Private, loss: Callable[[Tensor], Tensor], indices: Tensor) -> None:
        self._optimizer.expected_batch_size = len(indices)
        step(self, loss, indices)

    monkeypatch.setattr(Private, "step", by_realised)
    assert not divided_by_expectation(per_sample)


# (4) charging


def charged_after_interruption(stop: int) -> int:
    """Steps on the ledger after an exception in the `stop`-th turn of the loop."""
    model, ledger = make_model(), Ledger([Spent(1.0, Q, 5)])
    private = make_private(model, ledger, sigma=1.0)
    loss = make_loss(model, records())

    def interrupted() -> None:
        for turn, batch in enumerate(private.batches(10), start=1):
            if turn == stop:
                raise KeyboardInterrupt
            private.step(loss, batch)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (entry,) = ledger.entries
    return entry.steps - 5


@pytest.mark.parametrize("stop", [1, 4, 10])
def test_steps_are_charged_before_they_are_handed_out(stop: int) -> None:
    """An interrupted loop leaves exactly the steps handed out, the broken one included."""
    assert charged_after_interruption(stop) == stop


def test_charging_late_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: a loop that charges when it comes back for more forgets the broken step."""

    def late(self: Private, steps: int) -> Iterator[Tensor]:
        for _ in range(steps):
            self._batch = torch.arange(3)
            yield self._batch
            self._ledger.charge(1.0, Q)

    monkeypatch.setattr(Private, "batches", late)
    assert charged_after_interruption(4) == 3


def test_batches_not_asked_for_are_not_charged() -> None:
    """A plan of ten of which two are drawn costs two."""
    ledger = Ledger()
    batches = make_private(make_model(), ledger, sigma=1.0).batches(10)
    assert ledger.entries == ()
    next(batches)
    next(batches)
    assert ledger.entries == (Spent(1.0, Q, 2),)


def test_a_step_needs_a_charged_batch() -> None:
    """'Cannot be used in a way that breaks the promise': a batch used twice is two steps."""
    model, ledger = make_model(), Ledger()
    private = make_private(model, ledger, sigma=1.0)
    (batch,) = private.batches(1)
    loss = make_loss(model, records())
    before = flat(model)
    private.step(loss, batch)
    try:
        private.step(loss, batch)
        private.step(loss, torch.arange(RECORDS))
    except Exception:
        return
    assert not torch.equal(flat(model), before)
    assert ledger.entries == (Spent(1.0, Q, 3),)


# (5) the budget

BUDGET = Budget(epsilon=2.0, noise_multiplier=2.0, clip=CLIP)


def test_overspending_is_refused_before_anything_is_computed() -> None:
    """No batch, no charge, no random number; the message names what is spent and asked."""
    model, ledger = make_model(), Ledger([Spent(2.0, Q, 3)])
    sampling = torch.Generator().manual_seed(1)
    private = make_private(model, ledger, budget=BUDGET, sampling=sampling)
    state, entries, before = sampling.get_state(), ledger.entries, flat(model)
    with pytest.raises(BudgetExhausted) as caught:
        next(private.batches(1000))
    spent, would = ledger.epsilon(1e-5), ledger.with_charge(2.0, Q, 1000).epsilon(1e-5)
    text = str(caught.value)
    assert f"epsilon {spent:.4g} is spent" in text
    assert f"1000 more steps would bring it to {would:.4g}, over 2" in text
    assert ledger.entries == entries
    assert torch.equal(sampling.get_state(), state)
    assert torch.equal(flat(model), before)


def test_spending_up_to_the_edge() -> None:
    """The last step that fits is handed out, the next is refused."""
    ledger = Ledger()
    private = make_private(make_model(), ledger, budget=BUDGET)
    handed_out = 0

    def spend() -> None:
        nonlocal handed_out
        for _ in range(100):
            handed_out += len(list(private.batches(1)))

    with pytest.raises(BudgetExhausted):
        spend()
    assert handed_out > 0
    assert ledger.entries == (Spent(2.0, Q, handed_out),)
    assert ledger.epsilon(1e-5) <= 2.0 < ledger.with_charge(2.0, Q, 1).epsilon(1e-5)


def test_two_loops_do_not_overspend_together() -> None:
    """Loops over one ledger that each fit, but not both, are stopped in time."""
    sigma, ledger = 5.0, Ledger()
    budget = Budget(epsilon=2.0, noise_multiplier=sigma, clip=CLIP)
    private = make_private(make_model(), ledger, budget=budget)
    steps = 20
    assert Ledger([Spent(sigma, Q, steps + 1)]).within(2.0, 1e-5)
    assert not Ledger([Spent(sigma, Q, 2 * steps)]).within(2.0, 1e-5)
    with suppress(BudgetExhausted):
        for _ in zip(private.batches(steps), private.batches(steps), strict=True):
            pass
    assert ledger.epsilon(1e-5) <= 2.0


@pytest.mark.parametrize("budget", [Budget(unit="none"), Budget(epsilon=1.0)])
def test_an_unsolved_budget_is_refused(budget: Budget) -> None:
    """Without a promise for records, or without its noise, there is nothing to bind to."""
    with pytest.raises(ValueError, match="solved noise multiplier"):
        make_private(make_model(), budget=budget)


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
