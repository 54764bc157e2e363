"""Experiments: what is planned, and what a device may know of it."""

import itertools
import math
import random
import re
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.training.job import Job
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import SettingsError
from privacy.settings import parse
from server.experiment.experiment import Experiment, Federation, _deal
from server.experiment.loading import load_experiment, ready_experiments
from server.experiment.named import MEANT
from server.experiment.strategy import STRATEGIES


@pytest.mark.parametrize("name", ready_experiments())
def test_ready_experiments_load_resolve_and_read_back(name, tmp_path):
    """Each has a title line, resolves its noise, and survives being written as TOML."""
    assert len(ready_experiments()[name]) > 10
    experiment = load_experiment(name).resolve()
    path = tmp_path / "again.toml"
    path.write_text(experiment.to_toml())
    assert load_experiment(str(path)) == experiment


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 25), st.integers(0, 3))
def test_cohorts_are_even(clients, cohort, rounds, seed):
    """No client takes part more often than the plan says, nor twice in a round."""
    federation = Federation(clients=clients, cohort=min(cohort, clients), rounds=rounds)
    experiment = Experiment(seed=seed, budget=Budget(unit="none"), federation=federation)
    assert len(experiment.cohorts) == rounds
    counts = Counter()
    for chosen in experiment.cohorts:
        assert len(set(chosen)) == len(chosen) == federation.cohort_size
        counts.update(chosen)
    assert max(counts.values()) == federation.rounds_per_client
    assert min(counts[c] for c in range(clients)) >= federation.rounds_per_client - 1


def test_noise_is_solved_over_all_planned_rounds():
    """10 of 100 clients over 100 rounds: ten rounds each, and they together meet epsilon."""
    experiment = load_experiment(
        "tiny",
        ["federation.clients=100", "federation.cohort=10", "federation.rounds=100"],
    ).resolve()
    sigma = experiment.budget.noise_multiplier
    training = experiment.training
    planned = Ledger([Spent(sigma, training.sample_rate, 10 * training.local_steps)])
    assert 0.99 * 8 < planned.epsilon(1e-5) <= 8
    one_round = Ledger([Spent(sigma, training.sample_rate, training.local_steps)])
    assert one_round.epsilon(1e-5) < 0.6 * 8


def test_a_device_gets_a_job_and_no_more():
    """The server's own sections do not cross the wire; what does is checked on arrival."""
    experiment = load_experiment("tiny").resolve()
    text = experiment.job.model_dump_json()
    assert Job.from_json(text) == experiment.job
    assert not set(Job.model_fields) & {"federation", "strategy", "record", "title"}
    with pytest.raises(SettingsError, match="job from the server"):
        Job.from_json(text.replace('"clip":1.0', '"clip":-1.0'))


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("budget.epsilom=3", "-s budget.epsilom=3: [budget] epsilom: unknown key; did you mean ep"),
        ("budgett.epsilon=3", "budgett: unknown key; did you mean budget?"),
        ("budget.epsilon=-3", "[budget] epsilon = -3: must be from 1e-06 to 1e+09"),
        ("budget.epsilon=abc", "[budget] epsilon = 'abc': input should be a valid number"),
        ("federation.rounds=2.5", "[federation] rounds = 2.5"),
        ("federation.cohort=50", "cohort = 50 is more than clients = 4"),
        ("model.name=convnett", "unknown model; did you mean convnet?"),
        ("strategy.name=fedavgg", "unknown strategy; did you mean fedavg"),
        ("strategy.beta=0.2", "fedavg has no beta"),
        ("strategy.name=fedprox", "fedprox needs proximal_mu"),
        ("training.schedule=lin", "unknown value; did you mean linear?"),
        ("training.learning_rate=true", "[training] learning_rate = True"),
        ("strategy.name=qfedavg", "training loss"),
        ("nonsense", "must be section.key=value"),
        ("model.name=autoencoder", "task = 'classes' asks for others; say task = 'itself'"),
        ("training.device=gpu", "[training] device = 'gpu': unknown value; did you mean cuda?"),
        ("training.rule=stdp", "[training] rule: unknown key; did you mean arithmetic.learning?"),
        ("batch_size=32", "batch_size: unknown key; did you mean training.sample_rate, the share"),
        ("budget.noise=1", "[budget] noise: unknown key; did you mean budget.noise_multiplier?"),
        ("model.arithmetic=fixed", "arithmetic: unknown key; did you mean arithmetic.name?"),
        ("strategy=krum", "did you mean strategy.name?"),
        ("arithmetic.name=int8", "unknown value; did you mean fixed, with bits = 8?"),
    ],
)
def test_bad_settings_are_one_line(assignment, says):
    with pytest.raises(SettingsError) as caught:
        load_experiment("tiny", [assignment])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_person_may_mean_is_there_and_what_they_say_is_not():
    """Every guess leads from a key or value that is refused to one that there is."""
    keys = {
        f"{a}.{b}"
        for a, section in load_experiment("tiny")
        for b in getattr(section, "model_fields", ())
    }
    keys |= set(Experiment.model_fields)
    for said, meant in MEANT.items():
        if "=" in said:
            with pytest.raises(SettingsError, match=f"unknown value; .* mean {re.escape(meant)}"):
                load_experiment("tiny", [said])
        else:
            assert said not in keys
            assert meant.partition(",")[0] in keys


