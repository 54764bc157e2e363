"""A statement's numbers, each found again in the run by another reader; what is missing is told."""

import json
import math
import re
import shutil

import pytest
from reported import HOSTILE, Page, copy
from restated import require

from privacy.documents import from_json
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.report.statement import read_statement, to_html, to_json, to_markdown
from server.report.statement.guarantee import found, guesses
from server.run.directory import Run


def flat(told):
    return {
        f"{part}.{key}": fact["value"]
        for part, about in from_json(to_json(told))["parts"].items()
        for key, fact in about["facts"].items()
    }


SMALL = ["federation.rounds=1", "federation.clients=4", "training.local_steps=2",
         "model.hidden=[8]"]  # fmt: skip
MASKS = "federation.secure_aggregation=masks"
OF_CLIENTS = ["budget.unit=client", "training.sample_rate=1.0"]
KINDS = {
    "no promise": ["budget.unit=none"],
    "clients": [*OF_CLIENTS, "federation.cohort=2"],
    "clients whose clip follows": [
        *OF_CLIENTS,
        "federation.rounds=2",
        "budget.clip_quantile=0.8",
        "budget.clip_rate=1",
    ],
    "sums of records": [MASKS],
    "sums of clients": [*OF_CLIENTS, MASKS, "training.noise=secure"],
    "spiking": ["arithmetic.name=spiking"],
    "evaluated, of a large delta": ["federation.client_evaluation=true", "budget.delta=0.1"],
}


@pytest.fixture
def alone(made, tmp_path):
    """A run, whole, with nothing beside it."""
    return lambda name: Run.open(shutil.copytree(made / name, tmp_path / f"of-{name}" / name))


@pytest.mark.parametrize("name", ["whole", "bare", "free"])
def test_every_number_is_found_again_in_the_run(alone, name):
    """All of them, and no other: 100 % of what is a number, in a value or a text, in each form."""
    require(alone(name).path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_found_again_of_runs_of_other_kinds(tmp_path, kind):
    """Of lessons, of nets of many, and of what a charged search chose: where these are trained."""
    launch(load_experiment("tiny", [*SMALL, *KINDS[kind]]), tmp_path, "it")
    require(tmp_path / "it")


SABOTAGE = {
    "another figure": ("server.report.statement.guarantee.guesses", lambda *_: 0.5),
    "a figure of nothing": ("server.report.statement.standing.OPINION", (("7 of 9", "data"),)),
    "prose": ("server.report.statement.standing.NOT_COVERED", ("the other 12 %",)),
    "rounded": ("server.report.statement.statement.number", lambda value, _: f"{value:.0f}"),
    "the heading": ("server.report.statement.forms.LAID_OUT", "By 3 of its 4 questions."),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_a_number_that_is_not_the_runs_is_found_out(alone, monkeypatch, what):
    run = alone("bare")
    monkeypatch.setattr(*SABOTAGE[what])
    with pytest.raises(AssertionError):
        require(run.path)


def test_what_is_missing_is_told_with_what_brings_it(alone):
    run = alone("bare")
    told = read_statement(run)
    gone = {f"{part.key}.{fact.key}": fact.remedy for part, fact in told.missing}
    assert gone["audit.passed"] == "privet audit bare"
    assert gone["attacks.membership"] == "privet attack bare"
    assert "--purpose" in gone["purpose.purpose"]
    assert "privet audit bare" in to_markdown(told).partition("## Purpose")[0]
    said = read_statement(run, "to count digits", "Ada & Sons")
    assert "purpose" not in {fact.key for _, fact in said.missing}
    assert "Ada &amp; Sons" in to_html(said)


def test_runs_on_the_same_records_add_up(folder):
    """Basic composition of those that promise the same unit; nothing bounds the others."""
    whole, bare, free = (Run.open(folder / name) for name in ("whole", "bare", "free"))
    both = flat(read_statement(whole, beside=[whole, bare]))
    spent = [run.rounds[-1].epsilon for run in (whole, bare)]
    assert both["composition.runs"] == 2
    assert both["composition.sum_epsilon"] == pytest.approx(sum(spent))
    assert both["composition.sum_delta"] == pytest.approx(2e-5)
    every = flat(read_statement(whole))
    assert every["composition.unbounded"] == 1
    assert every["composition.sum_epsilon"] is None
    nothing = {part.key: part for part in read_statement(free).parts}
    assert not nothing["odds"].facts
    assert "may tell all of any record" in " ".join(nothing["guarantee"].words)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.5, 1e-3), (3.0, 1e-5), (800, 0.1)])
def test_odds_are_those_of_the_worst_mechanism_that_keeps_the_promise(epsilon, delta):
    """Randomised response that tells all with probability delta attains them (Kairouz et al.)."""
    right = delta + (1 - delta) / (1 + math.exp(-epsilon))
    assert guesses(epsilon, delta) == pytest.approx(right, abs=1e-12)
    falsely = (1 - delta) * (1 - 1 / (1 + math.exp(-epsilon)))
    if falsely >= 0.01:  # it accuses one in a hundred on the straight line from nobody
        line = delta + (right - delta) * 0.01 / falsely
        assert found(epsilon, delta) == pytest.approx(line)
    assert 0.01 <= found(epsilon, delta) <= 1


def test_words_of_a_run_are_text_and_damage_is_told(folder):
    run = copy(folder / "whole", "hostile", environment=('"created"', '"begun"'))
    (run.path / "audit.json").write_text('{"passed": true')
    (run.path / "test.json").unlink()
    told = read_statement(run, HOSTILE)
    gone = {f"{part.key}.{fact.key}": fact.remedy for part, fact in told.missing}
    assert "audit.json cannot be read" in gone["audit.passed"]
    assert gone["utility.figures"] == "privet evaluate hostile"
    assert "environment.json" in gone["versions.created"]
    page = Page(to_html(told))
    assert not {"script", "img"} & set(page.tags)
    assert HOSTILE in page.words
    assert not re.search(r"(?<!\\)<", to_markdown(told))


def test_the_command_writes_what_the_functions_say(privet, tmp_path):
    out = tmp_path / "told.html"
    status, said, _ = privet("statement", "whole", "-o", str(out))
    assert (status, said.strip()) == (0, str(out))
    assert out.read_text().startswith("<!doctype html>")
    status, said, _ = privet("statement", "whole", "--format", "json", "--purpose", "a test")
    assert status == 0
    assert json.loads(said)["parts"]["purpose"]["facts"]["purpose"]["value"] == "a test"
    status, _, err = privet("statement", "nobody")
    assert (status, len(err.splitlines())) == (2, 1)
