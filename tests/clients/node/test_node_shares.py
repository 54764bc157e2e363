"""Devices with records of their own under `unit = "client"` behind a sum, and what they tell of
their number of records."""

from pathlib import Path

import numpy as np
import pytest
from test_node import NODES, devices, equal, journal_of, limit_to  # noqa: F401

from clients.data.formats import read_digits
from clients.node import holder as holder_room
from clients.node import secure as secure_room
from privacy.dp.discrete import epsilon_of_sum
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import FederationFailed, Interrupted
from server.engines.launch import launch, resume
from server.experiment.loading import load_experiment
from server.run.directory import Run, find_run

SHARED = [
    *NODES, "budget.unit=client", "budget.noise_multiplier=20", "budget.epsilon=4",
    "federation.secure_aggregation=masks", "training.noise=secure",
]  # fmt: skip
SUM = Spent(20.0, 1.0, 1)


def run_shared(runs, *settings, name=""):
    return launch(load_experiment("tiny", [*SHARED, *settings]), runs, name)


def limit(devices, epsilon):  # noqa: F811
    for config in devices:
        limit_to(config, epsilon, delta=1e-5)


@pytest.mark.parametrize("scheme", ["masks", "ckks"])
def test_each_sum_is_charged_to_the_devices_own_journal(devices, runs, scheme):  # noqa: F811
    limit(devices, 100.0)
    run = run_shared(runs, f"federation.secure_aggregation={scheme}")
    for config in devices:
        journal = journal_of(config)
        assert journal.spent.entries == (Spent(20.0, 1.0, 2),)
        assert journal.epsilon(1e-5) == epsilon_of_sum([Spent(20.0, 1.0, 2)], 1e-5)
        assert journal.epsilon(1e-5) == pytest.approx(run.rounds[-1].epsilon)


def test_a_sum_beyond_the_owners_limit_is_refused_before_anything_leaves(
    devices,  # noqa: F811
    runs,
    monkeypatch,
):
    """Over runs: the second begins where the first ended."""
    limit(devices, epsilon_of_sum([Spent(20.0, 1.0, 3)], 1e-5) * 1.001)
    run_shared(runs)
    left = []
    conceal = secure_room.conceal
    monkeypatch.setattr(secure_room, "conceal", lambda *a: left.append(1) or conceal(*a))
    with pytest.raises(FederationFailed, match="limit of this device's owner"):
        run_shared(runs, "seed=1")
    assert len(left) == 3  # of the round that was within it
    assert journal_of(devices[0]).spent.entries == (Spent(20.0, 1.0, 3),)


def test_a_round_that_is_lost_has_been_charged(devices, runs, monkeypatch):  # noqa: F811
    """The sum may have been seen: on the device and on the server another attempt is another."""
    append = Run.append

    def lost(self, record, weights, state):
        if record.round == 2:
            raise KeyboardInterrupt
        append(self, record, weights, state)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", lost)
        with pytest.raises(Interrupted):
            run_shared(runs, name="lost")
    run = find_run("lost", runs)
    resume(run)
    assert len(run.rounds) == 2
    for client, config in enumerate(devices):
        assert journal_of(config).spent.entries == (Spent(20.0, 1.0, 3),)
        assert run.ledgers[client].entries == (Spent(20.0, 1.0, 3),)
    assert run.rounds[-1].epsilon == epsilon_of_sum([Spent(20.0, 1.0, 3)], 1e-5)


def test_terms_of_coarse_noise_are_not_answered(devices, runs, monkeypatch):  # noqa: F811
    """Nothing is proved of sums of discrete Gaussians of a few units."""
    from server.federation import rounds as federation

    honest = federation.terms_of

    def coarse(*arguments):
        terms = honest(*arguments)
        shrink = terms.deviation // 8
        return terms.model_copy(update={"deviation": 8, "scale": terms.scale / shrink})

    monkeypatch.setattr(federation, "terms_of", coarse)
    with pytest.raises(FederationFailed, match="shares of noise would not add up"):
        run_shared(runs)


# ---- the number of records


def test_a_record_more_changes_nothing_of_what_others_divide_by(devices, runs):  # noqa: F811
    """A device with fewer records tells, and divides by, the nominal number all the same."""
    quiet = ["budget.noise_multiplier=1e-3", "budget.epsilon=1e9", "training.sample_rate=1.0"]
    quiet += ["training.local_steps=1", "federation.rounds=1", "record.updates=true"]
    quiet += ["budget.clip=1e-3", "training.learning_rate=100.0"]
    moved = []
    for num in (40, 80):
        digits = read_digits()
        few = Path(devices[0]["ledger"]).with_name(f"records-{num}")
        few.mkdir()
        devices[0]["data"] = str(few)
        arrays = {f"train_{part}": digits[f"train_{part}"][:num] for part in "xy"}
        arrays["train_x"][:] = arrays["train_x"][0]  # all gradients are one, at the clip
        arrays["train_y"][:] = arrays["train_y"][0]
        np.savez(few / "data.npz", **arrays)
        run = launch(load_experiment("tiny", [*NODES, *quiet]), runs)
        start, sent = run.weights(0), run.update(1, 0)
        moved.append(np.sqrt(sum(float(((sent[n] - start[n]) ** 2).sum()) for n in start)))
        assert {c.num_examples for c in run.rounds[0].clients} == {431}
    # lr * (num * clip) / nominal, whatever the number of records
    assert moved[0] == pytest.approx(100 * 40 * 1e-3 / 431, rel=1e-2)
    assert moved[1] == pytest.approx(2 * moved[0], rel=1e-2)


def test_a_job_without_a_public_number_is_refused(devices, runs):  # noqa: F811
    from server.experiment.experiment import Experiment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "for_records", lambda self, num, most: self)
        with pytest.raises(FederationFailed, match=r"\[data\] nominal_records = 0"):
            launch(load_experiment("tiny", [*NODES, "data.nominal_records=0"]), runs)
    assert not any(journal_of(config).path.exists() for config in devices)


def test_a_killed_draw_is_not_charged_where_it_is_drawn_again_alike(devices, runs, monkeypatch):  # noqa: F811
    """Seeded noise is the same again: nothing more can be seen."""
    release = holder_room.Journal.release

    def once(self, *arguments):
        monkeypatch.setattr(holder_room.Journal, "release", release)
        raise KeyboardInterrupt

    monkeypatch.setattr(holder_room.Journal, "release", once)
    chosen = [*NODES, "federation.workers=1", "training.noise=seeded"]
    with pytest.raises(Interrupted):
        launch(load_experiment("tiny", chosen), runs, "killed")
    run = find_run("killed", runs)
    resume(run)
    once_charged = {Ledger(x.entries).entries for x in run.ledgers.values()}
    assert once_charged == {journal_of(devices[0]).spent.entries}
    assert (
        sum(e.steps for e in journal_of(devices[0]).spent.entries)
        == 2 * run.experiment.training.local_steps
    )
