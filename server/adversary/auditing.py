"""Run or experiment -> Audit: the shipped code that adds the noise, handed to the auditor.

Under `unit = "record"` that is a device's training, under `unit = "client"` the server's
aggregation: there a record of the auditor's is a whole client, whose update is its gradient.
"""

from collections import Counter
from pathlib import Path

import torch
from flwr.app import MetricRecord
from torch import Tensor, nn

from attacks.audit.claim import Asked, Claim, Device
from attacks.audit.verdict import Audit, audit
from clients.seeds import derive
from clients.training.job import Job
from clients.training.records import Records, records
from clients.training.train import Round, net_of, train
from privacy.dp.ledger import Ledger
from privacy.errors import RunError, SettingsError
from server.adversary.replay import builder
from server.experiment.experiment import Experiment
from server.experiment.loading import load_experiment
from server.experiment.strategy import Strategy
from server.federation.aggregation import Update, gather
from server.federation.grid import identify
from server.federation.spending import charge_client
from server.federation.strategies import build_strategy
from server.run.directory import Run, find_run
from server.run.logs import silence

RECORDS = 200  # of the data set, that the auditor trains on
CLIENTS = 1000  # that it makes up: each sends a whole model


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


def why_not(experiment: Experiment) -> str:
    """Why there is nothing to audit in such an experiment; empty if there is."""
    unit, secrecy = experiment.budget.unit, experiment.federation.secure_aggregation
    if unit == "none":
        return (
            "[budget] unit = 'none': there is no noise to audit; audit a run with unit = 'record' "
            "or 'client'"
        )
    if experiment.shares_noise:
        return (
            f"[federation] secure_aggregation = {secrecy!r}: the noise is shared by the devices, "
            "and no one of them can be held to it; audit the run with secure_aggregation = 'none'"
        )
    return ""


def audit_of(experiment: Experiment, run: Run | None, seed: int = 0) -> Audit:
    """Audit the shipped step as an experiment uses it; with a run, its ledgers too.

    Raises:
        SettingsError: the experiment promises no DP, or its noise is shared by its devices.
    """
    budget, job = experiment.budget, experiment.job
    if reason := why_not(experiment):
        raise SettingsError(f"{experiment.title}: {reason}")
    assert budget.noise_multiplier is not None
    by_client = budget.unit == "client"
    local_steps = 1 if by_client else job.training.local_steps
    job = job.model_copy(update={"seed": seed})
    training, _ = records(job.data, job.model)
    toss = torch.Generator().manual_seed(derive(seed, "audit"))
    chosen = torch.randperm(len(training), generator=toss)[:RECORDS]
    claim = Claim(
        device=aggregation(job) if by_client else device(job),
        build=builder(experiment),
        x=training.inputs(chosen),
        y=training.y[chosen],
        clip=budget.clip,
        noise_multiplier=budget.noise_multiplier,
        sample_rate=1.0 if by_client else job.training.sample_rate,
        steps=experiment.federation.rounds_per_client * local_steps,
        delta=budget.delta,
        spent=_spent(run, local_steps) if run else (),
        epsilon=run.rounds[-1].epsilon if run and run.rounds else None,
        canaries=CLIENTS if by_client else Claim.canaries,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as on a device
    try:
        with silence("flwr"):
            return audit(claim, seed)
    finally:
        torch.set_num_threads(threads)


def device(job: Job) -> Device:
    """`clients.training.train.train`, on whatever the auditor brings."""

    def one_round(model: nn.Module, x: Tensor, y: Tensor, asked: Asked) -> None:
        loop = {"local_steps": asked.steps, "sample_rate": asked.sample_rate, "momentum": 0.0}
        noise = {"noise_multiplier": asked.noise_multiplier, "epsilon": None}
        twin = job.model_copy(
            update={
                "training": job.training.model_copy(update=loop),
                "budget": job.budget.model_copy(update=noise),
                "data": job.data.model_copy(update={"nominal_records": len(x)}),
            }
        )
        number, client = asked.path
        round_ = Round(number=number, client=client, learning_rate=asked.learning_rate)
        mine = Records(x, y)
        train(net_of(model, mine, twin), mine, torch.arange(len(x)), twin, round_, asked.ledger)

    return one_round


def aggregation(job: Job) -> Device:
    """`server.federation.aggregation`, on updates of the auditor's choice; one step is a round."""

    def one_round(model: nn.Module, x: Tensor, y: Tensor, asked: Asked) -> None:
        noise = {"noise_multiplier": asked.noise_multiplier, "epsilon": None}
        budget = job.budget.model_copy(update=noise)
        twin = job.model_copy(update={"budget": budget})
        identify()
        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        number, client = asked.path
        for step in range(asked.steps):
            before = {n: p.detach().numpy().copy() for n, p in parameters.items()}
            gathered = gather(build_strategy(Strategy(), 1.0), before, twin, len(x))
            for i in range(len(x)):
                loss = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
                changes = torch.autograd.grad(loss, list(parameters.values()))
                sent = {n: before[n] - g.numpy() for n, g in zip(before, changes, strict=True)}
                metrics = MetricRecord({"num-examples": 1})
                gathered.add(Update(sent, 1, metrics, Ledger(), 0))
            mean = gathered.aggregate(number * 100 + client * 10 + step)
            assert mean is not None
            with torch.no_grad():
                for name, p in parameters.items():
                    after = torch.from_numpy(mean[name].numpy())
                    p.add_(asked.learning_rate * (after - p))
            charge_client(asked.ledger, budget)

    return one_round


def _spent(run: Run, local_steps: int) -> tuple[tuple[Ledger, int], ...]:
    """Each client's ledger, and the steps of the rounds in which it succeeded."""
    done = Counter(c.client for r in run.rounds for c in r.clients if not c.failure)
    return tuple((ledger, local_steps * done[client]) for client, ledger in run.ledgers.items())
