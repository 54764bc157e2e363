"""A clip that follows a quantile, before the auditor: as it is, and sabotaged."""

from dataclasses import replace

import numpy as np
import pytest
from sabotaged import half_the_noise, no_noise_of

from attacks.audit.verdict import CHECKS, Evidence
from privacy.cipher import Key
from privacy.dp.clipping.quantile import Votes
from privacy.dp.clipping.split import Split
from privacy.dp.grid import Grid, Sum
from server.adversary import counts
from server.adversary.auditing import claim_of
from server.adversary.counts import counting
from server.experiment.loading import load_experiment
from server.federation import aggregation
from server.federation.aggregation import Released
from server.run.rounds import RoundRecord

ALL = {"noise of sum and count", "noise of the count", "votes"}


def following(*more):
    asked = [
        "budget.unit=client", "federation.clients=20", "budget.noise_multiplier=1.3",
        "budget.clip_quantile=0.7", *more,
    ]  # fmt: skip
    return load_experiment("tiny", asked).resolve()


def alarms(rounds=()):
    return {one.name for one in counting(following(), rounds) if not one.passed}


@pytest.mark.parametrize("noise", ["seeded", "secure"])
def test_what_ships_is_green(noise):
    found = counting(following(f"training.noise={noise}"))
    assert {one.name for one in found} == ALL
    assert [one for one in found if not one.passed] == []


def test_a_clip_that_stays_has_no_count():
    assert counting(load_experiment("tiny", ["budget.unit=client"]).resolve()) == []


def test_the_sum_beside_a_count_is_held_to_what_is_charged():
    """Its noise is more than that, by what the count costs: in units in which it is not."""
    heard = Evidence(replace(claim_of(following()), calls=40), 0)
    for check in ("noise deviation", "noise grid", "charging"):
        assert [one for one in CHECKS[check](heard) if not one.passed] == []


def count_without_noise(monkeypatch):
    def release(self, key, planned):
        return self._budget.clip_quantile + self.total / (planned * 2**16)

    monkeypatch.setattr(Votes, "release", release)


def _split(monkeypatch, changed):
    of = Split.of
    monkeypatch.setattr(Split, "of", lambda budget: changed(of(budget), budget))


def count_of_half_the_noise(monkeypatch):
    """Of a deviation for votes of a half, where they are of 0.7, and less."""
    _split(monkeypatch, lambda split, _: split._replace(of_count=split.of_count / 2))


def sum_not_raised_for_the_count(monkeypatch):
    _split(monkeypatch, lambda split, budget: split._replace(of_sum=budget.noise_multiplier))


def noise_for_the_first_clip(monkeypatch):
    """Whatever the clip has become."""
    mean, first = Sum.mean, following().budget.clip

    def stale(self, sigma, key, num, banded):
        return mean(self, sigma * first / self.grid.clip, key, num)

    monkeypatch.setattr(Sum, "mean", stale)


def noise_for_the_next_clip(monkeypatch):
    """The clip has moved when the noise is added: of many that are within it, to a smaller one."""
    mean = Sum.mean
    monkeypatch.setattr(Sum, "mean", lambda self, z, key, num, _: mean(self, z * 0.9, key, num))


def one_key_for_both(monkeypatch):
    def key(self, number, *_):
        return Key.of("central noise", self._job.seed, number)

    monkeypatch.setattr(Released, "_key", key)


def one_draw_for_all_rounds(monkeypatch):
    release = Votes.release
    monkeypatch.setattr(Votes, "release", lambda self, key, n: release(self, Key.of("it"), n))


def votes_by_the_first_clip(monkeypatch):
    fits, first = aggregation.fits, following().budget.clip
    monkeypatch.setattr(
        aggregation, "fits", lambda vector, grid: fits(vector, Grid.of(first, grid.size))
    )


def norms_instead_of_votes(monkeypatch):
    """As if the clip could follow a mean."""

    def add(self, update):
        change = aggregation.flatten(update.weights) - self._start
        self._sum.add(change)
        size = float(np.linalg.norm(change)) / self._sum.grid.clip
        self._votes.total += round(min(5.0, size) * 2**16)

    monkeypatch.setattr(Released, "add", add)


def votes_twice(monkeypatch):
    add = Votes.add

    def twice(self, within):
        add(self, within)
        add(self, within)

    monkeypatch.setattr(Votes, "add", twice)


def no_noise_at_all(monkeypatch):
    no_noise_of(monkeypatch)


SABOTAGES = {
    count_without_noise: {"noise of sum and count", "noise of the count"},
    count_of_half_the_noise: {"noise of sum and count"},
    sum_not_raised_for_the_count: {"noise of sum and count"},
    noise_for_the_first_clip: {"noise of sum and count"},
    noise_for_the_next_clip: {"noise of sum and count"},
    half_the_noise: {"noise of sum and count"},
    no_noise_at_all: {"noise of sum and count", "noise of the count"},
    one_key_for_both: {"noise of the count"},
    one_draw_for_all_rounds: {"noise of the count"},
    votes_by_the_first_clip: {"votes"},
    norms_instead_of_votes: {"votes"},
    votes_twice: {"votes"},
}


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda s: s.__name__)
def test_sabotage_of_the_count_is_caught(sabotage, monkeypatch):
    if sabotage is not sum_not_raised_for_the_count:  # the finest of them
        monkeypatch.setattr(counts, "ROUNDS", 600)
    sabotage(monkeypatch)
    assert alarms() == SABOTAGES[sabotage]


def test_clips_that_do_not_follow_are_caught(monkeypatch):
    """Taken from norms that no noise was added to, say."""
    monkeypatch.setattr(counts, "ROUNDS", 60)
    budget = following().budget
    moved = budget.clip * np.exp(-budget.clip_rate * (0.9 - 0.7))
    told = [{"clip": budget.clip, "share": 0.9}, {"clip": float(moved), "share": 0.5}]
    rounds = [RoundRecord(n, 0.1, 0.0, [], clipping=one) for n, one in enumerate(told, 1)]
    assert "clips" not in alarms(rounds)
    rounds[1].clipping["clip"] *= 1.01
    assert "clips" in alarms(rounds)
    rounds[1].clipping = {}
    assert "clips" in alarms(rounds)
