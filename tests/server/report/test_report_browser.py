"""The report in a real browser: silent, readable, accessible, printable, and quick to answer."""

import json
import shutil

import pytest
from browsed import CHROMIUM, WIDTHS, assert_readable, barriers, needs_browser, visited
from reported import HOSTILE, copy, make_runs, make_sweep

from server.report import gather, to_html
from server.report.forms.pdf import CHOSEN, NoBrowser, to_pdf

pytestmark = needs_browser
FOLD = "open => document.querySelectorAll('details').forEach(d => d.open = open)"
SCREEN = 900


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = make_runs(tmp_path_factory.getbasetemp(), monkeypatch)
    target = tmp_path_factory.mktemp("browsed") / "runs"
    shutil.copytree(made, target, ignore=shutil.ignore_patterns("rounds", ".shadows"))
    failing = copy(target / "whole", "failing", experiment=("seed = 0\ntitle", "seed = 7\ntitle"))
    audit = json.loads((failing.path / "audit.json").read_text())
    check = next(c for c in audit["checks"] if c["name"] == "sensitivity")
    check |= {"passed": False, "measured": "1.25 of the clip"}
    failing.keep("audit.json", audit | {"passed": False})
    make_sweep(target)
    return target


@pytest.fixture(scope="module")
def report(folder):
    """The page of a sweep with everything in it, and of a run whose audit fails."""
    path = folder.parent / "report.html"
    path.write_text(to_html(gather(["grid", "failing"], folder)))
    return path


@pytest.fixture(scope="module")
def page(browser, report):
    """One page that several tests look at."""
    with visited(browser, report.as_uri()) as opened:
        opened.wait_for_selector("html[data-ready]")
        yield opened


@pytest.fixture
def fresh(page, report):
    """The same as it is when it is opened."""
    page.set_viewport_size({"width": 1280, "height": SCREEN})
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    return page


def test_it_is_readable_at_any_width_in_light_and_in_dark(fresh, report):
    for width, scheme in WIDTHS:
        fresh.emulate_media(color_scheme=scheme)
        fresh.set_viewport_size({"width": width, "height": SCREEN})
        fresh.evaluate(FOLD, False)
        assert_readable(fresh, width)
        assert barriers(fresh, **({"runOnly": ["color-contrast"]} if width > 390 else {})) == []
        fresh.evaluate(FOLD, True)
        assert_readable(fresh, width)
    assert barriers(fresh) == []
    assert fresh.said == []
    assert {url.partition("#")[0] for url in fresh.asked} == {report.as_uri()}


def test_every_figure_is_drawn_with_its_words_and_numbers(fresh):
    fresh.evaluate(FOLD, True)
    figures = fresh.evaluate(
        """() => [...document.querySelectorAll('figure')].map(figure => ({
            title: figure.querySelector('.head').textContent,
            panels: figure.querySelectorAll('svg').length,
            bare: [...figure.querySelectorAll('svg')].filter(svg => !svg.getAttribute('aria-label')
                || svg.querySelectorAll('.mark, .line:not(.faint)').length == 0).length,
            pictures: [...figure.querySelectorAll('img')].map(i => i.naturalWidth > 0 && i.alt.length > 40),
            caption: figure.querySelector('figcaption')?.textContent.trim().length ?? 0,
            rows: figure.querySelectorAll('table tbody tr').length,
        }))"""  # noqa: E501
    )
    titles = [figure["title"].partition(":")[0] for figure in figures]
    assert {"Accuracy against epsilon, leakage and time", "ROC of each adversary"} <= set(titles)
    assert any(title.startswith("Roofline") for title in titles)
    assert sum(title.startswith("Rounds of") for title in titles) == 4
    for figure in figures:
        assert figure["panels"] + len(figure["pictures"]) > 0, figure
        assert figure["bare"] == 0, figure
        assert all(figure["pictures"]), figure
        assert figure["caption"], figure
        assert figure["rows"], figure
    assert sum(len(figure["pictures"]) for figure in figures) == 6  # of two attacked runs


def test_it_opens_at_once_and_ends_soon(fresh, report):
    assert report.stat().st_size < 3e6
    painted = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    assert fresh.evaluate(painted) < 1000
    top = "document.getElementById('evidence').getBoundingClientRect().top + scrollY"
    assert fresh.evaluate(top) <= 5 * SCREEN


def screens(page, locator):
    """Screens to scroll from where the page stands until all of it is seen."""
    box = locator.bounding_box()
    assert box, "is not shown"
    return max(0.0, box["y"] + box["height"]) / SCREEN


def cell(page, axis, series, column):
    """A cell of the matrix."""
    number = 1 + page.locator(".matrix thead th").all_text_contents().index(column)
    band = page.locator(".matrix tbody", has=page.locator(f".axis th:has-text('{axis}')"))
    return band.locator("tr", has_text=series).locator(f"> :nth-child({number})").first


