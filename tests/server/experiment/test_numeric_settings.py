"""Every numeric setting there is, found by looking, at and beyond the ends of what it may be."""

import math
from itertools import pairwise

import pytest
from annotated import leaves
from dp_accounting.pld import privacy_loss_distribution as losses
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from privacy.dp.ledger import Ledger, Spent
from privacy.errors import PrivetError, SettingsError
from privacy.settings import Range, Section, override, parse
from server.experiment.experiment import Experiment

HUGE = (10**18, -(10**18), 1 << 63, 10**30)
ODD = (math.inf, -math.inf, math.nan, 5e-324, -5e-324, 1e-310, 1e308, -1e308, -0.0)


def numeric(section=Experiment, path=()):
    """(dotted key, int or float, what is said of it) of each number below a section."""
    for name, field in section.model_fields.items():
        for kind, said in leaves(field.annotation, tuple(field.metadata)):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from numeric(kind, (*path, name))
            elif kind in (int, float):
                yield ".".join((*path, name)), kind, said


def allows(said, value):
    """Does what is said of a number allow it? Numbers that are none, never."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    for one in said:
        if isinstance(one, Range) and not (
            one.least <= value <= one.most or (one.or_zero and value == 0)
        ):
            return False
        for name, holds in BOUNDS.items():
            bound = getattr(one, name, None)
            if not isinstance(one, Range) and bound is not None and not holds(value, bound):
                return False
    return True


BOUNDS = {
    "ge": lambda x, end: x >= end,
    "gt": lambda x, end: x > end,
    "le": lambda x, end: x <= end,
    "lt": lambda x, end: x < end,
}


def edges(kind, said):
    """The ends of a range, and their nearest neighbours on either side."""
    ends = [end for one in said if isinstance(one, Range) for end in (one.least, one.most)]
    ends += [
        end
        for one in said
        for name in BOUNDS
        if (end := getattr(one, name, None)) is not None and not isinstance(one, Range)
    ]
    if kind is int:
        return [int(end) + step for end in ends for step in (-1, 0, 1)] + [0, *HUGE]
    around = [math.nextafter(end, far) for end in ends for far in (-math.inf, end, math.inf)]
    return [float(x) for x in around] + [0.0, *ODD]


FIELDS = {key: (kind, said) for key, kind, said in numeric()}


def written(value):
    """As TOML writes it."""
    return repr(value)


def read(assignments):
    """The experiment, and nothing; or None, and what privet says."""
    tables, origins = override({}, [f"{key}={text}" for key, text in assignments.items()])
    try:
        return parse(Experiment, tables, "e.toml", origins), ""
    except SettingsError as error:
        return None, str(error)


def test_all_numbers_are_found():
    """One of each section that has any, so that none is forgotten silently."""
    sections = {key.rpartition(".")[0] for key in FIELDS}
    assert {
        "", "attack", "arithmetic", "budget", "data", "federation", "model", "strategy", "training",
    } <= sections  # fmt: skip
    assert len(FIELDS) > 40


@pytest.mark.parametrize("key", FIELDS)
def test_a_number_is_taken_as_it_is_or_refused_by_name(key):
    """At, just within and just beyond each end of its range, and far from it."""
    kind, said = FIELDS[key]

    @given(st.integers() if kind is int else st.floats())
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    def holds(value):
        text = written(value)
        found, refusal = read({"budget.epsilon": "3.0", key: text})
        if found is None:
            assert len(refusal.splitlines()) == 1
            assert f"-s {key}={text}" in refusal or allows(said, value), refusal
            return
        assert allows(said, value), (key, value)
        for name in key.split("."):
            found = getattr(found, name)
        assert found == value
        assert type(found) is kind

    for value in edges(kind, said):
        holds = example(value)(holds)
    holds()


OF_PROMISES = (
    "budget.epsilon", "budget.delta", "budget.noise_multiplier", "budget.clip",
    "training.sample_rate", "training.local_steps", "federation.rounds",
)  # fmt: skip
# Within these an accountant answers in a moment; the ends are of their own tests.
MOST = {"training.local_steps": 100, "federation.rounds": 100}


def within(key):
    kind, said = FIELDS[key]
    (allowed,) = [one for one in said if isinstance(one, Range)] or [Range(1, 1000)]
    if kind is int:
        return st.integers(int(allowed.least), min(int(allowed.most), MOST[key]))
    whole = st.floats(allowed.least, allowed.most)
    return st.sampled_from([allowed.least, allowed.most]) | whole


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_promise_is_solved_or_refused(data):
    """No epsilon is negative or above what was asked; more rounds never cost less."""
    keys = data.draw(st.lists(st.sampled_from(OF_PROMISES), unique=True, max_size=4))
    given_ = {key: data.draw(within(key), key) for key in keys}
    asked = {"budget.unit": "'record'", "training.local_steps": 2, "federation.rounds": 2}
    asked |= {"training.sample_rate": 0.1} | {k: written(v) for k, v in given_.items()}
    found, refusal = read(asked)
    if found is None:
        assert refusal
        return
    try:
        solved = found.resolve()
    except PrivetError as error:
        note(str(error))
        return  # that it is one line is the command line's, and its fuzzer's, to show
    noise = solved.budget.noise_multiplier
    assert noise is not None
    assert 0 <= noise < math.inf
    spent = [
        solved.epsilon_of(Ledger([Spent(noise, solved.sample_rate, steps)])) for steps in (1, 4, 16)
    ]
    assert all(0 <= one <= more for one, more in pairwise(spent))
    planned = solved.federation.rounds * solved.steps_per_round
    total = solved.epsilon_of(Ledger([Spent(noise, solved.sample_rate, planned)]))
    if "budget.noise_multiplier" not in given_ and solved.budget.epsilon is not None:
        assert total <= solved.budget.epsilon * 1.001


def by_another(entry, delta, pessimistic, interval=1e-3):
    """Epsilon by Google's privacy loss distributions: a bound from above, or one from below."""
    one = losses.from_gaussian_mechanism(
        entry.noise_multiplier,
        sampling_prob=entry.sample_rate,
        pessimistic_estimate=pessimistic,
        value_discretization_interval=interval,
    )
    return float(one.self_compose(entry.steps).get_epsilon_for_delta(delta))


