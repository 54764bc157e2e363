"""Steps that nobody listed: each is told in one true line, and what is right is not red."""

import sys

import museum
import numpy as np
import pytest
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from attacks.audit import Claims, audit_step
from attacks.audit.steps.asking import Asked, Stopped
from attacks.audit.steps.engine import of_engine
from attacks.audit.steps.moved import sensitivity
from privacy.errors import SettingsError

X, Y = museum.records()
RIGHT = museum.maker()
NUMBERS = (museum.SIGMA, museum.RATE, museum.STEPS)


def after(change, labels=lambda y: y):
    """The step that is right, and what somebody makes of its answer."""

    def make(x, y, seed, noise_multiplier=NUMBERS[0], sample_rate=NUMBERS[1], steps=NUMBERS[2]):
        told = RIGHT(x, labels(y), seed, noise_multiplier, sample_rate, steps)["w"]
        return change(told, x, y, seed)

    return make


def audited(make, y=Y, **claimed):
    """States of all checks but those that pass, and what was measured."""
    claims = Claims(X.tolist(), y, *NUMBERS, **claimed)
    found = audit_step(make, claims)
    return {c.name: c for c in found.checks if c.state in ("FAILED", "impossible")}, found


def altering(w, x, y, seed):
    x += 1
    y[:] = 0
    return {"w": w}


NAMES = np.array(["a", "b", "c"])
CORRECT = {
    "half precision": after(lambda w, *_: {"w": w.astype(np.float16)}),
    "tensors that learn": after(lambda w, *_: {"w": torch.tensor(w, requires_grad=True)}),
    "bfloat16": after(lambda w, *_: {"w": torch.tensor(w).bfloat16()}),
    "alters its records": after(altering),
}


@pytest.mark.filterwarnings("ignore:.*overflow.*")
@pytest.mark.parametrize("what", CORRECT)
def test_what_is_right_is_not_red(what):
    assert not audited(CORRECT[what])[0]


def test_labels_may_be_words_and_lists():
    codes = {name: n for n, name in enumerate(NAMES)}
    step = after(lambda w, *_: {"w": w}, lambda y: np.array([codes[one] for one in y]))
    assert not audited(step, list(NAMES[Y]))[0]


def test_what_is_no_number_is_told_as_such():
    def step(w, *_):
        w[0, 0] = np.nan
        return {"w": w}

    told, _ = audited(after(step))
    assert {name for name, check in told.items() if check.state == "FAILED"} == {"overflow"}
    assert told["noise"].measured == "1 of 90 released numbers are NaN or infinite"


def test_a_step_that_leaves_or_fails_in_the_middle_is_told_in_a_line():
    told, found = audited(after(lambda *_: sys.exit(3)))
    assert not found.passed
    assert told["steps"].measured == "the function stopped: SystemExit: 3"

    def of_one(w, x, *_):
        if len(x) == 1:
            raise RuntimeError("a batch of one\nis too few")
        return {"w": w}

    told, _ = audited(after(of_one))
    assert told["sensitivity"].measured == "the function stopped: RuntimeError: a batch of one"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda w, x, *_: {"w": w[: len(x)]},
            r"the same arrays .* w \[24, 3\], and then w \[1, 3\]",
        ),
        (lambda w, *_: {}, "returned an empty dict"),
        (lambda *_: None, "returned NoneType"),
        (lambda w, *_: [w], "returned list"),
        (lambda w, *_: {"w": w + 0j}, "w: complex"),
        (lambda w, *_: {"w": np.array(["a"])}, "w: could not convert"),
    ],
)
def test_what_is_no_release_is_refused(change, said):
    with pytest.raises(SettingsError, match=said):
        audited(after(change))


@pytest.mark.parametrize(
    ("records", "more", "said"),
    [
        ([{"age": 3}] * 24, {}, "records: must be finite numbers"),
        (np.where(X > 0.5, np.nan, X), {}, "records: must be finite numbers"),
        ([[1.0], [2.0, 3.0]] * 12, {}, "records: no array"),
        (X, {"noise_multiplier": 0.0}, "noise_multiplier"),
        (X, {"learning_rates": [0.1]}, "learning_rates"),
    ],
)
def test_claims_of_no_numbers_are_refused(records, more, said):
    right = dict(zip(("noise_multiplier", "sample_rate", "steps"), NUMBERS, strict=True))
    with pytest.raises(SettingsError, match=said):
        Claims(records, Y, **right | more)


def test_a_step_whose_rate_cannot_be_turned_is_not_red():
    """Who takes part is chance then, and not what a record does."""

    def step(x, y, seed, noise_multiplier=NUMBERS[0], steps=NUMBERS[2]):
        return RIGHT(x, y, seed, noise_multiplier, steps=steps)

    told, found = audited(step)
    assert found.passed
    assert {told[name].state for name in ("sensitivity", "additivity")} == {"impossible"}