def test_five_questions_are_answered_within_a_screen_or_two_clicks(fresh, folder):
    facts = gather(["grid", "failing"], folder)
    whole, bare = facts.runs[0], facts.runs[2]

    # Accuracy at epsilon 3 of int8, and its interval: no click.
    asked = cell(fresh, "Accuracy", bare.series, "ε 3")
    assert screens(fresh, asked) <= 1
    assert f"{100 * bare.accuracy:.0f}" in asked.text_content()
    assert " to " in asked.text_content()

    # Which run leaks most: no click.
    (most,) = [found for found in fresh.locator(".matrix .most").all() if found.is_visible()]
    assert screens(fresh, most) <= 1
    assert "leaks most" in most.text_content()

    # Does any audit fail, and why: no click for whether, one for the list.
    failed = fresh.locator(".matrix .bad", has_text="FAILED").first
    assert screens(fresh, failed) <= 1
    assert "sensitivity" in failed.text_content()
    failed.click()
    why = fresh.locator("tr:visible", has_text="1.25 of the clip")
    assert screens(fresh, why) <= 1

    # Energy of a round on the microcontroller: no click.
    fresh.evaluate("scrollTo(0, 0)")
    (energy,) = [c.round.energy_j for c in whole.costs if c.short == "STM32H743"]
    joules = cell(fresh, "A round on STM32H743", whole.series, "ε 8")
    assert f"{1000 * energy:.3g}"[:4] in joules.text_content()
    assert screens(fresh, joules) <= 2

    # The command that made this cell: one click.
    asked.locator("a").click()
    again = fresh.locator("pre:visible", has_text=f"privet run {bare.path}/experiment.toml")
    assert screens(fresh, again.first) <= 1


def test_a_key_opens_evidence_and_a_table_is_copied(fresh):
    link = cell(fresh, "Leakage: AUC", "float", "ε 8").locator("a")
    link.focus()
    fresh.keyboard.press("Enter")
    target = link.get_attribute("href")
    fresh.locator(f"{target}[open] svg").first.wait_for()  # a link's event comes after the key's
    fresh.evaluate(
        "addEventListener('copy', e => { window.told = e.clipboardData.getData('text/plain') })"
    )
    shown = fresh.locator(f"{target} .scroll:visible + .copy").first
    shown.focus()
    fresh.keyboard.press("Enter")
    lines = fresh.evaluate("window.told").split("\n")
    table = fresh.locator(f"{target} .scroll:visible table").first
    assert len(lines) == table.locator("tr").count()
    assert {line.count("\t") for line in lines} == {table.locator("thead th").count() - 1}


def test_it_prints_with_nothing_folded(fresh):
    folded = "document.querySelectorAll('details:not([open])').length"
    assert fresh.evaluate(folded) > 0
    assert fresh.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    fresh.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert fresh.evaluate(folded) == 0
    fresh.evaluate("dispatchEvent(new Event('afterprint'))")
    assert fresh.evaluate(folded) > 0


def test_the_command_prints_a_pdf_or_says_what_it_lacks(report, monkeypatch):
    monkeypatch.setenv(CHOSEN, str(CHROMIUM))
    pdf = to_pdf(report.read_text())
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") > 10  # nothing is folded away
    monkeypatch.setenv(CHOSEN, "/nowhere/chromium")
    with pytest.raises(NoBrowser, match=r"/nowhere/chromium is not installed; name a browser in"):
        to_pdf("")


def test_text_of_a_run_runs_nothing(browser, folder):
    hostile = copy(
        folder / "whole",
        "hostile",
        experiment=('title = "tiny"', f"title = {json.dumps(HOSTILE)}"),
    )
    audit = json.loads((hostile.path / "audit.json").read_text())
    audit["checks"][0]["measured"] = HOSTILE
    hostile.keep("audit.json", audit)
    costs = json.loads((hostile.path / "cost.json").read_text())
    costs[0]["chip"] = costs[0]["step"]["rows"][0]["layer"] = HOSTILE
    hostile.save_costs(costs)
    hostile.keep("inference.json", {HOSTILE: json.loads(
        (folder / "whole/inference.json").read_text())["ckks"]})  # fmt: skip
    renamed = folder / '<img src=x onerror="window.hit=1">'
    hostile.path.rename(renamed)
    path = folder.parent / "hostile.html"
    path.write_text(to_html(gather([renamed.name, "whole", "free"], folder)))
    with visited(browser, path.as_uri()) as page:
        page.evaluate(FOLD, True)
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
        assert page.said == []
        assert page.asked == [path.as_uri()]
        # Were something to slip through, the page's policy would still not run it.
        refused = page.evaluate(
            """() => new Promise(done => {
                document.addEventListener('securitypolicyviolation',
                  event => done(event.effectiveDirective));
                document.body.insertAdjacentHTML('beforeend',
                  "<img src='data:,' onerror='window.hit = 1'>");
            })"""
        )
        assert refused == "script-src-attr"
        assert page.evaluate("window.hit") is None
