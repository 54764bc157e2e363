"""What a report puts side by side is the same work, and each difference has an interval."""

import json
from dataclasses import replace

import numpy as np
import pytest
from reported import Page, copy

from server.report import gather, to_html, verdict
from server.report.facts.gaps import is_baseline, other_work
from server.report.facts.groups import groups_of, price_of, prices_of
from server.report.words.verdict import holds


@pytest.fixture
def pair(folder):
    """A private run and its baseline."""
    facts = gather(["whole", "free"], folder)
    return facts, *facts.runs


def altered(run, **settings):
    """A run with other settings in its group, `section_key`."""
    of = {key.replace("_", ".", 1): value for key, value in settings.items()}
    return replace(run, group=tuple((dict(run.group) | of).items()))


def seeds(run, accuracies, first=0):
    """Repeats of a run."""
    return tuple(
        replace(run, name=f"{run.name}-{i}", seed=first + i, accuracy=accuracy)
        for i, accuracy in enumerate(accuracies)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"federation_rounds": "1"}, "rounds 1, not 2"),
        ({"data_records": "0123"}, "records 0123, not "),
        ({"code": "0123"}, "code 0123, not "),
        ({"data_partition": "shards"}, "partition shards, not iid"),
        ({"model_hidden": "[7]"}, "hidden [7], not [32]"),
    ],
)
def test_other_work_is_no_baseline_and_the_sentence_says_why(pair, change, said):
    """A run of one round beside one of two: no sentence says what privacy cost."""
    facts, private, free = pair
    assert is_baseline(free, private)
    other = altered(free, **change)
    assert not is_baseline(other, private)
    assert not prices_of(groups_of([private, other]))
    sentence = verdict(replace(facts, runs=(private, other))).sentence
    assert "what privacy cost is not known, for the run without it is other work" in sentence
    assert said in sentence


def test_an_unfinished_baseline_is_other_work(pair):
    _, private, free = pair
    assert other_work(replace(free, rounds_done=1), private) == {"rounds done": ("1", "2")}


def test_what_else_differs_is_in_the_sentence(pair):
    """Trained otherwise, since nothing is clipped: said where the two are subtracted."""
    facts, private, free = pair
    other = altered(free, training_learning_rate="0.5")
    said = verdict(replace(facts, runs=(private, other)))
    assert "without it also learning rate 0.5, not 1.0" in said.sentence
    page = Page(to_html(replace(facts, runs=(private, other))))
    rows = page.tables["Accuracy and epsilon"]
    assert any("learning rate 0.5, not 1.0" in cell[0] for row in rows for cell in row)


def test_one_seed_each_has_the_interval_of_the_test_set(pair):
    """Two shares of 360 test records: by hand, with the plus-one rule of Agresti and Caffo."""
    _, private, free = pair
    assert private.test_records == 360
    private, free = replace(private, accuracy=0.75), replace(free, accuracy=0.8)
    price = price_of(groups_of([private])[0], groups_of([free])[0])
    p, q = (0.8 * 360 + 1) / 362, (0.75 * 360 + 1) / 362
    half = 1.959963984540054 * np.sqrt(p * (1 - p) / 362 + q * (1 - q) / 362)
    assert price.points == pytest.approx(0.05)
    assert price.difference.low == pytest.approx(p - q - half)
    assert price.difference.high == pytest.approx(p - q + half)
    assert price.basis == "one seed, 360 test records"
    assert not price.is_shown
    old = replace(private, test_records=None)
    assert price_of(groups_of([old])[0], groups_of([free])[0]).basis == ""


def test_seeds_are_paired_and_what_may_be_chance_is_called_so(pair):
    """Three seeds whose differences are 2, 9 and 15 points: t = 4.303 by the table."""
    facts, private, free = pair
    runs = (*seeds(private, (0.80, 0.75, 0.70)), *seeds(free, (0.82, 0.84, 0.85)))
    (price,) = prices_of(groups_of(runs))
    differences = np.array([0.02, 0.09, 0.15])
    half = 4.302653 * differences.std(ddof=1) / np.sqrt(3)
    assert price.points == pytest.approx(differences.mean())
    assert price.difference.high - price.points == pytest.approx(half, rel=1e-5)
    assert price.basis == "over 3 seeds"
    sentence = verdict(replace(facts, runs=runs)).sentence
    assert "cost 8.67 points of accuracy (95 %: −7.50 to 24.83, over 3 seeds" in sentence
    assert "so it may be chance" in sentence
    apart = (*seeds(private, (0.80, 0.81)), *seeds(free, (0.90, 0.91, 0.92), first=5))
    (price,) = prices_of(groups_of(apart))
    assert price.basis == "over other seeds"
    assert price.is_shown


def test_two_runs_of_one_seed_are_no_repeats(folder):
    """A copy of a run adds nothing to what is known of its settings."""
    copy(folder / "whole", "again")
    (group,) = groups_of(gather(["whole", "again"], folder).runs)
    assert len(group.runs) == 1
    assert group.accuracy.low == group.accuracy.value == group.accuracy.high


def test_runs_of_other_records_or_code_are_no_repeats(folder):
    told = json.loads((folder / "whole/environment.json").read_text())
    (other,) = {told["code"]}
    copy(folder / "whole", "older", environment=(other, "0" * 12))
    assert len(groups_of(gather(["whole", "older"], folder).runs)) == 2


def test_held_is_said_of_a_run_that_was_audited_and_attacked(folder):
    """Not where one was audited and another attacked."""
    (run,) = gather(["whole"], folder).runs
    assert holds(run) is True
    audited = replace(run, name="audited", leakage=None)
    attacked = replace(run, name="attacked", audit=None)
    assert holds(audited) is holds(attacked) is None
    facts = gather(["whole"], folder)
    for runs in ((audited, attacked), (audited,), (attacked,)):
        said = verdict(replace(facts, runs=runs))
        assert said.state == "untested"
        assert " held" not in said.sentence
    assert "nobody attacked what was audited" in verdict(replace(facts, runs=(audited,))).sentence
    page = Page(to_html(replace(facts, runs=(audited, attacked))))
    assert "not audited and attacked" in page.words


def test_evaluation_on_clients_is_named_wherever_the_promise_stands(folder, privet):
    """Exact figures of held-out records leave: in the page, in `show`, and in the list."""
    copy(
        folder / "whole", "told",
        experiment=("client_evaluation = false", "client_evaluation = true"),
    )  # fmt: skip
    word = "held-out records"
    page = Page(to_html(gather(["told"], folder)))
    assert page.words.count("leave without noise") >= 3  # a tile, a note, and who is protected
    shown = json.loads(privet("show", "told", "--json")[1])
    assert word in shown["trust"]
    assert any(word in one for one in shown["outside"])
    assert word in privet("show", "told")[1]
    listed = json.loads(privet("list", "--json")[1])["runs"]
    (epsilon,) = [row["epsilon"] for row in listed if row["run"] == "told"]
    assert "not of evaluations" in epsilon
    quiet = json.loads(privet("show", "whole", "--json")[1])
    assert not any(word in one for one in quiet["outside"])
    assert any("why it fails" in one for one in quiet["outside"])
    assert json.loads(privet("show", "free", "--json")[1])["outside"] == []