def descent(learning_rate=lambda n: 0.1, momentum=0.0, *, drop=0.0, tree=False):
    """DP-SGD as somebody else writes it; tree: noise of the sums so far (DP-FTRL)."""

    def make(x, y, seed, noise_multiplier=NUMBERS[0], sample_rate=NUMBERS[1], steps=NUMBERS[2]):
        dice, loud, lost = (np.random.default_rng([seed, n]) for n in range(3))
        w = moved = so_far = np.zeros((museum.FEATURES, museum.CLASSES))
        for n in range(steps):
            inside = dice.random(len(x)) < sample_rate
            xs = x[inside] * (lost.random(x[inside].shape) >= drop)
            fresh = loud.normal(size=w.shape)
            noise, so_far = (fresh - so_far, fresh) if tree else (fresh, so_far)
            total = museum.clipped(museum.gradients(w, xs, y[inside])).sum(0)
            given = (total + noise_multiplier * noise) / (sample_rate * max(1, len(x)))
            moved = momentum * moved + given
            w = w - learning_rate(n) * moved
        return {"w": -w}

    return make


def warm(n):
    return 0.1 * (n + 1)


def red(make, **claimed):
    return {name for name, c in audited(make, **claimed)[0].items() if c.state == "FAILED"}


def test_momentum_and_schedules_are_right_where_they_are_claimed():
    assert not red(descent(momentum=0.9), momentum=0.9)
    assert not red(descent(warm), learning_rates=[warm(n) for n in range(NUMBERS[2])])
    told, _ = audited(descent(warm))
    assert "learning_rates" in told["steps"].meaning
    twice = museum.maker("more steps than charged")
    assert red(twice, learning_rates=[0.1] * NUMBERS[2]) == {"steps"}


def test_correlated_noise_is_right_under_epsilon_and_delta_alone():
    told, _ = audited(descent(tree=True))
    assert "claim epsilon and delta alone" in told["steps"].meaning
    assert audit_step(descent(tree=True), Claims(X, Y, epsilon=10.0)).passed


def test_what_follows_the_seed_is_one_red_line():
    told, _ = audited(descent(drop=0.3))
    assert {name for name, check in told.items() if check.state == "FAILED"} == {"steadiness"}
    assert "dropout" in told["steadiness"].meaning
    assert "see steadiness" in told["sensitivity"].measured


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop])
def test_an_opacus_loop_of_an_optimizer_that_keeps_more(kind):
    """What it makes of noisy gradients is post-processing; without noise in them it is red."""

    def private(x, y, noise_multiplier, sample_rate):
        net, part = nn.Linear(X.shape[1], museum.CLASSES), max(1, round(sample_rate * len(x)))
        model, optimizer, loader = PrivacyEngine().make_private(
            module=net,
            optimizer=kind(net.parameters(), lr=0.01),
            data_loader=DataLoader(TensorDataset(x, y), batch_size=part),
            noise_multiplier=noise_multiplier * quiet,
            max_grad_norm=1.0,
        )
        loader.batch_sampler.sample_rate = sample_rate
        optimizer.expected_batch_size = max(sample_rate * len(x), 1e-12)
        return model, optimizer, loader

    make = of_engine(private, steps=2)
    claims = Claims(X.astype(np.float32)[:8], Y[:8], 1.0, 0.5, 2)
    quiet = 1.0
    assert sensitivity(Asked(make, claims)).state == "passed"
    quiet = 0.5
    assert sensitivity(Asked(make, claims)).state == "FAILED"


def test_arrays_of_other_units_are_no_false_alarm():
    """One number whose noise is by chance about as loud as the weights', and which moves most."""

    def step(x, y, seed, noise_multiplier=1.0, short=1.0):
        noise = short * noise_multiplier * np.random.default_rng(seed).normal(size=91)
        total = 0.999 * len(x)
        return {"count": 1.3 * (total + noise[:1]), "w": noise[1:]}

    claims = Claims(np.ones((4, 2)), np.zeros(4), 1.0, 1.0, 1, divided="nothing")
    asked = [sensitivity(Asked(step, claims, seed)) for seed in range(20)]
    assert {check.state for check in asked} == {"passed"}

    def short(x, y, seed, noise_multiplier=1.0):
        return step(x, y, seed, noise_multiplier, 0.7)

    assert sensitivity(Asked(short, claims)).state == "FAILED"


def test_a_tell_hears_of_each_call():
    heard = []
    claims = Claims(X, Y, *NUMBERS)
    found = audit_step(RIGHT, claims, tell=lambda calls, seconds: heard.append(calls))
    assert heard == list(range(1, found.calls + 1))
    with pytest.raises(Stopped):
        Asked(lambda *_: 1 / 0, claims).one_step(X, Y)