@pytest.mark.parametrize("name", STRATEGIES)
def test_client_level_privacy_needs_a_strategy_of_the_mean(name):
    """Whatever is computed of one noisy mean may be; what compares updates would have one."""
    chosen = ["budget.unit=client", f"strategy.name={name}"]
    chosen += ["strategy.proximal_mu=0.1"] * (name == "fedprox")
    if STRATEGIES[name].linear:
        load_experiment("tiny", chosen)
        return
    with pytest.raises(SettingsError, match=rf"\[strategy\] name = '{name}': .* use one of fedavg"):
        load_experiment("tiny", chosen)


def test_the_nominal_number_of_records_is_made_of_public_ones():
    """All training records over all clients; or what the file says."""
    tiny = load_experiment("tiny", ["federation.clients=10", "data.held_out=0.2"])
    assert tiny.for_records(1437, 0).data.nominal_records == round(1437 * 0.8 / 10)
    few = load_experiment("tiny", ["federation.clients=10", "data.limit=500"])
    assert few.for_records(1437, 0).data.nominal_records == 45
    named = load_experiment("tiny", ["data.nominal_records=77"])
    assert named.for_records(1437, 0).data.nominal_records == 77


def test_the_nominal_number_lets_the_largest_client_train_or_is_refused():
    tiny = load_experiment("tiny", ["federation.clients=10", "data.held_out=0.2"])
    assert tiny.for_records(1437, 1001).data.nominal_records == 251
    named = load_experiment("tiny", ["data.nominal_records=77", "budget.epsilon=8"])
    assert named.for_records(1437, 308).data.nominal_records == 77
    with pytest.raises(SettingsError, match=r"nominal_records = 77: .* trains on 309.*78 or"):
        named.for_records(1437, 309)


def test_an_experiment_is_a_name_or_a_file(tmp_path):
    with pytest.raises(SettingsError, match="no such experiment; did you mean tiny"):
        load_experiment("tinny")
    with pytest.raises(SettingsError, match="no such file"):
        load_experiment("mine.toml")
    mine = tmp_path / "mine.toml"
    mine.write_text("[budget]\nepsilom = 3\n")
    with pytest.raises(SettingsError, match=r"^mine.toml: \[budget\] epsilom: unknown key; did"):
        load_experiment(str(mine))
    mine.write_text("[budget]\n")
    with pytest.raises(SettingsError, match=r"mine.toml: \[budget\].*: give epsilon, or noise"):
        load_experiment(str(mine))


def test_schedules():
    def rates(schedule):
        tables = {
            "budget": {"unit": "none"},
            "training": {"learning_rate": 2.0, "schedule": schedule},
            "federation": {"rounds": 4},
        }
        experiment = parse(Experiment, tables, "test")
        return [experiment.learning_rate(n) for n in range(1, 5)]

    assert rates("constant") == [2.0] * 4
    assert rates("linear") == [2.0, 1.5, 1.0, 0.5]
    assert rates("cosine") == pytest.approx([1 + math.cos(math.pi * k / 4) for k in range(4)])


@pytest.mark.parametrize("num", [1, 3, 7, 100, 5000])
def test_cards_are_dealt_as_a_shuffled_deck_has_them(num):
    """Against `random.sample` of all clients, deck after deck; of the first no more is made."""
    decks, rng = random.Random(7), random.Random(7)
    whole = [card for _ in range(2) for card in decks.sample(range(num), num)]
    assert list(itertools.islice(_deal(rng, num), 2 * num)) == whole


def test_a_million_clients_cost_what_a_cohort_does():
    asked = ["federation.clients=1000000", "federation.cohort=1000", "federation.rounds=2"]
    experiment = load_experiment("tiny", asked)
    tracemalloc.start()
    first, second = experiment.cohorts
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len({*first, *second}) == 2000
    assert most < 1e6
