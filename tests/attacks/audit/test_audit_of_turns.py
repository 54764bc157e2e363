"""Noise that takes itself back, before the auditor: green, and red when it is sabotaged."""

from functools import cached_property

import numpy as np
import pytest
from sabotaged import half_the_noise, no_noise_of, noise_of_half_precision, uniform_noise

from privacy.cipher import Key
from privacy.dp.banded.matrix import Banded, Matrix
from privacy.dp.noise import Noise
from server.adversary import auditing, servers
from server.adversary.auditing import audit_of
from server.experiment.experiment import Experiment
from server.experiment.loading import load_experiment
from server.federation.aggregation import Released


def of_turns():
    settings = ["budget.unit=client", "federation.clients=20", "federation.rounds=8"]
    return load_experiment("tiny", [*settings, "federation.bands=3"]).resolve()


def alarms():
    return {check.name for check in servers.of_turns(of_turns(), None) if not check.passed}


def test_it_is_green(monkeypatch):
    """All checks, with the auditor in a client's place, who sees all rounds that hide it."""
    monkeypatch.setitem(auditing.CALLS, "client", 20)
    done = audit_of(of_turns(), None)
    assert [check.name for check in done.checks if not check.passed] == []
    assert {"rounds apart", "banded noise", "banded grid"} <= {c.name for c in done.checks}
    assert max(bound.epsilon for bound in done.bounds) > 0.5 * done.epsilon


def what_was_taken_back_alone(monkeypatch):
    """Noise of its own in the first round only."""
    draw = Noise.integers
    drawn = []

    def once(self, deviation, size):
        drawn.append(draw(self, deviation, size) * (not drawn))
        return drawn[-1]

    monkeypatch.setattr(Noise, "integers", once)


def another_matrix(monkeypatch):
    row = Matrix.row
    monkeypatch.setattr(Matrix, "row", lambda m, t: [row(m, t)[0], *(2 * e for e in row(m, t)[1:])])


def columns_longer_than_charged(monkeypatch):
    monkeypatch.setattr(Matrix, "norm", property(lambda m: 0.9 * float(np.linalg.norm(m.column))))


def last_columns_too_long(monkeypatch):
    below = Matrix.below

    def long(self, number):
        return below(self, number) * (1 + (number > self.rounds - self.bands + 1))

    monkeypatch.setattr(Matrix, "below", long)


def nothing_taken_back(monkeypatch):
    draw = Banded.draw

    def alone(self, *given):
        self._before = [0 * noise for noise in self._before]
        return draw(self, *given)

    monkeypatch.setattr(Banded, "draw", alone)


def the_same_noise_in_each_round(monkeypatch):
    monkeypatch.setattr(Released, "_key", lambda self, number: Key.of("banded noise"))


def taken_back_in_floating_point(monkeypatch):
    draw = Banded.draw

    def finer(self, *given):
        found = draw(self, *given)
        return found + np.random.default_rng(0).uniform(-0.5, 0.5, len(found))

    monkeypatch.setattr(Banded, "draw", finer)


def cohorts_of_all_groups(monkeypatch):
    plain = Experiment.cohorts.func

    def mixed(self):
        federation = self.federation.model_copy(update={"bands": 1, "cohort": 6})
        return plain(self.model_copy(update={"federation": federation}))

    cohorts = cached_property(mixed)
    cohorts.__set_name__(Experiment, "cohorts")
    monkeypatch.setattr(Experiment, "cohorts", cohorts)


SABOTAGES = {
    no_noise_of: "banded noise",
    half_the_noise: "banded noise",
    noise_of_half_precision: "banded noise",
    uniform_noise: "banded noise",
    what_was_taken_back_alone: "banded noise",
    another_matrix: "banded noise",
    columns_longer_than_charged: "banded noise",
    last_columns_too_long: "banded noise",
    nothing_taken_back: "banded noise",
    the_same_noise_in_each_round: "banded noise",
    taken_back_in_floating_point: "banded grid",
    cohorts_of_all_groups: "rounds apart",
}


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda s: s.__name__)
def test_sabotage_is_caught(sabotage, monkeypatch):
    sabotage(monkeypatch)
    assert SABOTAGES[sabotage] in alarms()


def test_nothing_else_alarms():
    assert alarms() == set()
