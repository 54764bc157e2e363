"""What a reader sees of drawn records: rows of tables in their units, recordings as curves."""

import json

import numpy as np
import owned
import pytest
import torch
from reported import Page

from attacks.settings import Attack
from clients.data.bounds import Column, Schema
from clients.data.sets import load
from clients.data.settings import Data
from server.adversary import adversaries
from server.adversary.pools import nature_of
from server.adversary.reconstruction.exhibits import POINTS, curve, written
from server.adversary.replay import replay
from server.commands.attack import attribute_table
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.report import gather, to_html, to_markdown

QUICK = Attack(shadows=4, candidates=60)
LEAKS = [
    "budget.unit=none", "training.sample_rate=0.5", "federation.rounds=1", "federation.clients=1",
    "data.name=file", "data.test_share=0.3", "data.held_out=0.3", "model.name=perceptron",
    "model.hidden=[32]",
]  # fmt: skip
HOSTILE = "<b>ill</b>|`*\x1b[2J\n" + "z" * 5000 + " of class 1"


def test_what_is_written_is_what_was_read(tmp_path):
    """Every kind of column, there and missing, back to the words and numbers of the file."""
    columns = {
        "age": Column(low=0.0, high=120.0, unit="years", knots=4),
        "dose": Column(low=0.0, high=1e6, log=True, missing=("NA",)),
        "ward": Column(values=("north", "south"), missing=("?",)),
        "sex": Column(values=("f", "m")),
    }
    rows = ["age,dose,ward,sex,state", "37.5,0,south,f,ill", "119,NA,?,m,well",
            "0,123456,north,m,ill", "80,999999,south,x,well"]  # fmt: skip
    path = owned.write_table(tmp_path / "t.csv", rows)
    schema = Schema(labels=("well", "ill"), columns=columns)
    dataset = load(Data(name="file", path=str(path), schema=schema, target=["state"]))
    nature = nature_of(dataset)
    records = dataset.encoding(torch.from_numpy(dataset.train_x))
    told = [
        [written(one, place, columns[place.name]) for place in nature.columns] for one in records
    ]
    assert told[0] == [37.5, 0.0, "south", "f"]
    assert told[1] == [119.0, "missing", "missing", "m"]
    assert told[2] == [pytest.approx(0, abs=1e-4), pytest.approx(123456, rel=1e-3), "north", "m"]
    assert told[3] == [80.0, pytest.approx(999999, rel=1e-3), "south", "missing"]


def test_a_curve_keeps_what_sticks_out():
    line = np.zeros(10_000)
    line[5003] = -0.8
    drawn = curve(line)
    assert len(drawn) == POINTS
    assert drawn.min() == -0.8
    assert (curve(line[:50]) == line[:50]).all()


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """An attacked run on a table whose class and column have hostile names; its folder."""
    folder = tmp_path_factory.mktemp("told")
    rng, rows = np.random.default_rng(0), ["weight,ward,state"]
    for _ in range(200):
        weight = f"{rng.uniform(40, 140):.1f}"
        rows.append(f"{weight},{rng.choice(['north', 'south'])},{rng.choice(['0', '1'])}")
    path = owned.write_table(folder / "t.csv", rows)
    names = ["<i>well</i>", HOSTILE]
    (folder / "s.toml").write_text(
        f'labels = ["0", "1"]\nnames = {json.dumps(names)}\n'
        '[columns.weight]\nlow = 40.0\nhigh = 140.0\nunit = "kg"\n'
        '[columns.ward]\nvalues = ["north", "south"]\n'
    )
    about = [f"data.path={path}", f"data.schema={folder / 's.toml'}", "data.target=state"]
    run = launch(load_experiment("tiny", [*LEAKS, *about]), folder / "runs", "table")
    adversaries.attack(run, QUICK, lambda _: None)
    weights = {float(row.partition(",")[0]) for row in rows[1:]}
    return folder / "runs", run, weights


def test_rows_of_a_table_stand_beside_the_original_and_a_stranger(told):
    folder, run, weights = told
    page = Page(to_html(gather(["table"], folder)))
    victims = [rows for title, rows in page.tables.items() if title.startswith("Victim ")]
    assert len(victims) == 3
    for rows in victims:
        assert [cell[0] for cell in rows[0]] == [
            "column", "original", "reconstruction", "nearest stranger"
        ]  # fmt: skip
        assert rows[1][0][0] == "weight, kg"
        original, drawn, stranger = (cell[1] for cell in rows[1][1:])
        assert round(original, 1) in weights
        assert drawn == pytest.approx(original, abs=0.1)  # nothing hides it
        assert round(stranger, 1) in weights
        assert rows[2][0][0] == "ward"
        assert rows[2][1][0] == rows[2][2][0]
        assert rows[2][1][0] in ("north", "south")
    found = run.leakage["inversion"]["exhibits"]
    assert set(found["classes"]) <= {"<i>well</i>", HOSTILE}


