"""`privet report`: what it says is what the run directories hold, and nothing else."""

import json
import math
import random
import re

import pytest
from reported import HOSTILE, Page, copy

from server.report import figures, gather, to_html, to_json, to_markdown, verdict
from server.report.facts.groups import front, groups_of, over_seeds, prices_of
from server.report.forms.html import _policy
from server.report.words.units import number, percent, si, text
from server.run.directory import Run
from server.run.summary import summarise


def told(folder, name):
    return json.loads((folder / name).read_text())


# ---- numbers


def test_numbers_on_the_page_are_those_of_the_run(folder):
    run = Run.open(folder / "whole")
    facts = gather(["whole", "free", "bare"], folder)
    page, whole = Page(to_html(facts)), facts.runs[0].label
    summary, leak = summarise(run), told(folder, "whole/leakage.json")

    assert page.value("All runs", whole, "accuracy") == run.rounds[-1].accuracy
    assert page.value("All runs", whole, "ε spent") == summary.epsilon
    claims = "What was promised, spent and proven"
    audit = told(folder, "whole/audit.json")
    assert page.value(claims, whole, "ε claimed for the audited steps") == audit["epsilon"]
    best = max(bound["epsilon"] for bound in audit["bounds"])
    assert page.value(claims, whole, "ε proven by canaries, at least") == best
    assert page.value(claims, whole, "noise multiplier") == summary.noise_multiplier
    assert page.value(claims, whole, "δ") == 1e-5
    assert page.cell(claims, whole, "δ")[0] == "10⁻⁵"

    rows = page.tables["Membership, by adversary"][1:]
    mine = {cells[1][0]: cells for cells in rows if cells[0][0] == whole}
    final = leak["final_model"]
    auc = final["attacks"][final["chosen_on_shadows"]["auc"]]["auc"]
    shown, exact = mine["whoever has the last model"][3]
    assert exact == auc["value"]
    assert shown == f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
    server = leak["server"][leak["server"]["reported"]]
    assert mine["the server"][3][1] == server["auc"]["value"]
    assert mine["the server"][4][1] == server["tpr_at_1_percent"]["value"]

    cost = told(folder, "whole/cost.json")
    steps = [cells for cells in page.tables["An inference and a training step"][1:]]
    assert [cells[3][1] for cells in steps] == [c["inference"]["latency_s"] for c in cost]
    assert [cells[7][1] for cells in steps] == [c["step"]["energy_j"] for c in cost]
    rounds = page.tables["A federated round"][1:]
    assert [cells[3][1] for cells in rounds] == [c["round"]["latency_s"] for c in cost]

    asked = told(folder, "whole/inference.json")
    bytes_table = page.tables["Agreement and bytes"]
    assert [cells[0][0] for cells in bytes_table[1:]] == ["CKKS", "boolean"]
    assert page.value("Agreement and bytes", "CKKS", "question") == asked["ckks"]["upload_bytes"]
    agreement = page.cell("Agreement and bytes", "CKKS", "same answer (95 %)")
    assert agreement == ("95.0 % (76.4 to 99.1)", 0.95)
    assert page.cell("Time by step", "boolean", "whole answer") == ("2.51 s", 2.51)

    federation = page.tables[f"Clients of {whole}"][1:]
    assert len(federation) == 4
    manifest = run.manifest
    own = [int((manifest.owner[~manifest.held_out] == c).sum()) for c in range(4)]
    assert [cells[1][1] for cells in federation] == own
    spent = [ledger.epsilon(1e-5) for _, ledger in sorted(run.ledgers.items())]
    assert [cells[6][1] for cells in federation] == spent
    settings = dict(facts.runs[0].settings)
    assert settings["training.learning_rate"] == "1.0"
    assert all(f"privet run {r.path}/experiment.toml" in page.words for r in facts.runs)


def test_a_shown_number_is_the_exact_one_rounded(folder):
    """Every number of every table: what is shown is what is kept, to its last digit."""
    page = Page(to_html(gather(["whole", "free", "bare"], folder)))
    prefixes = dict(zip("pnµmkMGT", [1e-12, 1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9, 1e12], strict=True))
    units = ("s", "J", "B", "MAC", "op/s", "B/s")
    seen = 0
    for rows in page.tables.values():
        for shown, exact in (cell for row in rows for cell in row):
            if exact is None or not math.isfinite(exact) or "×" in shown or "10⁻" in shown:
                continue
            first, _, rest = shown.replace("−", "-").replace(",", "").partition("\u00a0")
            word = rest.split(" (")[0]
            factor = 0.01 if word == "%" else 1.0
            if word.endswith(units) and word[:1] in prefixes and word not in units:
                factor = prefixes[word[0]]
            digits = first.split(" (")[0]
            last = 10.0 ** -len(digits.partition(".")[2]) * factor
            points = any("points" in cell[0] for cell in rows[0]) and abs(exact) < 1
            value = float(digits) * factor
            assert abs(value - exact) <= 0.51 * last or points, (shown, exact)
            seen += 1
    assert seen > 300


