"""The node's own process before the auditor: green as it ships, red where it breaks a promise."""

from contextlib import contextmanager

import owned
import pytest

from attacks.audit.lessons import silenced
from clients.arithmetic.spiking.plasticity import PlasticLinear
from clients.data.settings import Data, Windows
from clients.node import app
from clients.node.holder import Holder
from clients.training import train as loop
from privacy.cipher import Key
from privacy.dp.journal import Journal
from privacy.dp.ledger import Ledger
from server.adversary import nodes
from server.adversary.replay import builder
from server.experiment.loading import load_experiment

OWN, SIMULATED = "a device of its own", "a simulated client"


def checked(*assignments):
    """Names of the node's checks that fail, and what was not examined."""
    experiment = load_experiment("tiny", list(assignments)).resolve()
    done, missing = nodes.checks(experiment, 0)
    assert done
    return {check.name for check in done if not check.passed}, missing


@pytest.mark.parametrize(
    "assignments",
    [
        (),
        ("training.noise=secure", "training.momentum=0.9"),
        ("arithmetic.name=ternary", "compression.bits=2", "data.crop=1"),
        ("training.optimizer=adam", "training.schedule=cosine"),
        ("arithmetic.name=stochastic",),
    ],
    ids=["seeded", "secure", "words", "adam", "streams"],
)
def test_what_ships_is_green(assignments):
    assert checked(*assignments) == (set(), [])


