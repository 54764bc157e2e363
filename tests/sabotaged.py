"""Protections taken away, one by one, for the tests that must notice.

Each is a small patch of what ships: the private step, its sums, noise, batches, keys and draws.
"""

import numpy as np
import torch

from clients.arithmetic import dice
from clients.draws import row_seeds
from clients.training import train as loop
from privacy.cipher import Key
from privacy.dp import training
from privacy.dp.bookkeeping import OnePassOptimizer
from privacy.dp.compiled import Program
from privacy.dp.grid import Grid
from privacy.dp.ledger import Ledger
from privacy.dp.noise import Noise
from privacy.dp.optimizer import GridOptimizer
from privacy.dp.training import Private


def no_noise(monkeypatch):
    def add_noise(self):
        for p in self.params:
            p.grad = p.summed_grad.view_as(p).to(p.dtype)

    monkeypatch.setattr(GridOptimizer, "add_noise", add_noise)


def no_noise_of(monkeypatch):
    _noise_of(monkeypatch, lambda z, _: 0 * z)


def half_the_noise(monkeypatch):
    _noise_of(monkeypatch, lambda z, deviation: np.rint(z * deviation / 2))


def noise_of_half_precision(monkeypatch):
    _noise_of(monkeypatch, lambda z, deviation: np.rint(z.astype(np.float16) * deviation))


def uniform_noise(monkeypatch):
    """Of the right variance."""
    rng = np.random.default_rng(0)

    def flat(z, deviation):
        return np.rint(rng.uniform(-(3**0.5), 3**0.5, len(z)) * deviation)

    _noise_of(monkeypatch, flat)


def noise_without_tails(monkeypatch):
    _noise_of(monkeypatch, lambda z, deviation: np.rint(np.clip(z, -2.8, 2.8) * deviation))


def _noise_of(monkeypatch, made):
    """Noise that is made of good deviates."""
    integers = Noise.integers

    def other(self, deviation, size):
        z = integers(self, 2.0**30, size) / 2.0**30
        return made(z, deviation).astype(np.int64)

    monkeypatch.setattr(Noise, "integers", other)


def noise_in_floating_point(monkeypatch):
    def noisy(self, total, noise_multiplier, noise, out):
        z = (noise.integers(2.0**30, self.size) / 2.0**30).astype(np.float32)
        out[:] = total.astype(np.float32) + z * np.float32(noise_multiplier * self.clip)

    monkeypatch.setattr(Grid, "noisy", noisy)


def same_noise_each_step(monkeypatch):
    add_noise = GridOptimizer.add_noise

    def again(self):
        self._noise._counter = 0
        add_noise(self)

    monkeypatch.setattr(GridOptimizer, "add_noise", again)


def sigma_lowered_after_accounting(monkeypatch):
    batches = Private.batches

    def lowered(self, steps):
        charged = self._optimizer.noise_multiplier
        for batch in batches(self, steps):
            self._optimizer.noise_multiplier = 0.8 * charged
            yield batch
            self._optimizer.noise_multiplier = charged

    monkeypatch.setattr(Private, "batches", lowered)


# ---- keys


def _key_without(monkeypatch, forget):
    """A seeded round's key that does not know all which shapes it."""
    round_key = loop.round_key

    def forgetful(seed, settings, records, weights, around):
        return round_key(*forget(seed, settings, records, weights, around))

    monkeypatch.setattr(loop, "round_key", forgetful)


def same_noise_each_round(monkeypatch):
    _key_without(monkeypatch, lambda *known: (*known[:4], known[4].partition("client")[2]))


def same_noise_on_each_client(monkeypatch):
    _key_without(monkeypatch, lambda *known: (*known[:4], known[4].partition("client")[0]))


def same_noise_for_other_records(monkeypatch):
    _key_without(monkeypatch, lambda seed, settings, _, *known: (seed, settings, *known))


def same_noise_for_other_weights(monkeypatch):
    _key_without(monkeypatch, lambda *known: (*known[:3], known[4]))


def same_noise_for_other_settings(monkeypatch):
    _key_without(monkeypatch, lambda seed, _, *known: (seed, *known))


def same_noise_for_seeds_alike_in_32_bits(monkeypatch):
    round_key = loop.round_key

    def short(seed, settings, *known):
        return round_key(seed % (1 << 32), "", *known)

    monkeypatch.setattr(loop, "round_key", short)


def noise_that_overlaps(monkeypatch):
    """Each round begins a little further in one stream, and goes on over the next one's part."""
    made = Noise.__init__

    def one(self, key):
        made(self, Key.of("one for all"))
        self._counter = 64 * (key.value[0] % 4)

    monkeypatch.setattr(Noise, "__init__", one)


def _secret_of(monkeypatch, num_bytes):
    secret = Key.secret.__func__

    def short(cls):
        return cls(secret(cls).value[:num_bytes] + bytes(32 - num_bytes))

    monkeypatch.setattr(Key, "secret", classmethod(short))


def key_of_32_bits(monkeypatch):
    _secret_of(monkeypatch, 4)


def key_of_63_bits(monkeypatch):
    _secret_of(monkeypatch, 8)


def batches_of_a_narrow_generator(monkeypatch):
    def drawn(stream, num_records, rate):
        generator = torch.Generator().manual_seed(int(stream.words(1)[0] >> np.uint64(1)))
        return torch.nonzero(torch.rand(num_records, generator=generator) < rate)[:, 0]

    monkeypatch.setattr(training, "poisson", drawn)


