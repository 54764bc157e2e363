"""What a report tells of persons, hidden columns and records that are no pictures."""

import json

from reported import HOSTILE, Page, copy

from privacy.text import shown as short
from server.commands.attack import attribute_table, membership_table, reconstruction_table
from server.commands.runs import show
from server.report import gather, to_html, to_markdown
from server.report.facts.leaks import leakage
from server.report.words.leaks import leaks_of

FIGURE = {"value": 0.25, "low": 0.125, "high": 0.375}
OF_COLUMN = {
    name: {"with_model": 0.5, "without": 0.25, "advantage": FIGURE}
    for name in ("members", "non_members")
}
HIDDEN = {name: FIGURE for name in ("members", "non_members", "of_membership")} | {
    "columns": {HOSTILE: OF_COLUMN | {"values": 3, "of_membership": FIGURE}}
}
PERSONS = {"auc": FIGURE, "members": 21, "non_members": 9, "against": "persons of the test set"}
DRAWN = {
    "method": "analytic", "victims": 32, "figure": "columns", "p_nearer_than_strangers": 0.25,
    "reconstruction": {"columns": 0.875}, "nearest_stranger": {"columns": 0.5},
    "class_mean": {"columns": 0.375}, "nearer_by": {"value": 0.375, "low": -0.125, "high": 0.875},
}  # fmt: skip


def test_tables_and_persons_are_shown_as_such(folder):
    run = copy(folder / "whole", "of-a-table")
    found = json.loads((run.path / "leakage.json").read_text())
    found["final_model"]["persons"] = PERSONS
    found |= {"attributes": HIDDEN, "inversion": DRAWN, "generators": {"left_out": "no pictures"}}
    run.keep("leakage.json", found)
    facts = gather(["of-a-table"], folder)
    html = to_html(facts)
    page, label = Page(html), facts.runs[0].label
    persons = "Was a person trained on? Guessed from the last model and all of their records"
    assert page.value(persons, label, "AUC over persons (95 %)") == 0.25
    assert page.cell(persons, label, "members and strangers")[0] == "21 and 9"
    (hidden,) = [rows for title, rows in page.tables.items() if title.startswith("A hidden column")]
    assert [row[0][0] for row in hidden[1:]] == ["all, on the mean", short(HOSTILE)]
    assert hidden[2][1][1] == 0.25
    (drawn,) = [rows for title, rows in page.tables.items() if "one record, one step" in title]
    assert drawn[1][0][0] == "share of columns recovered"
    assert [cell[1] for cell in drawn[1][1:]] == [0.875, 0.5, 0.375, 0.375]
    assert HOSTILE not in html
    assert "share of columns recovered" in to_markdown(facts)

    assert membership_table(found).row_count == 6
    assert reconstruction_table(found).row_count == 1
    cells = [next(iter(column.cells)) for column in reconstruction_table(found).columns]
    assert cells[1] == "share of columns recovered"
    assert cells[4:] == ["32", "0.375 (-0.125 to 0.875)", "0.250"]
    assert attribute_table(HIDDEN).row_count == 2


def test_a_generator_stands_beside_its_prior_and_its_warning(folder):
    found = json.loads((folder / "whole/leakage.json").read_text())
    found["generators"]["server"]["warning"] = "collapsed: its images are more alike"
    facts = leakage(found, lambda _: b"")
    (one,) = [drawn for drawn in facts.likenesses if drawn.name == "generator_server"]
    about = found["generators"]["server"]
    assert one.measures[0][1][2] == about["frechet_own_records_to_victim"]
    told = leaks_of(facts)["drawn from updates"]
    assert f"the adversary’s own records {one.measures[0][1][2]:.2f}), collapsed" in told
    run = copy(folder / "whole", "collapsed")
    run.keep("leakage.json", found)
    assert "Beware, it collapsed: its images are more alike." in to_html(
        gather([run.path.name], folder)
    )


def test_persons_that_were_not_told_apart_say_why(folder):
    run = copy(folder / "whole", "of-few")
    found = json.loads((run.path / "leakage.json").read_text())
    found["final_model"]["persons"] = {"left_out": "2 persons were trained on"}
    run.keep("leakage.json", found)
    page = Page(to_html(gather(["of-few"], folder)))
    assert "not played: 2 persons were trained on" in page.words


def test_show_tells_what_leaks_in_a_line_each(folder, capsys):
    run = copy(folder / "whole", "shown")
    found = json.loads((run.path / "leakage.json").read_text())
    found["final_model"]["persons"] = PERSONS
    found |= {"attributes": HIDDEN, "inversion": DRAWN, "generators": {"left_out": "no pictures"}}
    run.keep("leakage.json", found)
    show("shown", as_json=True, runs=folder)
    told = json.loads(capsys.readouterr().out)
    assert told["membership"].startswith("AUC 0.")
    assert told["persons"] == (
        "AUC 0.250 (0.125 to 0.375) (21 trained on, 9 persons of the test set)"
    )
    assert f"most of {short(HOSTILE)} +25.0 (+12.5 to +37.5)" in told["hidden columns"]
    drawn = "88% of columns right, strangers and the class's mean at best 50% of columns right"
    ahead = "nearer by +0.375, 95 % interval -0.125 to +0.875; p = 0.25"
    assert f"by inversion of 32 victims {drawn} ({ahead})" in told["drawn from updates"]
    assert "no generator: no pictures" in told["drawn from updates"]
    show("shown", runs=folder)
    shown = capsys.readouterr().out
    assert all(line in shown for line in told if line in ("membership", "hidden columns"))

    found["inversion"] = DRAWN | {"victims": "many"}
    run.keep("leakage.json", found)
    show("shown", as_json=True, runs=folder)
    told = json.loads(capsys.readouterr().out)
    assert told["attacked"].startswith("leakage.json cannot be read: 'many' is not a count")
    assert "membership" not in told
