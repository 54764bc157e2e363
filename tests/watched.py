"""Run directories for the tests of the live page: written by privet's own writers, not trained."""

import json
import shutil
from pathlib import Path

import numpy as np

from server.experiment.loading import load_experiment
from server.run.directory import Run
from server.run.rounds import ClientRecord, RoundRecord

WEIGHTS = {"w": np.zeros(1, np.float32)}
ROUNDS = 6
SETTINGS = [f"federation.rounds={ROUNDS}", "budget.noise_multiplier=1.0", "budget.epsilon=8"]


def begin(folder: Path, name: str) -> Run:
    """A run of which no round is done."""
    return Run.create(load_experiment("tiny", SETTINGS), WEIGHTS, folder, name)


def record(number: int, **told) -> RoundRecord:
    """A round as a run of four clients writes it, of which the last failed."""
    clients = [ClientRecord(client, 300, "[]", 9640) for client in range(3)]
    clients.append(ClientRecord(3, failure="RuntimeError: out of memory"))
    fields = {"epsilon": 0.5 * number, "accuracy": 0.5 + 0.05 * number, "loss": 2 / number} | told
    return RoundRecord(number, 1.0, 1.5, clients, **fields)


def grow(run: Run, rounds: int, **told) -> None:
    """Do the next rounds."""
    done = len(run.rounds)
    for number in range(done + 1, done + rounds + 1):
        run.append(record(number, **told), WEIGHTS, {})


def copies(run: Run, number: int) -> None:
    """So many more of it, beside it."""
    for i in range(number):
        others = shutil.ignore_patterns("rounds", "manifest*", "origin*", ".lock")
        shutil.copytree(run.path, run.path.with_name(f"copy-{i:04d}"), ignore=others)


def sweep_of(folder: Path, runs: list[str], failed: str = "") -> Path:
    """A sweep whose cells are those runs, with one more that failed."""
    cells = [{"run": name, "status": "done", "error": None} for name in runs]
    if failed:
        cells.append({"run": None, "status": "failed", "error": failed})
    for number, cell in enumerate(cells):
        point = {"budget.epsilon": number + 1}
        cell |= {"settings": point, "point": point, "seed": 0, "digest": str(number)}
    told = {"experiment": "tiny", "command": ["privet"], "fixed": [], "cells": cells}
    path = folder / "grid.sweep"
    path.mkdir()
    (path / "sweep.json").write_text(json.dumps(told | {"axes": {"budget.epsilon": [1, 2]}}))
    return path
