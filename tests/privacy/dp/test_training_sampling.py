"""Batches are Poisson samples, divided by their expected size, charged before they are used."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from test_training import (
    CLIP,
    EXPECTED,
    RECORDS,
    Q,
    both,
    flat,
    make_loss,
    make_model,
    make_private,
    records,
    update,
)
from torch import Tensor

from privacy.cipher import Key, Stream
from privacy.dp import training
from privacy.dp.ledger import Ledger, Spent
from privacy.dp.sampling import poisson
from privacy.dp.training import Private

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


def shuffled(stream: Stream, num_records: int, rate: float) -> Tensor:
    """A batch of the expected size, without replacement."""
    return torch.from_numpy(stream.permutation(num_records))[: int(num_records * rate)]


def test_other_sampling_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins: a shuffled sampler has no variance of sizes; one at 1.1 q draws too often."""
    monkeypatch.setattr(training, "poisson", shuffled)
    assert sampled()[1] is False
    monkeypatch.setattr(training, "poisson", lambda stream, n, rate: poisson(stream, n, 1.1 * rate))
    assert sampled()[0] is False


@pytest.mark.parametrize("rate", [1e-12, 2.0**-40, 0.25, 1 - 2.0**-53, 1.0])
def test_a_rate_is_a_threshold_of_64_bits(rate: float) -> None:
    """A record is in for just as many of the 2^64 words as the rate allows, rounded down."""
    most = int(rate * 2**64)

    class Words(Stream):
        def words(self, num: int) -> NDArray[np.uint64]:
            return np.array([0, most - 1, most, 2**64 - 1][:num], np.uint64)

    if rate < 1:
        drawn = poisson(Words(Key.of("any")), 4, rate).tolist()
        assert drawn == [0, 1] + [3] * (most == 2**64)
    else:
        assert poisson(Stream(Key.of("any")), 4, rate).tolist() == [0, 1, 2, 3]


def test_tiny_rates_draw_nobody() -> None:
    """Twin: thresholds in float32 would draw one in 2^24, here about 12."""
    stream = Stream(Key.of("tiny"))
    assert sum(len(poisson(stream, 1_000_000, 1e-12)) for _ in range(200)) == 0


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
        float(update(per_sample, x, same[:k]).norm()) == pytest.approx(k * CLIP / EXPECTED, 1e-3)
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