@given(
    epsilon=st.floats(-1, 1.2).map(lambda x: 10**x),
    delta=st.floats(-9, -1).map(lambda x: 10**x),
    rate=st.floats(-3, 0).map(lambda x: 10**x),
    local_steps=st.integers(1, 20),
    rounds=st.integers(1, 20),
    unit=st.sampled_from(["record", "client"]),
)
@example(epsilon=3.0, delta=1e-5, rate=1.0, local_steps=1, rounds=1, unit="record")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_settings_promise_another_accountant_finds(
    epsilon, delta, rate, local_steps, rounds, unit
):
    """The noise found for an epsilon is enough, and not much more than enough; and told so."""
    asked = {
        "budget.unit": repr(unit), "budget.epsilon": epsilon, "budget.delta": delta,
        "federation.rounds": rounds,
    }  # fmt: skip
    if unit == "record":
        asked |= {"training.sample_rate": rate, "training.local_steps": local_steps}
    found, refusal = read({key: str(value) for key, value in asked.items()})
    assert found is not None, refusal
    solved = found.resolve()
    noise = solved.budget.noise_multiplier
    assert noise is not None
    steps = rounds * local_steps if unit == "record" else rounds
    entry = Spent(noise, rate if unit == "record" else 1.0, steps)
    told = solved.epsilon_of(Ledger([entry]))
    assert by_another(entry, delta, pessimistic=False) <= told * (1 + 1e-6) <= epsilon * (1 + 1e-5)
    less = Spent(noise * 0.9, entry.sample_rate, steps)
    if noise > 0.2:  # with less, the other's grid has no end
        assert by_another(less, delta, pessimistic=True) > 0.95 * epsilon
