"""A real browser for the tests of pages, and what is asked of any page."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = Path(os.environ.get("PRIVET_CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 120_000
WIDTHS = ((390, "dark"), (800, "light"), (1280, "dark"))

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
needs_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")

# Texts that lie over one another, those below 12 pixels, and how wide the page is.
TEXT = """() => {
  const boxes = [], small = [];
  const clipped = e => e && (getComputedStyle(e).clipPath !== "none" || clipped(e.parentElement));
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, parent = node.parentElement;
    if (!node.data.trim() || parent.closest("script, style, noscript, option")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const rects = [...range.getClientRects()].filter(r => r.width > 1 && r.height > 1);
    if (!rects.length || parent.checkVisibility?.() === false || clipped(parent)) continue;
    if (parseFloat(getComputedStyle(parent).fontSize) < 12) small.push(node.data);
    for (const r of rects) boxes.push([node.data.slice(0, 40), r.left, r.top, r.right, r.bottom]);
  }
  boxes.sort((a, b) => a[2] - b[2]);
  const over = [];
  for (let i = 0; i < boxes.length; i++)
    for (let k = i + 1; k < boxes.length && boxes[k][2] < boxes[i][4]; k++) {
      const [a, al, at, ar, ab] = boxes[i], [b, bl, bt, br, bb] = boxes[k];
      if (Math.min(ar, br) - Math.max(al, bl) > 1 && Math.min(ab, bb) - bt > 3) over.push([a, b]);
    }
  return {over, small, wide: document.documentElement.scrollWidth, words: boxes.length};
}"""


@contextmanager
def launched():
    """The browser."""
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=ARGUMENTS, timeout=PATIENCE_MS
        )
        yield opened
        opened.close()


@contextmanager
def visited(browser, url, width=1280, scheme="light"):
    """A page that was opened, with all that it `said` and `asked` for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("dialog", lambda dialog: (page.said.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(url)
    yield page
    context.close()


def until(page, true):
    """Waits until a script says yes: asked from outside, since a page's policy may forbid `eval`,
    which playwright's `wait_for_function` does in the page from its second look on."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(true):
        assert time.monotonic() < end, true
        page.wait_for_timeout(20)


def assert_readable(page, width):
    """Nothing lies over another, no text is small, and nothing sticks out at the side."""
    told = page.evaluate(TEXT)
    assert (told["over"], told["small"]) == ([], []), width
    assert told["wide"] <= width
    assert told["words"] > 60


def barriers(page, **options):
    """What axe finds: (rule, element) of each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page, None, options).response["violations"]
    return [(v["id"], v["nodes"][0]["html"][:200]) for v in found]
