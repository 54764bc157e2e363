"""What runs are compared by: short names, figures in the digits that intervals justify, and what
changed since another report."""

import json
import re
from dataclasses import replace

import pytest
from reported import HOSTILE, Page, copy

from privacy.errors import RunError
from server.inference.demo import wilson
from server.report import gather, marks_of, read_marks, since, to_html, to_json, to_markdown
from server.report.facts.findings import Interval
from server.report.facts.scores import scores_of
from server.report.facts.since import less
from server.report.page.dossiers import targets
from server.report.page.matrix import as_table, matrix_of
from server.report.words.labels import labelled
from server.report.words.units import estimate, text


@pytest.fixture
def facts(folder):
    return gather(["whole", "free", "bare"], folder)


def named(run, name, **settings):
    of = {key.replace("_", ".", 1): value for key, value in settings.items()}
    return replace(run, name=name, group=tuple((dict(run.group) | of).items()))


def test_names_are_short_and_each_another(facts):
    run = facts.runs[0]
    many = [
        named(
            run, f"{i}-{rate}", model_name=model, training_learning_rate=rate, data_alpha=f"0.{i}"
        )
        for i in range(4)
        for rate in ("0.123456789", "0.1234567891")
        for model in ("perceptron", "a-model-of-a-long-name")
    ]
    found = list(labelled([*many, *(replace(one, seed=12, epsilon=9.5) for one in many)]))
    labels = [one.label for one in found]
    assert max(map(len, labels)) <= 24
    assert len(set(labels)) == len(labels)
    plain = list(labelled([run, replace(run, promise=0.25)]))
    assert [one.label for one in plain] == ["ε 8, float", "ε 0.25, float"]


def test_what_only_a_promise_asks_for_is_no_part_of_a_name(facts):
    """A learning rate that is chosen anew without a promise does not part a row in two."""
    private, free = facts.runs[:2]
    other = named(free, "other", training_learning_rate="0.5")
    assert len({one.series for one in labelled([private, other])}) == 1
    other = named(free, "other", model_name="convnet")
    assert len({one.series for one in labelled([private, other])}) == 2


@pytest.mark.parametrize(
    ("interval", "unit", "said"),
    [
        (Interval(0.9612, 0.9575, 0.9646), "%", ("96.1\u00a0%", "95.8 to 96.5")),
        (Interval(0.5754, 0.51, 0.638), "", ("0.58", "0.51 to 0.64")),
        (Interval(-0.02, -0.19, 0.15), "%", ("−2\u00a0%", "−19 to 15")),
        (Interval(0.1, 0.0999, 0.1001), "%", ("10.00\u00a0%", "9.99 to 10.01")),
        (Interval(6.929, 6.929, 6.929), "s", ("6.93\u00a0s", "")),
        (Interval(2.4512, 2.4512, 2.4512), "", ("2.45", "")),
    ],
)
def test_figures_have_the_digits_that_intervals_justify(interval, unit, said):
    assert estimate(interval, unit) == said


def test_the_matrix_says_what_the_run_directories_hold(facts, folder):
    whole, free, bare = facts.runs
    matrix = matrix_of(facts.runs, targets(facts.runs))
    assert matrix.columns == ("no ε", "ε 8", "ε 3")
    cells = {
        (band.axis.key, row.series, column): cell
        for band in matrix.bands
        for row in band.rows
        for column, cell in zip(matrix.columns, row.cells, strict=True)
    }
    told = json.loads((folder / "whole/test.json").read_text())["figures"]["accuracy"]
    accuracy = cells["reached accuracy", whole.series, "ε 8"].score.interval
    assert vars(accuracy) == told
    assert accuracy.value == whole.accuracy
    leak = cells["auc", whole.series, "ε 8"]
    assert leak.score.interval == whole.leakage.strongest.auc
    assert leak.target == "run-0-leakage"
    assert 0 <= leak.low <= leak.at <= leak.high <= 1
    proven = cells["proven", whole.series, "ε 8"]
    assert (proven.score.interval.value, proven.score.limit) == (
        whole.audit.best.epsilon,
        whole.audit.epsilon,
    )
    absent = {band.axis.key: band.absent for band in matrix.bands}
    assert absent["proven"] == f"not audited: {bare.series}"
    assert absent["auc"] == f"not attacked: {bare.series}"
    most = [s for s in scores_of(facts.runs) if s.state == "most"]
    worst = max((whole, free), key=lambda run: run.leakage.strongest.auc.value)
    assert [score.run for score in most] == [worst.name]
    cost = whole.costs[1]
    device = cells[f"time {cost.short}", whole.series, "ε 8"]
    assert device.score.interval.value == cost.round.latency_s
    assert text(as_table(matrix).rows[0][1]) in to_markdown(facts)


