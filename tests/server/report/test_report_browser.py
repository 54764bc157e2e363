"""The report in a real browser: silent, drawn, hoverable, accessible, narrow, printable."""

import json
import os
import shutil
from pathlib import Path

import pytest
from reported import HOSTILE, copy, make_runs, make_sweep

from server.report import gather, to_html

CHROMIUM = Path(os.environ.get("PRIVET_CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 120_000
INK = "document.querySelector('[data-figure]').layout.font.color"
SERIOUS = {"serious", "critical"}

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=ARGUMENTS, timeout=PATIENCE_MS
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = make_runs(tmp_path_factory.getbasetemp(), monkeypatch)
    target = tmp_path_factory.mktemp("browsed") / "runs"
    shutil.copytree(made, target, ignore=shutil.ignore_patterns("rounds", ".shadows"))
    make_sweep(target)
    return target


@pytest.fixture(scope="module")
def report(folder):
    """The page of a sweep with everything in it."""
    path = folder.parent / "report.html"
    path.write_text(to_html(gather(["grid"], folder)))
    return path


class Visit:
    """A page that was opened and drawn, and all that it said and asked for."""

    def __init__(self, browser, path, width=1280, scheme="light"):
        self.said, self.asked = [], []
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=False
        )
        context.set_default_timeout(PATIENCE_MS)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.page.context.close()


@pytest.fixture(scope="module")
def visit(browser, report):
    """One page that several tests look at."""
    with Visit(browser, report) as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (820, "dark"), (390, "dark")])
def test_every_figure_is_drawn_in_silence(browser, report, width, scheme):
    with Visit(browser, report, width, scheme) as visit:
        drawn = visit.page.evaluate(
            """() => [...document.querySelectorAll('[data-figure]')].map(plot => ({
                key: plot.dataset.figure,
                marks: plot.querySelectorAll(
                  '.scatterlayer .trace path, .barlayer .point path, .heatmaplayer image').length,
                width: plot.querySelector('.main-svg')?.clientWidth ?? 0,
                within: plot.clientWidth,
                ink: plot.layout.font.color,
            }))"""
        )
        keys = {figure["key"] for figure in drawn}
        assert {"pareto", "utility", "claimed", "encrypted", "spent-0"} <= keys
        assert {"roc-final_model", "roc-server", "latency-0", "energy-0"} <= keys
        assert {"roofline-0", "confusion-0"} <= keys
        for figure in drawn:
            assert figure["marks"] > 0, figure
            assert 0 < figure["width"] <= figure["within"] + 1, figure
        assert len({figure["ink"] for figure in drawn}) == 1
        assert (drawn[0]["ink"] == "#cfd6dc") == (scheme == "dark")
        wide = visit.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
        pictures = visit.page.evaluate(
            "[...document.images].map(image => image.complete && image.naturalWidth > 0)"
        )
        assert len(pictures) == 3
        assert all(pictures)
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.said == []
        assert visit.asked == [report.as_uri()]


def test_hover_tells_the_settings(visit):
    plot = visit.page.locator("[data-figure=pareto]")
    plot.scroll_into_view_if_needed()
    box = plot.locator(".scatterlayer .points path").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.mouse.move(x - 30, y - 30)
    visit.page.mouse.move(x, y, steps=5)
    told = plot.locator(".hoverlayer .hovertext")
    told.first.wait_for()
    words = told.first.text_content()
    assert "accuracy" in words
    assert "AUC" in words
    assert "seed 0" in words


def test_every_figure_has_a_caption_and_a_table(visit):
    bare = visit.page.evaluate(
        """() => [...document.querySelectorAll('figure')].filter(figure =>
            !figure.querySelector('figcaption')?.textContent.trim() ||
            (figure.querySelector('[data-figure]') &&
             !figure.querySelector('details table tbody tr'))
        ).map(figure => figure.textContent.slice(0, 80))"""
    )
    assert bare == []
    assert visit.page.evaluate("document.images[0].alt.length") > 40


def test_no_serious_barrier_in_light_and_in_dark(visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for scheme, ink in (("dark", "#cfd6dc"), ("light", "#3a4149")):
        visit.page.emulate_media(color_scheme=scheme)
        visit.page.wait_for_selector(f"html[data-scheme={scheme}]")
        assert visit.page.evaluate(INK) == ink
        only = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
        whole = {"exclude": [[".main-svg"]]}  # one image to a reader, with its table below
        found = axe.Axe().run(visit.page, whole, only).response["violations"]
        bad = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in SERIOUS]
        assert bad == [], scheme
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")


def test_legends_stay_off_the_plots_when_the_window_changes(visit):
    overlapping = """() => [...document.querySelectorAll('[data-figure]')].filter(plot => {
        const legend = plot.querySelector('.legend');
        const plotted = plot.querySelector('.nsewdrag').getBoundingClientRect();
        return legend && legend.getBoundingClientRect().bottom > plotted.top + 6;
    }).map(plot => plot.dataset.figure)"""
    for width in (390, 1280):
        before = visit.page.locator("[data-figure=pareto]").get_attribute("data-width")
        visit.page.set_viewport_size({"width": width, "height": 900})
        visit.page.wait_for_selector(f"[data-figure=pareto]:not([data-width='{before}'])")
        assert visit.page.evaluate(overlapping) == [], width


def test_it_prints_with_nothing_folded(visit):
    folded = "document.querySelectorAll('details:not([open])').length"
    assert visit.page.evaluate(folded) > 0
    pdf = visit.page.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_selector("html[data-scheme=dark]")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert visit.page.evaluate(folded) == 0
    assert visit.page.evaluate(INK) == "#3a4149"
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert visit.page.evaluate(folded) > 0
    assert visit.page.evaluate(INK) == "#cfd6dc"


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
    with Visit(browser, path) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert visit.page.evaluate("window.hit") is None
        assert visit.page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
        assert visit.said == []
        assert visit.asked == [path.as_uri()]
        # Were something to slip through, the page's policy would still not run it.
        refused = visit.page.evaluate(
            """() => new Promise(done => {
                document.addEventListener('securitypolicyviolation',
                  event => done(event.effectiveDirective));
                document.body.insertAdjacentHTML('beforeend',
                  "<img src='data:,' onerror='window.hit = 1'>");
            })"""
        )
        assert refused == "script-src-attr"
        assert visit.page.evaluate("window.hit") is None