def test_json_and_markdown_tell_the_same(folder):
    facts = gather(["whole", "free"], folder)
    found = json.loads(to_json(facts))
    assert found["verdict"]["sentence"] == verdict(facts).sentence
    run = found["runs"][0]
    assert run["accuracy"] == facts.runs[0].accuracy
    assert run["settings"]["federation.rounds"] == "2"
    assert run["audit"]["epsilon"] == told(folder, "whole/audit.json")["epsilon"]
    assert run["leakage"]["robustness"]["as trained"]["clean"]["value"] <= 1
    assert run["encrypted"][0]["times_ms"]["encrypt"] == 4.5
    assert "png" not in run["leakage"]["likenesses"][0]
    markdown = to_markdown(facts)
    page = Page(to_html(facts))
    said = verdict(facts)
    assert said.sentence.replace("\u00a0", " ") in page.words
    assert said.sentence.replace("\u00a0", " ") in markdown.replace("\u00a0", " ")
    for caption in ("All runs", "Membership, by adversary"):
        for row in page.tables[caption][1:]:
            for shown, exact in row:
                assert exact is None or shown in markdown


def test_units():
    assert text(si(0.0123, "s")) == "12.3\u00a0ms"
    assert text(si(999.7e-6, "s")) == "1.00\u00a0ms"
    assert text(si(1_234_567, "B")) == "1.23\u00a0MB"
    assert text(si(0.0, "J")) == "0\u00a0J"
    assert text(percent(-0.0123)) == "−1.23\u00a0%"
    assert text(number(1e-5)) == "10⁻⁵"
    assert text(number(0.0001234)) == "1.23\u00a0×\u00a010⁻⁴"
    assert text(number(2.9976)) == "3.00"
    assert text(number(math.inf)) == "infinite"
    assert text(number(None)) == "–"


# ---- comparisons


def test_the_interval_over_seeds_is_students():
    found = over_seeds([0.90, 0.92, 0.94])
    half = 4.302652729911275 * 0.02 / math.sqrt(3)  # t of two degrees of freedom, from a table
    assert found.value == pytest.approx(0.92)
    assert (found.low, found.high) == pytest.approx((0.92 - half, 0.92 + half))
    alone = over_seeds([0.9])
    assert alone.low == alone.high == 0.9


def test_the_front_is_what_no_other_beats():
    rng = random.Random(0)
    for _ in range(50):
        points = [(rng.randrange(8) / 8, rng.randrange(8) / 8) for _ in range(12)]
        best = {points[i] for i in front(points)}
        beaten = {
            p for p in points if any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)
        }
        assert best == set(points) - beaten


def test_the_price_is_held_against_the_same_model_without_a_promise(folder):
    facts = gather(["whole", "free", "bare"], folder)
    (price,) = prices_of(groups_of(facts.runs))  # bare computes in other numbers than free
    whole, free = facts.runs[:2]
    assert price.points == free.accuracy - whole.accuracy
    shown = f"{price.points * 100:.2f} points of accuracy".replace("-", "−")
    assert shown in verdict(facts).sentence


def test_seeds_of_a_setting_are_one_group(folder):
    copy(folder / "whole", "again", experiment=("seed = 0\ntitle", "seed = 1\ntitle"))
    groups = groups_of(gather(["whole", "again", "free"], folder).runs)
    assert [len(group.runs) for group in groups] == [2, 1]
    assert {run.label for run in groups[0].runs} == {
        "ε 8, float, s0",
        "ε 8, float, s1",
    }


# ---- hostile text


