"""Training on encrypted records: against TenSEAL's tutorial and Concrete ML, and what it reaches.

MNIST's 3 and 8, averaged to 14 x 14: 11,982 records of 196 numbers. A step is computed on one core;
`whole` is the command, service and owner together.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
import numpy as np
from peer_tenseal import TutorialStep

from clients.data.sets import load
from clients.data.settings import Data
from clients.learning.descent import Descent, State
from clients.learning.settings import Learning
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.encrypted.learning.course import Course
from privacy.encrypted.learning.owner import Owner
from privacy.encrypted.learning.residual import prepare
from privacy.encrypted.learning.steps import Steps

RECORDS, FEATURES = 11_982, 196
BATCH = 8  # of Concrete ML's classifier
DRAWS = 20  # of noise
# Chosen on records for training that were held out: fewer steps have less noise each.
PRIVATE = {"steps": 20, "rate": 30.0, "bound": 20.0}


def write_pair(folder: Path, pair: tuple[int, int] = (3, 8)) -> Path:
    """The records of two digits as arrays, and a lesson of them; the lesson's file."""
    dataset = load(Data(name="mnist"))
    for part in ("train", "test"):
        x, y = getattr(dataset, f"{part}_x").reshape(-1, 28, 28), getattr(dataset, f"{part}_y")
        chosen = np.isin(y, pair)
        small = np.rint(x[chosen].reshape(-1, 14, 2, 14, 2).mean((2, 4))).astype(np.uint8)
        np.save(folder / f"{part}_x.npy", small)
        np.save(folder / f"{part}_y.npy", (y[chosen] == pair[1]).astype(np.int64))
    (folder / "schema.toml").write_text('labels = ["0", "1"]\n')
    lesson = folder.with_suffix(".toml")
    lesson.write_text(f'data.path = "{folder}"\n')
    return lesson


def command(*arguments: str) -> dict:
    """`privet learn` as a process: what it tells, its seconds and those of its processors."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "server", "learn", *arguments, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    after = os.times()
    used = after.children_user + after.children_system
    return json.loads(done.stdout) | {
        "seconds": time.perf_counter() - start,
        "processor_s": used - before.children_user - before.children_system,
    }


def whole() -> dict:
    """The pair, learnt encrypted without a budget and at epsilon 3: from records to a model."""
    with tempfile.TemporaryDirectory() as folder:
        (records := Path(folder) / "pair").mkdir()
        lesson = str(write_pair(records))
        budget = ["budget.unit=record", "budget.epsilon=3", *_told(PRIVATE)]
        return {
            "no_budget": command(lesson, "--to", f"{folder}/plain"),
            "epsilon_3": command(lesson, "--to", f"{folder}/private", *_options(budget)),
        }


def _told(learning: dict) -> list[str]:
    return [f"learning.{key}={value}" for key, value in learning.items()]


def _options(assignments: list[str]) -> list[str]:
    return [word for one in assignments for word in ("-s", one)]


def digits() -> dict:
    """Ten outputs, each digit of scikit-learn's against the rest."""
    with tempfile.TemporaryDirectory() as folder:
        lesson = Path(folder) / "digits.toml"
        lesson.write_text('data.name = "digits"\n')
        return command(str(lesson), "--to", f"{folder}/model", *_options(_told(PRIVATE)))


def noise() -> dict:
    """Accuracy at epsilon 3 over draws of the noise, on the plain polynomial and steps."""
    with tempfile.TemporaryDirectory() as folder:
        (records := Path(folder) / "pair").mkdir()
        write_pair(records)
        parts = {
            part: (np.load(records / f"{part}_x.npy"), np.load(records / f"{part}_y.npy"))
            for part in ("train", "test")
        }
    x, tested = (prepare(parts[p][0].reshape(len(parts[p][0]), -1) / 255) for p in parts)
    target, right = (parts[p][1][:, None] - 0.5 for p in parts)
    accuracies: dict[str, list[float]] = {}
    for unit, draws, learning in (
        ("none", 1, Learning()),
        ("record", DRAWS, Learning.model_validate(PRIVATE)),
    ):
        residual = learning.residual
        budget = Budget(unit=unit, epsilon=3.0 if unit == "record" else None)
        budget = budget.solve(1.0, learning.steps)
        error = course(3).error(residual.sensitivity)
        descent = Descent(residual, learning.rate, len(x), budget, error)
        for draw in range(draws):
            state = State.start(1, FEATURES)
            for step in range(learning.steps):
                total = (residual.of(x @ state.point.T) - target).T @ x
                state = descent.after(state, total, Key.of("bench", draw, step))
            reached = ((tested @ state.weights.T > 0) == (right > 0)).mean()
            accuracies.setdefault(unit, []).append(float(reached))
    return accuracies


def course(blocks: int, packed: bool = True) -> Course:
    """The pair's."""
    residual = Learning().residual
    return Course(
        blocks=blocks, features=FEATURES, outputs=1, cubic=True, offset=residual.offset,
        packed=packed,
    )  # fmt: skip


def _stepper(packed: bool) -> tuple[Steps, tuple[bytes, ...]]:
    rng, made = np.random.default_rng(0), course(3, packed)
    owner = Owner(made)
    steps = Steps(made, owner.evaluation())
    x, t = prepare(rng.random((RECORDS, FEATURES))), rng.choice([-0.5, 0.5], (RECORDS, 1))
    for block in range(made.blocks):
        steps.add_block(block, owner.encrypt_block(block, x, t))
    return steps, owner.encrypt_weights(rng.normal(0, 0.1, (1, FEATURES)))


def tenseal() -> dict:
    """Seconds a record and step, in turn; the ratio is theirs over ours."""
    return {"packed": _against_tutorial(True), "each": _against_tutorial(False)}


def _against_tutorial(packed: bool) -> dict:
    (steps, letters), tutorial = _stepper(packed), TutorialStep(FEATURES)
    found = measure.compare(lambda: steps.gradient(letters), tutorial.record, repeats=5, warmup=1)
    found = {k: v * RECORDS if k.startswith("ratio") else v for k, v in found.items()}
    return found | {"ours_s": [seconds / RECORDS for seconds in found["ours_s"]]}


def concrete_ml() -> dict:
    """Concrete ML's SGDClassifier on an encrypted batch of 8; seconds a record and step, by itself.

    What it says of its one iteration is taken: compiling, keys and encryption are not in it.
    """
    from concrete.ml.sklearn import SGDClassifier

    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (BATCH, FEATURES)), np.arange(BATCH) % 2
    model = SGDClassifier(
        random_state=0, max_iter=1, fit_encrypted=True, parameters_range=(-1.0, 1.0), verbose=1
    )
    with contextlib.redirect_stdout(io.StringIO()) as said:
        model.fit(x, y, fhe="execute")
    found = re.search(r"Iteration \d+ took ([\d.]+) seconds", said.getvalue())
    assert found is not None, said.getvalue()
    theirs_s = float(found[1]) / BATCH
    steps, letters = _stepper(True)
    start = time.perf_counter()
    steps.gradient(letters)
    ours_s = (time.perf_counter() - start) / RECORDS
    return {"theirs_s": theirs_s, "ours_s": ours_s, "ratio": theirs_s / ours_s}


PARTS = {part.__name__: part for part in (tenseal, concrete_ml, whole, noise, digits)}


def run() -> dict:
    """All rows, in one run."""
    return {name: part() for name, part in PARTS.items()}


if __name__ == "__main__":
    print(json.dumps({name: PARTS[name]() for name in sys.argv[1:] or PARTS}, indent=1))
