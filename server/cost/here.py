"""What training takes on this machine: measured on a few steps, on records that are noise."""

import copy
import os
import resource
import sys
import time
from dataclasses import dataclass

import torch

from clients.models import form_behind
from clients.training.records import Records
from clients.training.train import Round, net_of, train
from privacy.dp.ledger import Ledger
from server.experiment.experiment import Experiment
from server.experiment.prepared import Prepared

STEPS = 3  # timed, after as many that are not


@dataclass(frozen=True)
class Here:
    """Of an experiment on this machine.

    Attributes:
        batch: records of the step that was timed: as many as the largest client expects.
        training_s: of all rounds' steps, `at_once` clients at a time; a fixed transform of the
            records and evaluation are not in it.
        peak_bytes: the most memory that this process has held, records and a step with it.
    """

    batch: int
    step_s: float
    at_once: int
    training_s: float
    peak_bytes: int


def measure_here(ready: Prepared) -> Here:
    """Take some steps of a device as the experiment has it, of no record of anybody's."""
    asked, cohort = ready.experiment, ready.experiment.federation.cohort_size
    largest = ready.parts.largest or asked.data.nominal_records
    batch = max(1, round(asked.training.sample_rate * largest))
    step_s = _step_s(asked, ready, batch)
    at_once = min(asked.federation.workers or os.cpu_count() or 1, cohort)
    steps = asked.federation.rounds * -(-cohort // at_once) * asked.training.local_steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Here(
        batch=batch,
        step_s=step_s,
        at_once=at_once,
        training_s=steps * step_s,
        peak_bytes=peak if sys.platform == "darwin" else peak * 1024,
    )


def _step_s(asked: Experiment, ready: Prepared, batch: int) -> float:
    form, task = form_behind(asked.model, ready.dataset.form), ready.dataset.task
    y = torch.zeros(batch, dtype=torch.int64)
    if task != "classes":
        y = torch.zeros(batch, 0 if task == "itself" else form.outputs)
    noise = Records(torch.rand(batch, *form.shape), y)
    job = asked.job
    job = job.model_copy(
        update={
            "training": job.training.model_copy(update={"sample_rate": 1.0, "local_steps": STEPS}),
            "budget": job.budget.model_copy(update={"epsilon": None}),
        }
    )
    net = net_of(copy.deepcopy(ready.model), noise, job)
    taken_s = 0.0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a simulated client has
    try:
        for number in (1, 2):  # the first is also compiled
            started = time.perf_counter()
            round_ = Round(number, 0, learning_rate=0.0)
            train(net, noise, torch.arange(batch), job, round_, Ledger())
            taken_s = time.perf_counter() - started
    finally:
        torch.set_num_threads(threads)
    return taken_s / STEPS
