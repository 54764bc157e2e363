"""The referee: verdicts on arithmetics that follow from intervals over seeds, beside scipy."""

from dataclasses import replace

import numpy as np
import pytest
from reported import Page
from scipy.stats import ttest_rel

from server.report import gather, to_html, verdict
from server.report.facts.facts import Cell
from server.report.facts.findings import Interval, Likeness
from server.report.words import referee
from server.report.words.referee import ALONE, MORE, NEITHER, PROTECTS, QUIET, referee_of

ACCURACY = np.array([0.90, 0.91, 0.92, 0.91, 0.90])
AUC = np.array([0.60, 0.62, 0.61, 0.63, 0.60])
NULL = np.array([0.51, 0.52, 0.51, 0.50, 0.52])
DEPTH = {"same": 5.0, "loud": -5.0}  # how much nearer than a stranger a record is drawn
NOISE = np.array([0.001, -0.002, 0.0, 0.002, -0.001])


@pytest.fixture
def swept(folder):
    """A sweep of figures: name -> (accuracy, AUC) of each seed, without a promise."""
    facts = gather(["whole", "free"], folder)
    whole, free = facts.runs

    def made(table, seeds=range(5)):
        runs, cells = [], []
        for (name, unit), (accuracy, auc) in table.items():
            of = free if unit == "none" else whole
            adversary = of.leakage.adversaries[0]
            for seed in seeds:
                found = replace(adversary, auc=Interval(auc[seed], 0.0, 1.0))
                nearer = Interval(DEPTH.get(name, 0.0) + 0.1 * seed - 0.2, -1.0, 1.0)
                measures = (("PSNR, dB", (1.0, 2.0, 3.0)),)
                controls = ("nearest", "mean")
                drawn = Likeness(
                    "inversion", controls=controls, measures=measures, nearer_by=nearer
                )
                leakage = replace(of.leakage, adversaries=(found,), likenesses=(drawn,))
                run = f"{name}-{unit}-{seed}"
                more = {"name": run, "label": run, "seed": seed, "accuracy": accuracy[seed]}
                runs.append(replace(of, leakage=leakage, **more))
                labels = (("arithmetic.name", name),)
                cells.append(Cell("s", name, seed, "done", "", run, labels))
        return replace(facts, runs=tuple(runs), cells=tuple(cells))

    return made


TABLE = {
    ("float", "none"): (ACCURACY + 0.07, AUC + 0.1),
    ("slow float", "none"): (ACCURACY, AUC),
    ("kept", "none"): (ACCURACY + NOISE, AUC - 0.05 + NOISE),
    ("same", "none"): (ACCURACY + NOISE, AUC + NOISE),
    ("loud", "none"): (ACCURACY + NOISE, AUC + 0.05 + NOISE),
    ("dull", "none"): (ACCURACY - 0.2, NULL),
    ("null", "none"): (ACCURACY - 0.8, NULL),
    ("float", "record"): (ACCURACY - 0.05, NULL),
    ("kept", "record"): (ACCURACY - 0.05, NULL - 0.001),
    ("same", "record"): (ACCURACY - 0.05, NULL + NOISE),
    ("loud", "record"): (ACCURACY - 0.05, NULL + NOISE),
    ("dull", "record"): (ACCURACY - 0.05, NULL + NOISE),
}


def test_verdicts_are_those_of_the_intervals(swept):
    found = referee_of(swept(TABLE))
    said = {one.name: one.verdict for one in found.compared}
    assert said == {"kept": PROTECTS, "same": NEITHER, "loud": MORE, "dull": ALONE}
    kept = found.compared[0]
    assert kept.beside == "slow float"
    theirs = ttest_rel(AUC, AUC - 0.05 + NOISE).confidence_interval(found.level)
    assert (kept.less.low, kept.less.high) == pytest.approx((theirs.low, theirs.high))
    assert found.level == pytest.approx(1 - 0.05 / (2 + 3 * 4 + 1))  # all that is said, at once
    assert "Yes: kept." in found.answer
    assert "ε 8 lowers the AUC" in found.answer
    assert "is drawn from an update of it alone by the inversion that was tried in: same." in (
        found.answer
    )
    assert found.answer.index("in: kept, loud, dull.") > found.answer.index("in: same.")


def test_nothing_is_said_of_a_point_nor_of_chance(swept):
    """A mean that is far less in one seed alone; and what only one interval of many would show."""
    wild = AUC - np.array([0.5, 0.0, 0.0, 0.0, 0.0])
    slight = AUC - np.array([0.03, 0.01, 0.02, 0.03, 0.01])
    assert ttest_rel(AUC, slight).pvalue < 0.05
    table = TABLE | {(n, "none"): (ACCURACY, v) for n, v in {"kept": wild, "same": slight}.items()}
    said = {one.name: one.verdict for one in referee_of(swept(table)).compared}
    assert said["kept"] == said["same"] == NEITHER
    assert referee_of(swept(TABLE, seeds=range(1))) is None


def test_a_float_net_that_leaks_nothing_leaves_nothing_to_protect(swept):
    quiet = {key: (accuracy, NULL + NOISE) for key, (accuracy, _) in TABLE.items()}
    said = {one.name: one.verdict for one in referee_of(swept(quiet)).compared}
    assert said == {"kept": QUIET, "same": QUIET, "loud": QUIET, "dull": ALONE}


def test_accuracy_must_be_shown_to_be_alike(swept, monkeypatch):
    """Not only not shown to be other: of few and scattered seeds nothing is."""
    scattered = ACCURACY + np.array([0.05, -0.05, 0.04, -0.04, 0.0])
    table = TABLE | {("kept", "none"): (scattered, AUC - 0.05)}
    assert referee_of(swept(table)).compared[0].verdict == ALONE
    monkeypatch.setattr(referee, "ALIKE", 1.0)
    assert referee_of(swept(table)).compared[0].verdict == PROTECTS


def test_the_page_says_so_at_its_top(swept):
    facts = swept(TABLE)
    page = Page(to_html(facts))
    assert any("Does the arithmetic protect?" in one for one in verdict(facts).sentences)
    (title,) = (title for title in page.tables if title.startswith("Means over 5 seeds"))
    assert page.value(title, "kept, no ε", "membership, AUC") == pytest.approx(AUC.mean() - 0.05)
    (title,) = (title for title in page.tables if title.startswith("Verdicts"))
    assert page.cell(title, "loud", "verdict on membership")[0] == MORE
