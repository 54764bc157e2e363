"""Run or experiment -> Audit: the shipped training code, handed to the auditor."""

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from attacks.audit import Audit, audit
from attacks.claim import Asked, Claim, Device
from clients.job import Job
from clients.records import Records, records
from clients.seeds import generator
from clients.train import Round, net_of, train
from privacy.errors import RunError, SettingsError
from privacy.ledger import Ledger
from server.experiment import Experiment, load_experiment
from server.replay import builder
from server.run import Run, find_run

RECORDS = 200  # of the data set, that the auditor trains on


def subject(name: str, runs: Path) -> tuple[Experiment, Run | None]:
    """What `privet audit NAME` means: a run, or else an experiment.

    Raises:
        RunError: neither.
    """
    try:
        run = find_run(name, runs)
    except RunError as no_run:
        try:
            return load_experiment(name).resolve(), None
        except SettingsError as no_experiment:
            raise RunError(f"{no_run}; nor an experiment: {no_experiment}") from None
    return run.experiment, run


def audit_of(experiment: Experiment, run: Run | None, seed: int = 0) -> Audit:
    """Audit the shipped step as an experiment uses it; with a run, its ledgers too.

    Raises:
        SettingsError: the experiment does not promise record-level DP, so no device adds noise.
    """
    budget, job = experiment.budget, experiment.job
    if budget.unit != "record" or not budget.noise_multiplier:
        raise SettingsError(
            f"{experiment.title}: [budget] unit = {budget.unit!r}: there is no noise of a device's "
            "own to audit; audit a run with unit = 'record'"
        )
    training, _ = records(job.data, job.model)
    chosen = torch.randperm(len(training), generator=generator(seed, "audit"))[:RECORDS]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as on a device
    try:
        return audit(
            Claim(
                device=device(job.model_copy(update={"seed": seed})),
                build=builder(experiment),
                x=training.inputs(chosen),
                y=training.y[chosen],
                clip=budget.clip,
                noise_multiplier=budget.noise_multiplier,
                sample_rate=job.training.sample_rate,
                steps=experiment.federation.rounds_per_client * job.training.local_steps,
                delta=budget.delta,
                spent=_spent(run) if run else (),
                epsilon=run.rounds[-1].epsilon if run and run.rounds else None,
            ),
            seed,
        )
    finally:
        torch.set_num_threads(threads)


def device(job: Job) -> Device:
    """`clients.train.train`, on whatever the auditor brings."""

    def one_round(model: nn.Module, x: Tensor, y: Tensor, asked: Asked) -> None:
        loop = {"local_steps": asked.steps, "sample_rate": asked.sample_rate, "momentum": 0.0}
        noise = {"noise_multiplier": asked.noise_multiplier, "epsilon": None}
        twin = job.model_copy(
            update={
                "training": job.training.model_copy(update=loop),
                "budget": job.budget.model_copy(update=noise),
            }
        )
        number, client = asked.path
        round_ = Round(number=number, client=client, learning_rate=asked.learning_rate)
        mine = Records(x, y)
        train(net_of(model, mine, twin), mine, torch.arange(len(x)), twin, round_, asked.ledger)

    return one_round


def _spent(run: Run) -> tuple[tuple[Ledger, int], ...]:
    """Each client's ledger, and the steps of the rounds in which it succeeded."""
    done = Counter(c.client for r in run.rounds for c in r.clients if not c.failure)
    steps = run.experiment.training.local_steps
    return tuple((ledger, steps * done[client]) for client, ledger in run.ledgers.items())
