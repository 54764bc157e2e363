"""`[federation] bands` on the way from settings to weights: turns, noise, ledgers, resumption."""

import stat
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from restated import require

from attacks.audit.banded import through
from privacy.documents import from_json
from privacy.dp.banded.matrix import matrix
from privacy.dp.budget import Budget
from privacy.dp.grid import Grid
from privacy.dp.ledger import Spent
from privacy.errors import RunError, SettingsError
from server.engines.launch import launch, resume
from server.experiment.experiment import Experiment, Federation
from server.experiment.loading import load_experiment
from server.experiment.plans import plan
from server.run.directory import Run, find_run
from server.run.summary import summarise

BANDS, ROUNDS, CLIENTS = 3, 7, 8
TURNS = [
    "budget.unit=client", "budget.noise_multiplier=1", "budget.epsilon=1e6",
    f"federation.bands={BANDS}",
    f"federation.rounds={ROUNDS}", f"federation.clients={CLIENTS}",
]  # fmt: skip
SILENT = "training.learning_rate=1e-9"  # so that weights move by noise alone


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30), st.integers(0, 30), st.integers(1, 25), st.integers(1, 9), st.integers(0, 3)
)
def test_turns_are_even_and_apart(clients, cohort, rounds, bands, seed):
    bands = min(bands, rounds, clients)
    federation = Federation(
        clients=clients, cohort=min(cohort, clients // bands), rounds=rounds, bands=bands
    )
    experiment = Experiment(seed=seed, budget=Budget(unit="none"), federation=federation)
    last, counts, groups = {}, Counter(), [set() for _ in range(bands)]
    for number, chosen in enumerate(experiment.cohorts):
        assert len(set(chosen)) == len(chosen) == federation.cohort_size
        assert all(number - last.get(client, -bands) >= bands for client in chosen)
        last |= dict.fromkeys(chosen, number)
        counts.update(chosen)
        groups[number % bands].update(chosen)
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert max(counts.values()) == federation.rounds_per_client <= federation.rounds_of_a_group


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        (["federation.bands=9"], "bands = 9 is more than the fewer of rounds = 7 and clients = 8"),
        (["federation.cohort=3"], "cohort = 3 is more than 2, the smallest of 3 groups"),
        (["budget.unit=record"], "federation.bands=3: .*it needs noise that the server adds"),
        (["budget.clip_quantile=0.5"], "noise that the server adds, of one clip"),
        (["federation.secure_aggregation=masks"], "it needs noise that the server adds"),
    ],
    ids=lambda told: told if isinstance(told, list) else "",
)
def test_what_cannot_be_is_refused(assignments, says):
    with pytest.raises(SettingsError, match=says) as refused:
        load_experiment("tiny", [*TURNS, *assignments])
    assert "\n" not in str(refused.value)


class Lost(Exception):
    """The process died."""


def stopped(monkeypatch, runs, number, *assignments):
    """A run that is killed once round `number` is computed, and before it is done."""
    append = Run.append

    def lost(self, record, weights, state):
        if record.round == number:
            raise Lost
        append(self, record, weights, state)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", lost)
        with pytest.raises(Lost):
            launch(load_experiment("tiny", [*TURNS, *assignments]), runs, "stopped")
    return find_run("stopped", runs)


def noise_of(run):
    """What each round moved the weights by, in whole steps [T, P]."""
    job, num = run.experiment.job, run.experiment.federation.cohort_size
    flat = [
        np.concatenate([w.ravel() for _, w in sorted(run.weights(t).items())]).astype(np.float64)
        for t in range(ROUNDS + 1)
    ]
    step = Grid.of(job.budget.clip, len(flat[0])).step
    return np.rint(np.diff(flat, axis=0) * num / step).astype(np.int64), job.budget.clip / step


def test_a_lost_draw_is_charged_to_all_whom_it_hid(runs, monkeypatch):
    """With secure noise; what is released before and after is one sequence of banded noise."""
    run = stopped(monkeypatch, runs, 4, SILENT, "training.noise=secure")
    cohorts = run.experiment.cohorts
    kept = sorted(run.path.glob("rounds/*.noise.safetensors"))
    assert [path.name[:3] for path in kept] == ["001", "002", "003", "004"][-BANDS - 1 :]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    hid = set().union(*cohorts[1:4])
    (drawn,) = [
        from_json(line)["clients"]
        for line in (run.path / "draws.jsonl").read_text().splitlines()
        if line.startswith('{"round": 4')
    ]
    assert drawn == sorted(hid)
    elsewhere = kept[1].rename(run.path / "elsewhere")
    with pytest.raises(RunError, match=r"002.noise.*: not there; round 4 takes back .*new run"):
        resume(run)
    elsewhere.rename(kept[1])
    resume(run)
    assert not list(run.path.glob("rounds/*.noise.safetensors"))
    counts = Counter(client for cohort in cohorts for client in cohort)
    for client, ledger in run.ledgers.items():
        assert ledger.entries == (Spent(1.0, 1.0, counts[client] + (client in hid)),)
    released, deviation = noise_of(run)
    whole = matrix(ROUNDS, BANDS)
    columns = [whole.below(t).tolist() for t in range(1, ROUNDS + 1)]
    z = through(columns, released) / (deviation * whole.norm)
    chance = 5 / released.size**0.5
    assert abs((z**2).mean() - 1) < 1.5 * chance
    for lag in range(1, ROUNDS):
        assert abs((z[lag:] * z[:-lag]).mean()) < chance * (ROUNDS / (ROUNDS - lag)) ** 0.5
    bare = released / released.std()
    assert (bare[1:] * bare[:-1]).mean() < -3 * chance  # as they are, they take one another back


def test_a_run_taken_up_again_is_the_uninterrupted_one(runs, monkeypatch):
    run = stopped(monkeypatch, runs, 5)
    resume(run)
    whole = launch(load_experiment("tiny", TURNS), runs)
    for number in range(ROUNDS + 1):
        found, expected = run.weights(number), whole.weights(number)
        assert all(np.array_equal(found[n], expected[n]) for n in expected)


def test_it_is_told_truthfully(runs):
    """Plan, summary and statement: turns, charges, and what a client in every turn would spend."""
    chosen = [*TURNS[:1], *TURNS[3:], "budget.epsilon=20"]
    told = plan(load_experiment("tiny", chosen)).facts
    assert told["turns"].startswith(f"{BANDS} groups of clients take turns; after {ROUNDS} rounds")
    run = launch(load_experiment("tiny", chosen), runs)
    found = summarise(run)
    assert f"{BANDS} groups of clients take turns" in found.sampling
    assert 0.99 * 20 < found.epsilon <= 20 == found.epsilon_target
    assert found.epsilon < found.epsilon_full_participation < 30  # 2 of 3 turns, of a group of 3
    alike = [*chosen, "federation.clients=9", "federation.rounds=6"]
    require(launch(load_experiment("tiny", alike), runs).path)
