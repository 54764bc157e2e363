"""What a lost draw of secure noise costs, and that no budget is exceeded by it."""

import pytest

from privacy.dp.ledger import Spent
from privacy.errors import FederationFailed
from server.engines.launch import launch, resume
from server.experiment.loading import load_experiment
from server.run.directory import Run, find_run
from server.run.draws import Draws

SECURE = "training.noise=secure"
ROUNDS = "federation.rounds=3"


class Lost(Exception):
    """The process died."""


def lose(monkeypatch, runs, *assignments, number=2):
    """A run that is stopped once round `number` is computed, and before it is written."""
    append = Run.append

    def lost(self, record, weights, state):
        if record.round == number:
            raise Lost
        append(self, record, weights, state)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", lost)
        with pytest.raises(Lost):
            launch(load_experiment("tiny", [ROUNDS, *assignments]), runs, "lost")
    return find_run("lost", runs)


UNITS = {
    "record": ("budget.epsilon=1e6", "budget.noise_multiplier=1"),
    "client": ("budget.unit=client", "budget.epsilon=1e6", "budget.noise_multiplier=1"),
}


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("unit", UNITS)
def test_a_lost_draw_is_charged_again(runs, monkeypatch, unit, number):
    """The same round draws other noise: whoever saw the first has two releases."""
    run = lose(monkeypatch, runs, SECURE, *UNITS[unit], number=number)
    resume(run)
    experiment = run.experiment
    steps = 4 * experiment.steps_per_round  # of three rounds
    spent = {ledger.entries for ledger in run.ledgers.values()}
    assert spent == {(Spent(1.0, experiment.sample_rate, steps),)}
    assert run.rounds[-1].epsilon == pytest.approx(run.ledgers[0].epsilon(1e-5), rel=0.02)
    assert run.rounds[-1].epsilon >= run.ledgers[0].epsilon(1e-5) * 0.999


@pytest.mark.parametrize("unit", UNITS)
def test_seeded_noise_is_the_same_again_and_costs_nothing(runs, monkeypatch, unit):
    run = lose(monkeypatch, runs, *UNITS[unit])
    resume(run)
    whole = launch(load_experiment("tiny", [ROUNDS, *UNITS[unit]]), runs)
    assert [x.entries for x in run.ledgers.values()] == [x.entries for x in whole.ledgers.values()]
    assert not (run.path / "draws.jsonl").exists()


@pytest.mark.parametrize(
    ("unit", "says"),
    [("record", "would bring it to"), ("client", r"not asked: .*\[budget\] epsilon = 8")],
)
def test_a_budget_that_a_lost_draw_has_spent_ends_the_run(runs, monkeypatch, unit, says):
    """Epsilon is never exceeded: the plan had three rounds, and the lost one was the fourth."""
    run = lose(monkeypatch, runs, SECURE, f"budget.unit={unit}", "budget.epsilon=8.0")
    with pytest.raises(FederationFailed, match=says):
        resume(run)
    assert len(run.rounds) == 2
    assert max(x.epsilon(1e-5) for x in run.ledgers.values()) <= 8.0


def test_a_draw_that_was_cut_short_was_never_made(tmp_path):
    draws = Draws(tmp_path)
    assert not draws.lost(1)
    draws.note(1, [0, 2])
    with (tmp_path / "draws.jsonl").open("ab") as file:
        file.write(b'\n{"round": 1, "cl')
    assert draws.lost(1) == {0: 1, 2: 1}
    draws.note(1, [2])
    draws.note(2, [5])
    assert draws.lost(1) == {0: 1, 2: 2}
    assert draws.lost(2) == {5: 1}
