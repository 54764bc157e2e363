"""What a lesson leaves: a run directory, which `show`, `infer`, `report` and `statement` read."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from clients.data.sets import load
from clients.learning.settings import Lesson
from clients.training.net import build
from privacy.dp.ledger import Ledger
from server.experiment.lessons import Learnt
from server.run.directory import Run, Weights
from server.run.rounds import ClientRecord, RoundRecord

NAME = "run"  # in the folder of the lesson


def leave_run(
    lesson: Lesson, folder: Path, model: Weights, spent: Ledger, told: dict[str, Any]
) -> Run:
    """Write the run directory of a lesson that is done, anew if one was left half-written.

    Args:
        model: its layer: weight [classes, features], bias [classes].
        spent: what the lesson has charged to the ledger.
        told: of the lesson, as `learnt.json`.
    """
    experiment = Learnt.by(lesson, told["sensitivity"], told["records"])
    form = load(lesson.data).form
    names = build(experiment.model, form, experiment.arithmetic).state_dict()
    after: Weights = {name: model[name.rpartition(".")[2]] for name in names}
    shutil.rmtree(folder / NAME, ignore_errors=True)
    run = Run.create(experiment, {k: np.zeros_like(v) for k, v in after.items()}, folder, NAME)
    owner = ClientRecord(
        client=0,
        num_examples=told["records"],
        ledger=spent.to_json(),
        upload_bytes=told["bytes_up"],
    )
    record = RoundRecord(
        round=1,
        learning_rate=lesson.learning.rate,
        seconds=told["seconds"],
        clients=[owner],
        epsilon=told["epsilon"],
        accuracy=told["accuracy"],
    )
    with run.locked():
        run.append(record, after, {})
        run.save_ledgers({0: spent})
    return run
