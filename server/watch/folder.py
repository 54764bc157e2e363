"""The folder of runs, looked at again and again: what is new, by what changed on disk.

A look costs a few calls of `stat` a run, and reads what was added. It opens nothing for writing and
takes no lock, so that no run can be slower for it.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privacy.foreign import read_foreign
from server.sweep.document import FILE, SUFFIX
from server.watch.locks import held_locks
from server.watch.rows import Row, RunView, id_of, look_at, name_to_show
from server.watch.sweeps import SweepView

MOST_ENTRIES = 50_000  # of the folder that are looked at
MOST_RUNS, MOST_SWEEPS, MOST_REPORTS = 2_000, 200, 100
MOST_LOOK_BYTES = 128 << 20  # of rounds, in one look
MOST_REPORT_BYTES = 64 << 20
REPORT = ".html"


@dataclass
class Folder:
    """A folder of runs.

    Attributes:
        version: counts the looks in which something changed.
        began: tells this watcher from one that was started again.
    """

    path: Path
    version: int = 0
    began: float = field(default_factory=time.time)
    took_s: float = 0.0
    _runs: dict[str, RunView] = field(default_factory=dict)
    _sweeps: dict[str, SweepView] = field(default_factory=dict)
    _reports: list[Row] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)
    _forgot: int = 0
    _left_out: int = 0
    _reports_changed: int = 0

    def look(self) -> None:
        """See what changed."""
        started, number = time.perf_counter(), self.version + 1
        runs, sweeps, reports, left_out = self._entries()
        if changed := self._forget({*runs, *sweeps}):
            self._forgot = number
        locks, budget = held_locks(), MOST_LOOK_BYTES
        for name in runs:
            run = self._runs.setdefault(name, RunView(self.path / name))
            before = run.row
            budget -= run.look(locks, max(0, budget))
            if run.row != before:
                run.changed, changed = number, True
        for name in sweeps:
            sweep = self._sweeps.setdefault(name, SweepView(self.path / name))
            before = sweep.row
            sweep.look(locks, self._runs)
            if sweep.row != before:
                sweep.changed, changed = number, True
        if (reports, left_out) != (self._reports, self._left_out):
            self._reports, self._left_out = reports, left_out
            self._reports_changed, changed = number, True
        self._names = {id_of(name): name for name in (*runs, *sweeps)}
        if changed:
            self.version = number
        self.took_s = time.perf_counter() - started

    def _forget(self, here: set[str]) -> bool:
        """Drop what is not there any more."""
        gone = (self._runs.keys() | self._sweeps.keys()) - here
        for name in gone:
            self._runs.pop(name, None)
            self._sweeps.pop(name, None)
        return bool(gone)

    def _entries(self) -> tuple[list[str], list[str], list[Row], int]:
        """Names of runs and sweeps, rows of reports, and how many of them are left out."""
        runs: list[tuple[float, str]] = []
        sweeps: list[tuple[float, str]] = []
        reports: list[Row] = []
        try:
            with os.scandir(self.path) as entries:
                for count, entry in enumerate(entries):
                    if count >= MOST_ENTRIES:
                        break
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        file = FILE if entry.name.endswith(SUFFIX) else "experiment.toml"
                        if about := look_at(self.path / entry.name / file):
                            kind = sweeps if file == FILE else runs
                            kind.append((-about.st_mtime, entry.name))
                    elif entry.name.endswith(REPORT) and (about := look_at(Path(entry.path))):
                        told = {"id": id_of(entry.name), "name": name_to_show(entry.name)}
                        reports.append(told | {"bytes": about.st_size, "wrote": about.st_mtime})
        except OSError:  # not there yet, or not any more
            pass
        reports.sort(key=lambda told: -told["wrote"])
        shown_runs = [name for _, name in sorted(runs)[:MOST_RUNS]]
        shown_sweeps = [name for _, name in sorted(sweeps)[:MOST_SWEEPS]]
        left_out = len(runs) + len(sweeps) - len(shown_runs) - len(shown_sweeps)
        return shown_runs, shown_sweeps, reports[:MOST_REPORTS], left_out

    def news(self, since: int) -> Row:
        """What became another after look `since`; all, after none, or where something is gone.

        However long a page was away, this is no more than the folder's rows.
        """
        since = 0 if since < self._forgot else since
        told: dict[str, Any] = {
            "version": self.version,
            "began": self.began,
            "now": time.time(),
            "all": not since,
            "left_out": self._left_out,
            "runs": [run.row for run in self._runs.values() if run.changed > since],
            "sweeps": [sweep.row for sweep in self._sweeps.values() if sweep.changed > since],
        }
        if not since or self._reports_changed > since:
            told["reports"] = self._reports
        return told

    def run(self, key: str, after: int, series: str) -> Row | None:
        """The curves of a run."""
        view = self._runs.get(self._names.get(key, ""))
        return view.detail(after, series) if view and view.row else None

    def sweep(self, key: str) -> Row | None:
        """The cells of a sweep."""
        view = self._sweeps.get(self._names.get(key, ""))
        return view.detail(self._runs) if view and view.row else None

    def report(self, key: str) -> bytes | None:
        """A report's page, of those that the last look found; None if there is none.

        Raises:
            OSError: it is none any more, or larger than a report.
        """
        if not any(told["id"] == key for told in self._reports):
            return None
        with os.scandir(self.path) as entries:
            name = next((e.name for e in entries if id_of(e.name) == key), "")
        return read_foreign(self.path / name, MOST_REPORT_BYTES, follow=False) if name else None