# ---- clipping


def _unclipped(monkeypatch, then):
    """Sum a piece without clipping; `then` may do something to the sums."""
    for name in ("accumulate", "accumulate_compiled"):
        monkeypatch.setattr(
            OnePassOptimizer, name, _without_clip(getattr(OnePassOptimizer, name), then)
        )


def _without_clip(accumulate, then):
    def summed(self, *batch):
        limit, self.limit = self.limit, 1e30
        try:
            accumulate(self, *batch)
        finally:
            self.limit = limit
        then(self, self._sums, len(batch[0]) if len(batch) == 3 else (batch or (1,))[0])

    return summed


def _shrink(sums, largest):
    norm = torch.stack([s.norm() for s in sums]).norm() if sums else torch.tensor(0.0)
    for s in sums:
        s.mul_((largest / (norm + 1e-6)).clamp(max=1.0))


def clip_per_batch(monkeypatch):
    """The batch's gradient is clipped, as if it were that of one record."""
    _unclipped(monkeypatch, lambda self, sums, _: _shrink(sums, self.max_grad_norm))


def clip_after_averaging(monkeypatch):
    """The mean gradient is clipped, and the sum made of it again."""
    _unclipped(
        monkeypatch,
        lambda self, sums, num_records: _shrink(sums, self.max_grad_norm * (num_records or 1)),
    )


def _unclipped_at(monkeypatch, place):
    """One record of each piece is added as it is."""
    factors, add_clipped_sum = GridOptimizer.factors, Program.add_clipped_sum

    def but_one(self, norms_B):
        c_B = factors(self, norms_B)
        c_B[place] = 1.0
        return c_B

    def compiled_but_one(self, x, y, clip, total, loss):
        one = [place % len(y)]
        rest = [i for i in range(len(y)) if i not in one]
        if rest:
            add_clipped_sum(self, x[rest], y[rest], clip, total, loss)
        return add_clipped_sum(self, x[one], y[one], 1e30, total, loss)

    monkeypatch.setattr(GridOptimizer, "factors", but_one)
    monkeypatch.setattr(Program, "add_clipped_sum", compiled_but_one)


def first_record_unclipped(monkeypatch):
    _unclipped_at(monkeypatch, 0)


def last_record_unclipped(monkeypatch):
    _unclipped_at(monkeypatch, -1)


def one_layer_unclipped(monkeypatch):
    accumulate, add_clipped_sum = OnePassOptimizer.accumulate, Program.add_clipped_sum

    def partly(self, num_records=None):
        last = self._taps.records[:1] if self._taps else []  # the way back begins there
        accumulate(self, num_records)
        for layer, call, (g,) in last:
            own = self._sums[-len(list(layer.parameters())) :]
            for total, raw in zip(own, [g.t() @ call.inputs[0], g.sum(0)], strict=False):
                total.copy_(raw)

    def partly_compiled(self, x, y, clip, total, loss):
        raw = torch.zeros_like(total)
        add_clipped_sum(self, x, y, 1e30, raw, loss)
        add_clipped_sum(self, x, y, clip, total, loss)
        last = self.parameters[-2:] if self.parameters[-1].dim() == 1 else self.parameters[-1:]
        size = sum(p.numel() for p in last)
        total[-size:] = raw[-size:]

    monkeypatch.setattr(OnePassOptimizer, "accumulate", partly)
    monkeypatch.setattr(Program, "add_clipped_sum", partly_compiled)


def batch_taken_twice(monkeypatch):
    classify = Private.classify

    def twice(self, fetch, indices, *loss):
        classify(self, fetch, indices, *loss)
        self._batch = indices
        classify(self, fetch, indices, *loss)

    monkeypatch.setattr(Private, "classify", twice)


def sum_divided_by_the_own_number(monkeypatch):
    monkeypatch.setattr(loop, "nominal_records", lambda job, own: own)


# ---- batches and charges


def batches_shuffled(monkeypatch):
    """Fixed-size batches where Poisson samples are charged."""

    def fixed(stream, num_records, rate):
        return torch.from_numpy(stream.permutation(num_records))[: round(rate * num_records)]

    monkeypatch.setattr(training, "poisson", fixed)


def batches_larger_than_charged(monkeypatch):
    poisson = training.poisson
    monkeypatch.setattr(training, "poisson", lambda s, num, rate: poisson(s, num, 1.1 * rate))


def thresholds_of_24_bits(monkeypatch):
    """What comes of comparing float32 numbers with a rate: the least is 2^-24."""

    def coarse(stream, num_records, rate):
        drawn = stream.words(num_records) >> np.uint64(40)
        return torch.from_numpy(np.flatnonzero(drawn < max(rate * 2.0**24, 1)))

    monkeypatch.setattr(training, "poisson", coarse)


def steps_uncharged(monkeypatch):
    monkeypatch.setattr(Ledger, "charge", lambda self, *_: None)


def rate_charged_lower(monkeypatch):
    charge = Ledger.charge
    monkeypatch.setattr(Ledger, "charge", lambda self, z, rate, *n: charge(self, z, 0.9 * rate, *n))


def dice_by_place(monkeypatch):
    """What is drawn for a record follows from where it stands in its piece of the batch."""

    def by_place(word, records):
        return row_seeds(word, np.arange(len(records)))

    monkeypatch.setattr(dice, "row_seeds", by_place)
    monkeypatch.setattr(loop, "row_seeds", by_place)