def test_hostile_names_of_classes_harm_neither_page_nor_terminal(told):
    """In every section of the page, as HTML and Markdown, and in the lines of the terminal."""
    folder, run, _ = told
    facts = gather(["table"], folder)
    html, markdown = to_html(facts), to_markdown(facts)
    body = html.partition("<main")[2]
    assert "<b>ill" not in html
    assert "<i>well" not in html
    assert "\x1b" not in html + markdown
    assert "z" * 100 not in body.partition("Settings and versions")[0]
    page = Page(html)
    (title,) = [t for t in page.tables if t.startswith("By class")]
    rows = page.tables[title]
    assert rows[1][0][0] == "<i>well</i>"
    assert rows[2][0][0].startswith("<b>ill</b>|`*")
    assert rows[2][0][0].endswith("of class 1")
    assert len(rows[2][0][0]) == 40
    (matrix,) = [rows for t, rows in page.tables.items() if t.startswith("What is taken for what")]
    counts = [[cell[1] for cell in row[1:]] for row in matrix[1:]]
    kept = run.kept("test.json")
    assert counts == kept["matrix"]
    assert "<script>" not in json.dumps(page.tables)
    (told_,) = [rows for t, rows in page.tables.items() if t.startswith("Members of which classes")]
    kept = {row["class"]: row for row in run.leakage["final_model"]["classes"]}
    assert set(kept) == {"<i>well</i>", HOSTILE}
    (well,) = [row for row in told_[1:] if row[0][0] == "<i>well</i>"]
    assert well[1][1] == kept["<i>well</i>"]["value"]
    y, member = tape_of(run)
    for number, name in enumerate(("<i>well</i>", HOSTILE)):
        assert kept[name]["members"] == (member & (y == number)).sum()


def tape_of(run):
    tape = replay(run)
    return tape.pool.y.numpy(), tape.member


def test_hidden_columns_of_hostile_names_are_short_in_the_terminal():
    figure = {"value": 0.25, "low": 0.125, "high": 0.375}
    about = {name: {"advantage": figure} for name in ("members", "non_members")}
    columns = {HOSTILE: about | {"of_membership": figure}}
    table = attribute_table(dict.fromkeys(("members", "non_members", "of_membership"), figure)
                            | {"columns": columns})  # fmt: skip
    cells = list(table.columns[0].cells)
    assert len(cells[1]) == 40
    assert "\x1b" not in cells[1]


def test_recordings_are_curves_in_their_units(tmp_path):
    rng, rows = np.random.default_rng(0), ["label,x,y"]
    for label in (1, 2, 1, 2):
        rows += [f"{label},{x:.3f},{y:.3f}" for x, y in rng.uniform(-20, 20, (800, 2))]
    path = owned.write_table(tmp_path / "t.csv", rows)
    (tmp_path / "s.toml").write_text(
        'labels = ["1", "2"]\nnames = ["walk", "run"]\nrate_hz = 8.0\n'
        '[columns.x]\nlow = -20.0\nhigh = 20.0\nunit = "m/s2"\n'
        "[columns.y]\nlow = -20.0\nhigh = 20.0\n"
    )
    about = [f"data.path={path}", f"data.schema={tmp_path / 's.toml'}", "data.target=label",
             "data.windows.length=16", "data.windows.step=16"]  # fmt: skip
    run = launch(load_experiment("tiny", [*LEAKS, *about]), tmp_path / "runs", "windows")
    adversaries.attack(run, QUICK, lambda _: None)
    facts = gather(["windows"], tmp_path / "runs")
    shown = facts.runs[0].leakage.likenesses[0].exhibits
    assert shown.columns == (("x", "m/s2"), ("y", ""))
    assert (shown.length, shown.unit) == (2.0, "seconds")
    original, drawn, _ = shown.curves[0]
    samples = {tuple(map(float, row.split(",")[1:])) for row in rows[1:]}
    pairs = zip(*original, strict=True)
    assert all(any(abs(x - a) + abs(y - b) < 0.01 for a, b in samples) for x, y in pairs)
    assert np.allclose(original, drawn, atol=0.5)
    assert set(shown.classes) <= {"walk", "run"}
    page = Page(to_html(facts))
    assert any(title.startswith("Victim 1, class ") for title in page.tables)
    assert "m/s2" in page.words
