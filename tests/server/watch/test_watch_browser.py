"""The live page in a real browser: readable, told as runs grow, back after a restart."""

import json
import signal
import subprocess
import sys

import pytest
from browsed import WIDTHS, assert_readable, barriers, needs_browser, until, visited
from watched import ROUNDS, begin, grow, sweep_of

from server.run.directory import Run
from server.watch.rows import id_of

HOSTILE = "<img src=x onerror='window.hit=1'><script>window.hit=1<"

pytestmark = needs_browser
OPEN = "document.querySelectorAll('.who button[aria-expanded=false]').forEach(b => b.click())"
DRAWN = """() => [...document.querySelectorAll('figure svg')].every(
    svg => svg.viewBox.baseVal.width === svg.clientWidth && svg.querySelector('text'))"""


class Watched:
    """`privet watch` of a folder, as a process of its own, on a port that it keeps."""

    def __init__(self, folder):
        self.folder, self.port = folder, "0"
        self.start()

    def start(self):
        command = [sys.executable, "-m", "server", "watch", str(self.folder), "--port", self.port]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.port = self.url.partition("/?")[0].rpartition(":")[2]

    def stop(self, sign):
        self.process.send_signal(sign)
        self.process.stdout.close()
        return self.process.wait(60)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    runs = tmp_path_factory.mktemp("browsed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PRIVET_DATA", str(runs.parent / "data"))
        hostile = begin(runs, "hostile")
        grow(hostile, 2)
        told = hostile.path / "rounds.jsonl"
        told.write_text(told.read_text().replace("out of memory", HOSTILE))
        settings = hostile.path / "experiment.toml"
        renamed = settings.read_text().replace('"tiny"', json.dumps(HOSTILE))
        settings.write_text(renamed)
        hostile.path.rename(runs / HOSTILE.replace("/", "|"))
        going = begin(runs, "going")
        grow(going, 2)
        sweep_of(runs, ["going"], failed=HOSTILE)
        (runs / "report.html").write_text("<script>document.title = 'ran'</script>")
        process = Watched(runs)
        yield process
        process.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def page(browser, watched):
    """One page that the tests look at one after another, and all that it said and asked for."""
    with visited(browser, watched.url) as opened:
        opened.wait_for_selector("#runs .charts svg path")
        yield opened


def test_it_is_readable_at_any_width_in_light_and_in_dark(page):
    page.evaluate(OPEN)
    page.wait_for_selector("#sweeps .cells .wrong")
    until(page, "document.querySelectorAll('#runs .failed').length == 2")
    for width, scheme in WIDTHS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        until(page, DRAWN)
        assert_readable(page, width)
        only = {"runOnly": ["color-contrast"]} if width > 390 else {}
        assert barriers(page, **only) == [], (width, scheme)


def test_text_of_a_run_runs_nothing_and_only_the_watcher_is_asked(page, watched):
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.images.length") == 0
    assert page.said == []
    home = f"http://127.0.0.1:{watched.port}/"
    assert all(url.startswith(home) or url == "data:," for url in page.asked)
    assert "token" not in page.url
    with page.context.expect_page() as shown:
        page.click("#reports a")
    until(shown.value, "document.title == 'ran'")
    assert shown.value.evaluate("origin") == "null"
    shown.value.close()


def test_a_run_that_grows_shows_and_a_restart_is_survived(page, watched):
    page.evaluate("window.mark = 1")
    going = Run.open(watched.folder / "going")
    row = page.locator(f"#runs li[id='{id_of('going')}']")
    with going.locked():
        grow(going, 1)
        row.get_by_text(f"3 of {ROUNDS} rounds").wait_for()
        row.get_by_text("65.00 % in round 3").wait_for()  # its curve, too
        assert row.locator(".about b").text_content() == "running"
        assert watched.stop(signal.SIGKILL) == -signal.SIGKILL
        page.wait_for_selector("#link.lost")
        grow(going, ROUNDS - 3)
        before = watched.url
        watched.start()
        assert watched.url == before
        row.get_by_text(f"{ROUNDS} of {ROUNDS} rounds").wait_for()
    page.wait_for_selector("#link.live")
    row.get_by_text(f"in round {ROUNDS}").first.wait_for()
    assert row.locator(".about b").text_content() == "finished"
    assert page.evaluate("window.mark") == 1
    assert watched.stop(signal.SIGINT) == 0
    watched.start()