FILES = {
    "table": ("p.csv", {"schema": owned.PATIENTS, "target": ("state",), "person": "person"}),
    "itself": ("p.csv", {"schema": owned.PATIENTS, "task": "itself"}),
    "windows": ("s.csv", {"schema": owned.SENSOR, "target": ("label",), "person": "person",
                          "windows": Windows(length=20, step=10)}),
    "pictures": ("pets", {"schema": owned.PETS}),
    "sounds": ("words", {"schema": owned.WORDS, "pattern": "{label}_{person}.wav"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_what_ships_is_green_on_records_of_every_form(tmp_path, kind):
    owned.write_table(tmp_path / "p.csv", owned.patients(60))
    owned.write_table(tmp_path / "s.csv", owned.sensor())
    pets = {f"{kind}/{n}.png": owned.picture(n) for kind in ("cat", "dog") for n in range(3)}
    owned.write_tree(tmp_path / "pets", pets)
    words = {f"{word}_{n}.wav": owned.sound(range(300)) for word in ("no", "yes") for n in "ab"}
    owned.write_tree(tmp_path / "words", words)
    path, settings = FILES[kind]
    data = Data(name="file", path=str(tmp_path / path), **settings)
    experiment = load_experiment("tiny").model_copy(update={"data": data})
    done, missing = nodes.checks(experiment.resolve(), 0)
    assert {check.name.partition(":")[0] for check in done} == {"node charging", "node noise"}
    assert not [check for check in done if not check.passed]
    assert missing == []


def of_task(folder, task, *assignments):
    experiment = load_experiment("tiny", ["model.hidden=[8]", *assignments])
    return experiment.model_copy(update={"data": owned.stays(folder, task)}).resolve()


NEW = ("labels", "number", "itself")


@pytest.mark.parametrize("task", NEW)
def test_what_ships_is_green_under_each_task(tmp_path, task):
    """And all of its noise is heard, but what a record's own numbers teach the last bias."""
    for assignments in (("training.momentum=0.9",), ("training.noise=secure",)):
        done, missing = nodes.checks(of_task(tmp_path, task, *assignments), 0)
        assert [check for check in done if not check.passed] == []
        assert {c.name.partition(":")[0] for c in done} == {"node charging", "node noise"}
        assert missing == []


@pytest.mark.parametrize("task", NEW)
@pytest.mark.parametrize("broken", ["half_the_noise", "one_key_for_all_rounds", "noise_doubled"])
def test_noise_of_each_task_is_held_to_its_law(tmp_path, broken, task, monkeypatch):
    experiment = of_task(tmp_path, task, "training.noise=secure")
    globals()[broken](monkeypatch)
    done, _ = nodes.checks(experiment, 0)
    failed = {check.name for check in done if not check.passed}
    assert failed >= {f"node noise: {kind}" for kind in (OWN, SIMULATED)}


def test_a_model_that_is_never_silent_is_told(tmp_path, monkeypatch):
    """And its noise not passed."""
    quiet_of = nodes.quiet_of
    nowhere = lambda *about: {n: k & False for n, k in quiet_of(*about).items()}  # noqa: E731
    monkeypatch.setattr(nodes, "quiet_of", nowhere)
    done, missing = nodes.checks(of_task(tmp_path, "number"), 0)
    assert {check.name.partition(":")[0] for check in done} == {"node charging"}
    assert all("not applicable: there is no weight" in line for line in missing)
    assert len(missing) == 2


def uncharged(monkeypatch):
    once = Holder.once

    def free(self, *request):
        *others, training = request

        @contextmanager
        def forgetting():
            with training as train:
                yield lambda ledger: train(Ledger())

        return once(self, *others, forgetting())

    monkeypatch.setattr(Journal, "spent_in", lambda self, run, besides="": Ledger())
    monkeypatch.setattr(Holder, "once", free)


def released_again(monkeypatch):
    """The same request is answered anew, with the noise of another secret, and charged once."""
    monkeypatch.setattr(Journal, "released", lambda self, run, request: None)


def half_the_noise(monkeypatch):
    _noise_times(monkeypatch, 0.5)


def noise_doubled(monkeypatch):
    _noise_times(monkeypatch, 2.0)


def _noise_times(monkeypatch, factor):
    train = app.train

    def quieter(net, records, members, job, round_, ledger):
        sigma = job.budget.noise_multiplier
        budget = job.budget.model_copy(update={"noise_multiplier": factor * sigma, "epsilon": None})
        done = train(
            net, records, members, job.model_copy(update={"budget": budget}), round_, Ledger()
        )
        ledger.charge(sigma, job.training.sample_rate, job.training.local_steps)
        return done

    monkeypatch.setattr(app, "train", quieter)


def one_key_for_all_rounds(monkeypatch):
    monkeypatch.setattr(loop, "_key", lambda *_: Key.of("one for all"))


def own_number_told(monkeypatch):
    monkeypatch.setattr(app, "nominal_records", lambda job, own: own)


@pytest.mark.parametrize(
    ("sabotage", "check", "kinds"),
    [
        (uncharged, "node charging", {OWN}),
        (released_again, "node charging", {OWN}),
        (own_number_told, "node charging", {OWN, SIMULATED}),
        (half_the_noise, "node noise", {OWN, SIMULATED}),
        (one_key_for_all_rounds, "node noise", {OWN, SIMULATED}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_node_that_breaks_its_promise_is_red(sabotage, check, kinds, monkeypatch):
    sabotage(monkeypatch)
    failed, _ = checked("training.noise=secure")
    assert failed >= {f"{check}: {kind}" for kind in kinds}


def test_a_node_that_refuses_is_told_and_not_passed(monkeypatch):
    def refuse(self, *_):
        from privacy.errors import BudgetExhausted

        raise BudgetExhausted("not today")

    monkeypatch.setattr(Holder, "require_promise", refuse)
    experiment = load_experiment("tiny").resolve()
    done, missing = nodes.checks(experiment, 0)
    assert {check.name.partition(": ")[2] for check in done} == {SIMULATED}
    assert missing == [f"the process of {OWN}: it refused the job: not today"]


def test_what_hidden_layers_learn_by_themselves_is_not_taken_for_noise():
    timed = ["arithmetic.name=spiking", "arithmetic.learning=pair", "arithmetic.coding=rate"]
    experiment = load_experiment("tiny", timed).resolve()
    model = silenced(builder(experiment)(0), experiment.data.task)
    quiet = nodes.quiet_of(model, experiment.data, experiment.model)
    heard = {id(p) for p in next(m for m in model if isinstance(m, PlasticLinear)).parameters()}
    for name, p in model.named_parameters():
        assert quiet[name].all() == quiet[name].any() == (id(p) not in heard)
