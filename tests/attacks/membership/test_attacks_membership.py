"""The portfolio: formulas, choice on shadows, and no leak found where there is none."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from attacks.leakage import auc, delong
from attacks.membership import scores as membership
from attacks.membership.scores import ATTACKS, LEARNED, Evidence, Portfolio
from attacks.membership.shadows import Shadows, split_pool

N, K = 400, 8


def world(seed, effect=1.5, num=K, records=N):
    """Models whose scaled logit of a record is its difficulty, noise, and more for a member."""
    rng = np.random.default_rng(seed)
    member = split_pool(np.zeros(records, int), num, seed)
    difficulty = rng.normal(1, 2, records)
    phi = difficulty + rng.normal(0, 0.7, (num, 2, records)) + effect * member[:, None]
    target = rng.random(records) < 0.5
    seen = difficulty + rng.normal(0, 0.7, (2, records)) + effect * target
    return Shadows(member, phi.astype(np.float32)), seen.astype(np.float32), target


def test_each_attack_is_its_formula():
    shadows, seen, _ = world(0)
    e = Evidence(seen[-1], shadows.phi[:, -1], shadows.member)
    for i in range(0, N, 97):
        inside = [shadows.phi[k, -1, i] for k in range(K) if shadows.member[k, i]]
        outside = [shadows.phi[k, -1, i] for k in range(K) if not shadows.member[k, i]]
        t = seen[-1, i]
        assert ATTACKS["calibrated"](e)[i] == pytest.approx(t - np.mean(outside), abs=1e-5)
        s_in, s_out = e.spread
        ratio = norm.logpdf(t, np.mean(inside), s_in) - norm.logpdf(t, np.mean(outside), s_out)
        assert ATTACKS["lira_online"](e)[i] == pytest.approx(ratio, abs=1e-4)

        def p(phi):
            return 1 / (1 + np.exp(-np.asarray(phi, float)))

        online = np.log(p(t) / (p(inside).mean() / 2 + p(outside).mean() / 2))
        assert ATTACKS["rmia_online"](e)[i] == pytest.approx(online, abs=1e-5)
        offline = np.log(p(t) / ((1.3 * p(outside).mean() + 0.7) / 2))
        assert ATTACKS["rmia_offline"](e)[i] == pytest.approx(offline, abs=1e-5)


def test_the_spread_is_that_of_the_models():
    """Few models, corrected for the mean that was taken from them."""
    shadows, seen, _ = world(1, records=20_000)
    e = Evidence(seen[-1], shadows.phi[:, -1], shadows.member)
    assert e.spread == pytest.approx((0.7, 0.7), rel=0.03)


def test_shadows_find_what_the_loss_hides():
    shadows, seen, target = world(2, records=2000)
    scores = Portfolio(shadows, rounds=False).scores(seen)
    assert set(scores) == {*ATTACKS, LEARNED}
    values = {name: auc(s, target) for name, s in scores.items()}
    assert values["loss"] < 0.72
    assert values["lira_online"] > 0.9
    assert values[LEARNED] > 0.9


def test_who_saw_every_round_knows_more():
    shadows, seen, target = world(3, effect=0.8, records=3000)
    last = Portfolio(shadows, rounds=False).scores(seen)["lira_online"]
    every = Portfolio(shadows, rounds=True).scores(seen)["lira_online"]
    assert auc(every, target) > auc(last, target) + 0.02


def test_the_choice_is_made_on_the_shadows():
    """It is made before a target is seen, and it is the best on the shadows."""
    shadows, _, _ = world(4, records=1000)
    portfolio = Portfolio(shadows, rounds=False)
    means = {
        name: np.mean([auc(s, m) for s, m in zip(trials, shadows.member, strict=True)])
        for name, trials in portfolio.trials.items()
    }
    assert portfolio.choose("auc") == max(means, key=means.get)
    assert portfolio.choose("auc") != "loss"
    assert portfolio.choose("tpr") in means


def test_too_few_shadows_are_refused():
    shadows, _, _ = world(5, num=2)
    with pytest.raises(ValueError, match="at least 4"):
        Portfolio(shadows, rounds=False)


@pytest.mark.parametrize("rounds", [False, True])
def test_labels_drawn_at_random_are_not_found(rounds):
    """200 repetitions: every attack's 95 % interval holds AUC 0.5 at its nominal rate."""
    shadows, seen, _ = world(6)
    scores = Portfolio(shadows, rounds).scores(seen)
    held = dict.fromkeys(scores, 0)
    rng = np.random.default_rng(0)
    for _ in range(200):
        labels = rng.permutation(N) < N // 2
        for name, s in scores.items():
            figure = delong(s, labels)
            held[name] += figure.low <= 0.5 <= figure.high
    for name, count in held.items():
        assert binomtest(count, 200, 0.95, alternative="less").pvalue > 1e-3, (name, count)


def test_a_model_that_learned_nothing_leaks_nothing(monkeypatch):
    """No effect of membership at all: the learned attack, too, covers 0.5 over 30 worlds."""
    monkeypatch.setattr(membership, "MAX_ROWS", 2000)
    held = dict.fromkeys((*ATTACKS, LEARNED), 0)
    for seed in range(30):
        shadows, seen, target = world(100 + seed, effect=0.0, num=4, records=200)
        for name, s in Portfolio(shadows, rounds=False).scores(seen).items():
            figure = delong(s, target)
            held[name] += figure.low <= 0.5 <= figure.high
    for name, count in held.items():
        assert binomtest(count, 30, 0.95, alternative="less").pvalue > 1e-3, (name, count)
