"""The verdict, and what is missing, failed or damaged."""

import json
from dataclasses import replace

import pytest
from reported import HOSTILE, Page, make_sweep

from privacy.errors import RunError
from server.report import gather, to_html, verdict
from server.report.facts.gaps import is_baseline
from server.report.words.verdict import contradictions, holds

# ---- the verdict


def test_the_verdict_says_what_the_evidence_says(folder):
    whole, free, bare = gather(["whole", "free", "bare"], folder).runs
    assert holds(whole) is True
    assert holds(bare) is None
    alone = gather(["whole"], folder)
    assert verdict(alone).state == "held"
    assert verdict(replace(alone, runs=(bare,))).state == "untested"
    assert "not known: nobody audited it" in verdict(replace(alone, runs=(bare,))).sentence
    assert verdict(replace(alone, runs=(free,))).state == "none"

    checks = {check.name: check for check in whole.audit.checks}
    failing = replace(checks["sensitivity"], passed=False)
    audit = replace(whole.audit, passed=False, checks=(failing,))
    broken = replace(whole, audit=audit)
    assert holds(broken) is False
    said = verdict(replace(alone, runs=(broken,)))
    assert said.state == "broken"
    assert "sensitivity" in said.sentence

    lucky = replace(whole.audit.best, epsilon=whole.audit.epsilon + 0.1)
    by_chance = replace(whole, audit=replace(whole.audit, bounds=(lucky,)))
    said = verdict(replace(alone, runs=(by_chance,)))
    assert said.state == "held"
    assert "as chance may have it" in " ".join(said.reasons)
    assert "as chance may have it" not in " ".join(verdict(alone).reasons)

    loud = replace(whole.leakage.adversaries[0], epsilon=whole.epsilon + 1)
    proven = replace(whole, leakage=replace(whole.leakage, adversaries=(loud,)))
    assert "an attack proves" in contradictions(proven)[0]
    overspent = replace(whole, epsilon=9.0)
    assert "was spent" in contradictions(overspent)[0]
    html = to_html(replace(alone, runs=(overspent,)))
    assert '<div class="verdict broken">' in html
    assert "BROKEN" in html


def test_what_is_a_run_without_a_promise_to_compare_with(folder):
    runs = {run.name: run for run in gather(["whole", "free"], folder).runs}
    private, free = runs["whole"], runs["free"]

    def changed(**settings):
        of = {key.replace("_", ".", 1): value for key, value in settings.items()}
        return replace(free, group=tuple((k, of.get(k, v)) for k, v in free.group))

    assert is_baseline(free, private)
    assert not is_baseline(private, private)
    assert is_baseline(changed(training_learning_rate="9"), private)
    assert not is_baseline(changed(model_name="another"), private)
    steep = replace(free, group=(*free.group, ("arithmetic.slope", "10.0")))
    assert is_baseline(steep, private)
    words = replace(free, group=(*free.group, ("arithmetic.bits", "2")))
    assert not is_baseline(words, private)


# ---- what is missing, failed or damaged


def test_missing_parts_are_named_with_their_commands(folder):
    facts = gather(["bare"], folder)
    parts = {m.part: m.commands for m in facts.missing}
    assert parts["attack"] == ("privet attack bare",)
    assert parts["audit"] == ("privet audit bare",)
    assert parts["cost"] == ("privet cost bare --chip eyeriss",)
    assert parts["baseline"] == (
        f"privet run {folder / 'bare/experiment.toml'} -s budget.unit=none",
    )
    page = Page(to_html(facts))
    for commands in parts.values():
        assert all(command in page.words for command in commands)
    assert "No run was attacked" in page.words
    assert "No chip was asked" in page.words
    assert not any("Membership" in caption for caption in page.tables)
    assert not {m.part for m in gather(["whole", "free"], folder).missing} & {"audit", "baseline"}


def test_an_unfinished_run_says_so(folder):
    path = folder / "whole/rounds.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    facts = gather(["whole"], folder)
    assert ("privet resume whole",) in [m.commands for m in facts.missing]
    assert "1 of 2" in Page(to_html(facts)).words


def test_a_sweep_shows_its_failed_cells(folder, privet):
    make_sweep(folder)
    facts = gather(["grid"], folder)
    assert [run.name for run in facts.runs] == ["whole", "free", "bare"]
    page = Page(to_html(facts))
    (failed,) = page.tables["Failed cells: 1 of 5"][1:]
    assert failed[0][0] == "budget.epsilon=3, arithmetic.name=float"
    assert failed[2][0] == f"no noise is enough {HOSTILE}"
    (stage,) = page.tables["Failed stages"][1:]
    assert [cell[0] for cell in stage][1:] == ["cost", "the chip melted"]
    (undone,) = page.tables["Cells not done: 1"][1:]
    assert undone[2][0] == "pending"
    assert "1 of 5 cells of the sweep failed." in page.words
    assert "1 of 5 cells of the sweep not done yet." in page.words
    status, out, _ = privet("report", "grid.sweep", "--format", "json")
    assert status == 0
    assert [cell["status"] for cell in json.loads(out)["cells"]].count("failed") == 1


@pytest.mark.parametrize(
    "damage", ['{"final_model": {"auc": 3}}', "[1, 2", '{"final_model": null}', "NaN"]
)
def test_a_damaged_part_is_named_and_not_guessed(folder, damage):
    for name in ("leakage.json", "audit.json", "cost.json", "inference.json"):
        (folder / "whole" / name).write_text(damage)
    facts = gather(["whole"], folder)
    (run,) = facts.runs
    assert (run.leakage, run.audit, run.costs, run.encrypted) == (None, None, (), ())
    assert set(dict(run.damaged)) == {"leakage.json", "audit.json", "cost.json", "inference.json"}
    assert "Files that cannot be read" in Page(to_html(facts)).tables


def test_a_damaged_run_does_not_take_the_others_with_it(folder):
    (folder / "bare/rounds.jsonl").write_text("{}\n")
    facts = gather(["whole", "bare"], folder)
    assert [run.name for run in facts.runs] == ["whole"]
    (row,) = Page(to_html(facts)).tables["Run directories that cannot be read"][1:]
    assert row[0][0] == "bare"
    assert "line 1 is not a whole record" in row[1][0]
    with pytest.raises(RunError, match="line 1 is not a whole record"):
        gather(["bare"], folder)


def test_failures_of_clients_are_told(folder):
    path = folder / "bare/rounds.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["clients"][2] |= {"failure": f"out of memory {HOSTILE}", "refused": False}
    lines[1]["clients"][3] |= {"failure": "it would overspend", "refused": True}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    facts = gather(["bare"], folder)
    page = Page(to_html(facts))
    rows = page.tables[f"Failures of clients of {facts.runs[0].label}"][1:]
    assert [(r[0][0], r[1][1], r[2][0]) for r in rows] == [("2", 2, "failed"), ("2", 3, "refused")]
    assert rows[0][3][0] == f"out of memory {HOSTILE}"
    assert "Clients failed 2 times." in page.words