def test_a_failed_audit_and_what_does_not_fit_are_on_the_first_screen(facts):
    whole = facts.runs[0]
    check = replace(whole.audit.checks[0], name="sensitivity", passed=False)
    small = replace(whole.costs[0], step=replace(whole.costs[0].step, fits=False))
    audit = replace(whole.audit, passed=False, checks=(check,))
    page = Page(to_html(replace(facts, runs=(replace(whole, audit=audit, costs=(small,)),))))
    (rows,) = (rows for title, rows in page.tables.items() if title.startswith("Figures and their"))
    said = " ".join(cell[0] for row in rows for cell in row)
    assert "FAILED: sensitivity" in said
    assert "does not fit: step" in said


# ---- what changed


def test_a_difference_has_newcombes_interval():
    """56 of 70 less 48 of 80 (Newcombe, Stat. Med. 1998, table II, method 10): 0.0524 to 0.3339."""
    shares = [Interval(hits / of, *wilson(hits, of)) for hits, of in ((56, 70), (48, 80))]
    found = less(*shares)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_only_what_changed_beyond_its_interval_is_called_changed(facts, tmp_path):
    before, as_json = tmp_path / "before.html", tmp_path / "before.json"
    before.write_text(to_html(facts))
    as_json.write_text(to_json(facts))
    marks = read_marks(before)
    assert marks == read_marks(as_json) == marks_of(facts.runs)
    same = since("before.html", marks, marks_of(facts.runs))
    assert {change.beyond for change in same.changes} == {False}

    whole, free, _ = facts.runs
    better = replace(whole, accuracy=0.9, reached=None)
    slower = replace(whole.costs[0].round, latency_s=whole.costs[0].round.latency_s * 1.01)
    better = replace(better, costs=(replace(whole.costs[0], round=slower),))
    found = since("before.html", marks, marks_of((better, free)))
    changed = {change.now.axis for change in found.changes if change.beyond}
    assert changed == {"reached accuracy", f"time {whole.costs[0].short}"}
    assert any("fixed" in name for name in found.gone)
    page = Page(to_html(replace(facts, runs=(better, free)), found))
    assert f"2 of {len(found.changes)} figures changed" in page.words
    rows = page.tables["Then and now: before.html"]
    assert [row[4][0] for row in rows[1:4]] == ["changed", "changed", "within chance"]
    assert found.sentence in json.loads(to_json(facts, found))["since"]["sentence"]


@pytest.mark.parametrize(
    "told",
    ["", "<html></html>", "{}", '{"scores": 3}', '{"scores": [{"axis": "auc"}]}', "\ud800", "[1",
     '{"scores": [{"axis": "auc", "work": "", "name": "", "unit": "%", "value": NaN, "low": 0, '
     '"high": 1}]}'],
)  # fmt: skip
def test_what_is_no_report_is_refused_in_a_line(tmp_path, told):
    path = tmp_path / "old.html"
    path.write_bytes(told.encode(errors="surrogatepass"))
    with pytest.raises(RunError, match=r"no figures of a report are in it") as refused:
        read_marks(path)
    assert "\n" not in str(refused.value)


def test_two_reports_are_compared_by_the_command(privet, folder, tmp_path):
    page, target = tmp_path / "old.html", tmp_path / "new.md"
    assert privet("report", "whole", "-o", str(page))[0] == 0
    told = ["report", "free", "--since", str(page), "--format", "md", "-o", str(target)]
    assert privet(*told)[0] == 0
    assert "Since old.html, 0 of 0 figures changed" in target.read_text()
    assert privet("report", "whole", "--since", "whole", "-o", str(target))[0] == 0
    status, out, _ = privet("report", str(page), "--since", str(page))
    assert (status, out.partition("\n")[0]) == (0, "# What changed")
    assert "| within chance |" in out
    status, _, err = privet("report", "whole", "--since", str(folder / "whole/log.txt"))
    assert (status, err.count("\n")) == (2, 1)
    assert re.search("no figures of a report", err)
    status, _, err = privet("report", "whole", "--pdf", "--format", "md")
    assert (status, err.count("\n")) == (2, 1)


def test_scores_that_a_page_carries_run_nothing(facts):
    hostile = replace(facts.runs[0].costs[0], chip=HOSTILE)
    html = to_html(replace(facts, runs=(replace(facts.runs[0], costs=(hostile,)),)))
    assert html.count("<script") == html.count("</script>") == 2


def test_a_work_is_known_again_whatever_defaults_are_written(folder):
    """As it was told by a version that did not know a setting yet; not with another number."""
    again = copy(folder / "whole", "again", experiment=("seed = 0\ntitle", "seed = 3\ntitle"))
    settings = again.path / "experiment.toml"
    told = settings.read_text()
    assert "\nmomentum = 0.0\n" in told
    settings.write_text(told.replace("\nmomentum = 0.0\n", "\n"))
    copy(folder / "whole", "other", experiment=("momentum = 0.0", "momentum = 0.5"))
    whole, same, other = gather(["whole", "again", "other"], folder).runs
    assert whole.work == same.work != other.work
