"""A page as PDF, by the browser that is installed: no other program draws it as it is seen."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from privacy.errors import PrivetError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHOSEN = "PRIVET_CHROMIUM"  # names another
PATIENCE_S = 300
FLAGS = ("--headless", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-extensions",
         "--disable-background-networking", "--no-pdf-header-footer")  # fmt: skip


class NoBrowser(PrivetError):
    """There is no browser, or it did not print."""


def browser() -> str:
    """The path of a Chromium.

    Raises:
        NoBrowser: none is installed.
    """
    chosen = os.environ.get(CHOSEN)
    found = next(filter(None, map(shutil.which, [chosen] if chosen else NAMES)), None)
    if found is None:
        looked = chosen or "Chromium or Chrome"
        raise NoBrowser(f"report --pdf: {looked} is not installed; name a browser in ${CHOSEN}")
    return found


def to_pdf(html: str) -> bytes:
    """A page of the report with nothing folded away, as it prints.

    Raises:
        NoBrowser: there is none, or it failed.
    """
    program = browser()
    with tempfile.TemporaryDirectory() as folder:
        page, printed = Path(folder, "report.html"), Path(folder, "report.pdf")
        # Text of a run is escaped: these are the page's own.
        page.write_text(html.replace("<details", "<details open"), encoding="utf-8")
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()  # which root cannot have
        command = [program, *FLAGS, *sandbox, f"--user-data-dir={folder}/profile",
                   f"--print-to-pdf={printed}", page.as_uri()]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoBrowser(f"report --pdf: {program} did not print: {error}") from error
        if not printed.is_file():
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise NoBrowser(f"report --pdf: {program} did not print: {said}")
        return printed.read_bytes()
