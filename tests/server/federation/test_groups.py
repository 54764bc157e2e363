"""Members of masked sums who say what they like: groups bound what one of them does."""

import numpy as np
import pytest
from test_byzantine import accuracy
from test_federation import run_tiny
from test_secure import MASKS

from clients.node import secure as device
from privacy.errors import FederationFailed
from server.federation.groups import drawn

NINE = ("federation.clients=9", MASKS)
GROUPS = ("secure.groups=3", "strategy.name=fedmedian")


def lying(monkeypatch, who, lie):
    """Members `who` put other words behind their masks than those of their update."""
    honest = device._words

    def words(terms, job, client, update, num_examples):
        told = honest(terms, job, client, update, num_examples)
        return lie(terms, told) if client in who else told

    monkeypatch.setattr(device, "_words", words)


def greatest(terms, told):
    """As far off as one can be, with as great a weight, and inside the range."""
    return terms.grid.encode(np.full(terms.length, terms.value_range), terms.most_examples)


def senseless(terms, told):
    """Of the right weight, so that nothing else gives them away."""
    drawn = np.random.default_rng(0).integers(0, np.iinfo(told.dtype).max, len(told), told.dtype)
    return np.append(drawn[:-2], told[-2:])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return accuracy(tmp_path_factory.mktemp("runs"), *NINE)


def test_one_liar_ends_the_mean_and_not_the_median_of_groups(runs, monkeypatch, undisturbed):
    assert accuracy(runs, *NINE, *GROUPS) > undisturbed - 0.05
    lying(monkeypatch, {4}, greatest)
    assert accuracy(runs, *NINE) < undisturbed - 0.3
    assert accuracy(runs, *NINE, *GROUPS) > undisturbed - 0.05
    bounded = ("secure.groups=9", "federation.clients=27", MASKS, "strategy.norm_bound=0.5")
    assert accuracy(runs, *bounded) > undisturbed - 0.25  # the lie is made short, not left out


def test_a_sum_that_no_updates_come_to_is_not_taken(runs, monkeypatch, undisturbed):
    """Of senseless words the numbers lie beyond the weight times the range: a group less."""
    lying(monkeypatch, {4}, senseless)
    with pytest.raises(FederationFailed, match="makes no sense: a member spoilt it"):
        accuracy(runs, *NINE)
    assert accuracy(runs, *NINE, *GROUPS) > undisturbed - 0.05


def test_a_majority_of_groups_must_make_a_sum(runs, monkeypatch):
    lying(monkeypatch, {0, 1, 2, 3, 4, 5, 6}, senseless)
    with pytest.raises(FederationFailed, match="makes no sense"):
        accuracy(runs, *NINE, *GROUPS)


def test_the_record_tells_of_all_sums(runs):
    seen = run_tiny(runs, *NINE, *GROUPS, "federation.rounds=1").rounds[0].secure
    assert seen["sums"] == 3
    assert seen["members"] == 9
    assert seen["survivors"] == list(range(9))
    assert seen["single_updates"] == 0
    assert set(seen["seconds"]) == {"keys", "shares", "train", "unmask"}


def test_groups_are_drawn_anew_and_all_are_in_one():
    rounds = [drawn([3, 5, 7, *range(20, 30)], 4, seed) for seed in range(5)]
    for groups in rounds:
        assert sorted(client for group in groups for client in group) == [3, 5, 7, *range(20, 30)]
        assert {len(group) for group in groups} == {3, 4}
    assert len({str(groups) for groups in rounds}) == 5
    assert drawn([1, 2, 3], 1, 0) == [[1, 2, 3]]