def test_text_of_a_run_never_becomes_markup(folder):
    hostile = json.dumps(HOSTILE)
    run = copy(
        folder / "whole",
        "hostile",
        experiment=('title = "tiny"', f"title = {hostile}"),
        environment=('"platform"', f'{hostile}: "x", "platform"'),
    )
    told_ = told(folder, "hostile/environment.json")
    run.keep("environment.json", told_ | {"platform": HOSTILE, "command": ["privet", HOSTILE]})
    audit = told(folder, "hostile/audit.json")
    audit["checks"][0]["measured"] = audit["bounds"][0]["name"] = HOSTILE
    run.keep("audit.json", audit)
    costs = told(folder, "hostile/cost.json")
    costs[0]["chip"] = costs[0]["step"]["rows"][0]["layer"] = HOSTILE
    run.save_costs(costs)
    leak = told(folder, "hostile/leakage.json")
    leak["secure_sum"] = {"left_out": HOSTILE}
    run.keep("leakage.json", leak)
    run.keep("inference.json", {HOSTILE: told(folder, "whole/inference.json")["ckks"]})
    facts = gather(["hostile", "whole", "bare"], folder)
    html = to_html(facts)
    page = Page(html)
    assert html.count("<script") == page.tags.count("script") == 2
    assert page.tags.count("img") == html.count('<img src="data:image/png;base64,')
    assert HOSTILE in page.tables["Machines and versions"][1][2][0]
    markdown = to_markdown(facts)
    outside = [line for line in markdown.splitlines() if not line.startswith("    ")]
    assert not any("<" in line.replace("\\<", "") for line in outside)
    assert json.loads(to_json(facts))["runs"][0]["name"] == "hostile"


def test_pictures_come_from_the_run_only(folder):
    secret = folder.parent / "secret.png"
    secret.write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    leak = told(folder, "whole/leakage.json")
    leak["inversion"]["picture"] = "../../secret.png"
    Run.open(folder / "whole").keep("leakage.json", leak)
    (run,) = gather(["whole"], folder).runs
    assert run.leakage is None
    assert run.damaged == (("leakage.json", "it is not as privet writes it"),)


def test_the_policy_names_the_scripts_it_allows():
    assert "'sha256-" in _policy("a", "b")
    assert "unsafe-inline" not in _policy("a", "b").split("style-src")[0]
    assert _policy("a", "b").startswith("default-src 'none'")


# ---- figures, size and the command


def drawn(panel):
    """Marks of a panel: its words and where they stand, from the left and from above."""
    found = re.findall(r"<title>(.*?)</title><(circle|polygon) (.*?)/>", panel)
    return [(words, *map(float, re.findall(r"[-\d.]+", at)[:2])) for words, _, at in found]


def test_figures_draw_what_was_found(folder):
    facts = gather(["whole", "free", "bare"], folder)
    whole = facts.runs[0]
    shown = figures.pareto(facts.runs)
    (mark,) = [mark for panel in shown.panels for mark in drawn(panel) if "ε 8" in mark[0]]
    leak = whole.leakage.strongest.auc.value
    assert f"accuracy {100 * whole.accuracy:.0f}" in mark[0]
    assert f"{leak:.1f}" in mark[0]
    assert all('role="img"' in panel and "aria-label" in panel for panel in shown.panels)
    assert shown._repr_html_().startswith("<style>")
    step = whole.costs[0].step
    points = [p for p in step.phases if p.intensity]
    (roof,) = figures.roofline(step).panels
    marks = drawn(roof)
    assert len(marks) == len(points)
    by_rate = [
        m[2] for _, m in sorted(zip([p.operations_per_s for p in points], marks, strict=True))
    ]
    assert by_rate == sorted(by_rate, reverse=True)  # faster is higher
    assert len(figures.rounds(whole).panels) == 3
    curves = [(a.name, a) for a in whole.leakage.played]
    assert len(figures.roc(curves).panels) == len(curves)


def test_two_hundred_runs_fit(folder):
    for i in range(200):
        copy(
            folder / "whole",
            f"copy-{i}",
            experiment=(
                "seed = 0\ntitle",
                f"seed = {i % 5}\ntitle",
            ),
            leakage=('"epsilon_claimed"', f'"number": {i}, "epsilon_claimed"'),
        )
    names = [f"copy-{i}" for i in range(200)]
    facts = gather(names, folder)
    assert len(facts.runs) == 200
    html = to_html(facts)
    assert len(html.encode()) < 6e6
    page = Page(html)
    assert {cells[1][0] for cells in page.tables["All runs"][1:]} == set(names)


def test_the_command_writes_where_it_is_told(privet, tmp_path):
    target = tmp_path / "deep/mine.html"
    status, out, _ = privet("report", "whole", "-o", str(target))
    assert (status, out.strip()) == (0, str(target))
    assert target.read_text().startswith("<!DOCTYPE html>")
    status, out, _ = privet("report", "latest", "--format", "md")
    assert status == 0
    assert out.startswith("# Privacy, utility and cost")
    status, _, err = privet("report", "nothing-of-that-name")
    assert status == 2
    assert "not a run directory" in err
