"""A clip that follows a quantile: by the paper's lines, by what is known, by other libraries."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from flwr.supercore.differential_privacy import compute_adaptive_noise_params
from hypothesis import given
from hypothesis import strategies as st
from opacus.optimizers import AdaClipDPOptimizer

from privacy.cipher import Key
from privacy.dp.budget import LEAST_CLIP, MOST_CLIP, Budget
from privacy.dp.clipping.quantile import ONE, Votes, weights_of
from privacy.dp.clipping.split import Split, after
from privacy.dp.grid import Grid, fits, most_steps, whole

NONE = Key.of("count")
NORMS = np.random.default_rng(0).lognormal(0.5, 0.8, 600)


def budget(quantile=0.5, z=0.0, clip=1.0, rate=0.2):
    return Budget(
        unit="client", noise_multiplier=z, clip=clip, clip_quantile=quantile, clip_rate=rate
    )


def follow(asked, norms, rounds, planned=None):
    """The clips of so many rounds of clients with these norms."""
    clips = [asked.clip]
    for number in range(rounds):
        votes = Votes(asked)
        for norm in norms:
            votes.add(bool(norm <= clips[-1]))
        share = votes.release(Key.of("count", number), planned or len(norms))
        clips.append(after(asked, clips[-1], share).clip)
    return np.array(clips)


def of_the_paper(norms, clip, quantile, rate, rounds):
    """Algorithm 1 of Andrew et al. 2021, without its noise."""
    clips = [clip]
    for _ in range(rounds):
        b = np.mean(norms <= clip)
        clip = clip * np.exp(-rate * (b - quantile))
        clips.append(clip)
    return np.array(clips)


@pytest.mark.parametrize(("quantile", "clip"), [(0.5, 10.0), (0.5, 0.1), (0.1, 1.0), (0.9, 1.0)])
def test_without_noise_it_is_the_papers_update(quantile, clip):
    mine = follow(budget(quantile, clip=clip), NORMS, 40)
    np.testing.assert_allclose(mine, of_the_paper(NORMS, clip, quantile, 0.2, 40), rtol=1e-4)


def test_without_noise_it_moves_as_opacus_does():
    """Its `AdaClipDPOptimizer`, of records, whose counts are given here."""
    theirs, asked = object.__new__(AdaClipDPOptimizer), budget(0.7, clip=10.0)  # torch's is slow
    theirs.max_grad_norm, theirs.sample_size = asked.clip, len(NORMS)
    theirs.clipbound_learning_rate, theirs.target_unclipped_quantile = asked.clip_rate, 0.7
    theirs.max_clipbound, theirs.min_clipbound = MOST_CLIP, LEAST_CLIP
    for clip in follow(asked, NORMS, 30):
        assert float(theirs.max_grad_norm) == pytest.approx(clip, rel=1e-4)
        theirs.unclipped_num = torch.tensor(int((clip >= NORMS).sum()))
        theirs.update_max_grad_norm()


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_it_comes_to_the_quantile_under_noise_and_without_clients_that_fail(quantile):
    """From several times too much, and however many do not answer: votes of a half would end in
    the ceiling, where a third of the clients fail and 0.9 are to be within the clip."""
    clips = follow(budget(quantile, z=1.0, clip=10.0), NORMS[:400], 150, planned=600)
    within = np.mean(NORMS[:400] <= np.exp(np.log(clips[-20:]).mean()))
    assert within == pytest.approx(quantile, abs=0.04)


@pytest.mark.parametrize("z", [1.0, 20.0])
@pytest.mark.parametrize("quantile", [0.5, 0.75])
def test_both_releases_cost_what_is_charged(z, quantile):
    """By Google's accountant, and by Flower's split."""
    split, most = Split.of(budget(quantile, z)), max(quantile, 1 - quantile)
    accountant, alone = (PLDAccountant(value_discretization_interval=1e-3) for _ in range(2))
    accountant.compose(dp_event.GaussianDpEvent(split.of_sum))
    accountant.compose(dp_event.GaussianDpEvent(split.of_count / most))
    alone.compose(dp_event.GaussianDpEvent(z))
    assert accountant.get_epsilon(1e-5) == pytest.approx(alone.get_epsilon(1e-5), rel=2e-3)
    as_of_the_median = split.of_count / (2 * most)
    assert compute_adaptive_noise_params(z, 600, as_of_the_median) == pytest.approx(
        (as_of_the_median, split.of_sum)
    )


def test_without_a_quantile_all_noise_is_the_sums():
    assert Split.of(budget(0.0, 2.0)) == (2.0, 0.0)


@given(st.floats(0.01, 0.99), st.lists(st.booleans(), max_size=30), st.booleans())
def test_one_client_more_moves_the_count_by_at_most_what_its_noise_is_for(quantile, others, vote):
    votes = Votes(budget(quantile))
    for other in others:
        votes.add(other)
    before = votes.total
    votes.add(vote)
    assert abs(votes.total - before) <= max(weights_of(quantile)) <= ONE


def test_the_counts_noise_is_whole_and_of_the_deviation_that_is_told():
    asked = budget(0.8, z=3.0)
    shares = np.array([Votes(asked).release(Key.of("count", n), 10) for n in range(2000)])
    clients = (shares - 0.8) * 10
    assert clients.std() == pytest.approx(Split.of(asked).of_count, rel=0.06)
    np.testing.assert_allclose(clients * ONE, np.rint(clients * ONE), atol=1e-4)
    assert len(np.unique(clients)) > 1900


@given(st.floats(LEAST_CLIP, MOST_CLIP), st.floats(-1e9, 1e9), st.floats(1e-3, 10))
def test_no_share_moves_the_clip_far_or_out_of_its_range(clip, share, rate):
    moved = after(budget(0.5, rate=rate), clip, share).clip
    assert LEAST_CLIP <= moved <= MOST_CLIP
    assert abs(math.log(moved / clip)) <= rate / 2 + 1e-9


@given(st.lists(st.floats(-1e308, 1e308), min_size=3, max_size=3), st.floats(1e-6, 1e6))
def test_who_is_within_the_clip_is_who_is_not_cut(vector, clip):
    """By exact fractions, but for a millionth below the clip itself."""
    grid, values = Grid.of(clip, 3), np.array(vector)
    square = sum(Fraction(v) ** 2 for v in vector) / Fraction(clip) ** 2
    if fits(values, grid):
        assert square <= 1
        kept = whole(values, grid) * grid.step
        assert np.abs(kept - values).max() <= 1.001 * grid.step
    else:
        assert square >= Fraction(1 - 2e-6)
        assert np.linalg.norm(whole(values, grid).astype(float)) > 0.99 * most_steps(grid)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_within_no_clip(value):
    vector, grid = np.array([0.0, value, 0.0]), Grid.of(1e6, 3)
    assert not fits(vector, grid)
    assert not whole(vector, grid).any()
    assert fits(np.zeros(3), grid)
