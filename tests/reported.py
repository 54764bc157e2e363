"""Run directories for the tests of the report: one real federation, and altered copies of it."""

import fcntl
import json
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path

from server.adversary import adversaries
from server.adversary.auditing import audit_of
from server.adversary.reconstruction import generators
from server.cost import cost_of_run
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.directory import Run
from server.run.summary import weights_sha256

HOSTILE = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>&|`*_"
QUICK = ["attack.shadows=4", "attack.candidates=100"]
CKKS = {
    "images": 20,
    "encrypted_accuracy": 0.95,
    "encrypted_accuracy_interval": [0.764, 0.991],
    "plain_accuracy": 1.0,
    "plain_accuracy_interval": [0.839, 1.0],
    "agreement": 0.95,
    "agreement_interval": [0.764, 0.991],
    "key_generation_ms": 61.5,
    "key_upload_ms": 20.25,
    "encrypt_ms": 4.5,
    "upload_ms": 3.25,
    "server_ms": 11.0,
    "download_ms": 0.75,
    "decrypt_ms": 1.5,
    "total_ms": 21.0,
    "keys_bytes": 1_234_567,
    "upload_bytes": 65_432,
    "download_bytes": 32_100,
    "scheme": "ckks",
    "security": "128-bit, ring 4096",
}
BOOLEAN = CKKS | {"scheme": "boolean", "server_ms": 2500.0, "total_ms": 2510.0, "images": 6}


def make_runs(temporary: Path, monkeypatch) -> Path:
    """A folder of runs, made once for all workers of this session, below its temporary folder:

    whole   everything measured, under epsilon 8
    free    its baseline without a promise, attacked
    bare    epsilon 3 in 8 bits, with nothing measured
    """
    # A worker of xdist has a folder of its own in the session's; alone, it is the session's.
    shared = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary
    folder = shared / "report-runs"
    with (shared / "report-runs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _make(folder, monkeypatch)
            (folder / "done").touch()
    return folder


def _make(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(generators, "GAN_ROUNDS", 1)
    monkeypatch.setattr(generators, "GAN_PAIRS", 1)
    monkeypatch.setattr(generators, "GAN_IMAGES", 20)
    plan = ["federation.rounds=2", "record.updates=true"]
    whole = launch(load_experiment("tiny", plan), folder, "whole")
    adversaries.attack(whole, adversaries.settings_of(whole, QUICK), lambda _: None)
    whole.keep("audit.json", audit_of(whole.experiment, whole).to_dict())
    from clients.chip import load_chip

    whole.save_costs([cost_of_run(whole, load_chip(c)).as_dict() for c in ("eyeriss", "stm32h743")])
    weights = {"weights": weights_sha256(whole)}
    whole.keep("inference.json", {"ckks": CKKS | weights, "boolean": BOOLEAN | weights})
    free = launch(load_experiment("tiny", [*plan, "budget.unit=none"]), folder, "free")
    still = [*QUICK, "attack.reconstruct=false"]
    adversaries.attack(free, adversaries.settings_of(free, still), lambda _: None)
    bits = ["budget.epsilon=3", "arithmetic.name=fixed", "federation.rounds=2"]
    launch(load_experiment("tiny", bits), folder, "bare")


def copy(run: Path, name: str, **texts: tuple[str, str]) -> Run:
    """A copy of a run beside it, without weights; in the files named, one text for another."""
    target = run.parent / name
    shutil.copytree(run, target, ignore=shutil.ignore_patterns("rounds", ".lock"))
    for stem, (old, new) in texts.items():
        (path,) = target.glob(f"{stem}.*")
        text = path.read_text()
        assert old in text, (stem, old)
        path.write_text(text.replace(old, new))
    return Run.open(target)


def make_sweep(folder: Path, name: str = "grid") -> Path:
    """A sweep of the three runs, with a failed cell, a failed stage and one not begun."""
    done = {"status": "done", "error": None}
    failed = {"status": "failed", "error": "the chip melted"}
    cells = [
        {"run": "whole", "status": "done", "stages": {"run": done, "attack": done}},
        {"run": "free", "status": "done", "stages": {"run": done, "cost": failed}},
        {"run": "bare", "status": "done", "stages": {"run": done}},
        {"run": None, "status": "failed", "error": f"no noise is enough {HOSTILE}", "stages": {}},
        {"run": None, "status": "pending", "stages": {}},
    ]
    for number, cell in enumerate(cells):
        cell.setdefault("error", None)
        settings = {"budget.epsilon": number, "arithmetic.name": "float"}
        cell |= {
            "settings": settings,
            "point": settings,
            "seed": number,
            "digest": f"{number:064d}",
        }
    path = folder / f"{name}.sweep"
    path.mkdir()
    told = {"format": 1, "experiment": "tiny", "command": ["privet", "sweep", "tiny"]}
    told |= {"axes": {}, "fixed": []}
    (path / "sweep.json").write_text(json.dumps(told | {"cells": cells}))
    return path


class Page(HTMLParser):
    """What a page says: its text, its scripts, and its tables by caption as rows of cells.

    A cell is (text, exact value or None).
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, float | None]]]] = {}
        self.text: list[str] = []
        self.tags: list[str] = []
        self._rows: list = []
        self._into: list[str] | None = None
        self._value: float | None = None
        self._skip = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th", "caption"):
            self._into = []
            value = dict(attributes).get("data-value")
            self._value = None if value is None else float(value)
        self._skip = tag in ("script", "style")

    def handle_endtag(self, tag):
        if tag == "caption" and self._into is not None:
            self.tables["".join(self._into)] = self._rows
        elif tag in ("td", "th") and self._into is not None:
            self._rows[-1].append(("".join(self._into), self._value))
            self._into = None
        self._skip = False

    def handle_data(self, data):
        if self._skip:
            return
        self.text.append(data)
        if self._into is not None:
            self._into.append(data)

    @property
    def words(self) -> str:
        """All text, with plain spaces."""
        return " ".join(" ".join(self.text).replace("\u00a0", " ").split())

    def value(self, table: str, row: str, column: str) -> float | None:
        """The exact number in a cell."""
        return self.cell(table, row, column)[1]

    def cell(self, table: str, row: str, column: str) -> tuple[str, float | None]:
        """A cell by its table's caption, its row's first cell and its column."""
        rows = self.tables[table]
        at = [text for text, _ in rows[0]].index(column)
        (found,) = [cells for cells in rows[1:] if cells[0][0] == row]
        text, value = found[at]
        return text.replace("\u00a0", " "), value
