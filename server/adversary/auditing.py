"""Run or experiment -> Audit: the shipped code that adds the noise, handed to the auditor.

Under `unit = "record"` that is a device's training and the process around it, under
`unit = "client"` the server's aggregation and the strategy after it.
"""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from attacks.audit.claim import Claim
from attacks.audit.planted import MAX_STEPS
from attacks.audit.verdict import Audit, audit
from clients.seeds import derive
from clients.training.gpu import require_here
from clients.training.records import records
from privacy.documents import to_json
from privacy.dp.ledger import Ledger
from privacy.dp.noise import SECURE
from privacy.errors import RunError, SettingsError
from server.adversary import devices, nodes, servers
from server.adversary.counts import counting
from server.adversary.replay import builder
from server.experiment.conditions import by_itself, in_streams
from server.experiment.experiment import Experiment
from server.experiment.lessons import Learnt
from server.experiment.loading import load_experiment
from server.run.directory import Run, find_run
from server.run.logs import silence
from server.run.origin import trained_as

RECORDS = 200  # of the data set, that the auditor trains on
CANARIES = {"record": 1000, "client": 400}  # that it makes up in a linear model, by unit
CALLS = {"record": 1500, "client": 200}  # of the shipped step, for all runs of canaries


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
    return trained_as(run.path, run.experiment), run


LEARNT = "this run was learnt on encrypted records, not by a federation"
LEAST_AUDITED = 0.05  # of noise over clip: with less, losses are beyond what float64 tells apart


def has_passed(run: Run) -> bool:
    """Does the run hold a whole audit, each check of which passed? A damaged one is none."""
    found = run.audit
    try:
        kept = TypeAdapter(Audit).validate_json(to_json(found), strict=True)
    except ValidationError:
        return False
    whole = bool(kept.checks) and kept.steps > 0 and 0 <= kept.epsilon < math.inf
    return whole and kept.passed and found.get("passed") is True


def why_not(experiment: Experiment) -> str:
    """Why there is nothing to audit in such an experiment; empty if there is."""
    if isinstance(experiment, Learnt):
        return f"{LEARNT}: its owner's step is audited by: privet audit lesson FILE"
    unit, secrecy = experiment.budget.unit, experiment.federation.secure_aggregation
    if unit == "none":
        return (
            "[budget] unit = 'none': there is no noise to audit; audit a run with unit = 'record' "
            "or 'client'"
        )
    sigma = experiment.budget.noise_multiplier
    if sigma is not None and sigma < LEAST_AUDITED:
        return (
            f"[budget] noise_multiplier = {sigma:g}: hardly any noise, and all but nothing that it "
            f"hides: an audit needs {LEAST_AUDITED:g}, and has nothing to refute below"
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
        SettingsError: the experiment promises no DP, or its noise is shared by its devices; or they
            compute on a GPU, and none is here.
        RunError: the run's data are not those it began with.
    """
    require_here(experiment, str(run.path / "experiment.toml") if run else "")
    if run:
        run.require_same_data()
    claim = claim_of(experiment, run, seed)
    missing: list[str] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as on a device
    try:
        with silence("flwr"):
            if experiment.budget.unit == "client":
                beside = [
                    servers.afterwards(experiment, claim.build(seed), seed),
                    *counting(experiment, run.rounds if run else ()),
                ]
            else:
                beside, missing = nodes.checks(experiment, seed)
            done = audit(replace(claim, beside=tuple(beside)), seed)
    finally:
        torch.set_num_threads(threads)
    return replace(
        done, not_examined=[*not_examined(experiment, run), *missing, *done.not_examined]
    )


def claim_of(experiment: Experiment, run: Run | None = None, seed: int = 0) -> Claim:
    """What the experiment promises, with the shipped code that is to keep it.

    Raises:
        SettingsError: it promises no DP, or its noise is shared by its devices.
    """
    if reason := why_not(experiment):
        raise SettingsError(f"{experiment.title}: {reason}")
    training, _ = records(experiment.data, experiment.model)
    order = torch.Generator().manual_seed(derive(seed, "audit"))
    chosen = torch.randperm(len(training), generator=order)
    chosen = chosen.repeat(-(-RECORDS // len(chosen)))[:RECORDS]  # of a few, each more than once
    of = _of_server if experiment.budget.unit == "client" else _of_device
    return replace(
        of(experiment, training.inputs(chosen), training.y[chosen]),
        task=experiment.data.task,
        canaries=CANARIES[experiment.budget.unit],
        calls=CALLS[experiment.budget.unit],
        spent=_spent(run, experiment.steps_per_round) if run else (),
        epsilon=run.rounds[-1].epsilon if run and run.rounds else None,
    )


def _of_device(experiment: Experiment, x: Tensor, y: Tensor) -> Claim:
    """What a device's training promises each of its records."""
    job = experiment.job
    proximal = experiment.strategy.proximal_mu or 0.0
    budget, training = job.budget, job.training
    assert budget.noise_multiplier is not None
    return Claim(
        device=devices.device(job, proximal),
        others={n: devices.device(j, proximal) for n, j in devices.variants(job).items()},
        build=builder(experiment),
        x=x,
        y=y,
        clip=budget.clip,
        noise_multiplier=budget.noise_multiplier,
        sample_rate=training.sample_rate,
        steps=experiment.federation.rounds_per_client * training.local_steps,
        delta=budget.delta,
        momentum=training.momentum if training.optimizer == "sgd" else 0.0,
        proximal=proximal,
        secure=training.noise == SECURE,
        step=devices.step,
    )


def _of_server(experiment: Experiment, x: Tensor, y: Tensor) -> Claim:
    """What the server's aggregation promises each client."""
    budget = experiment.budget
    assert budget.noise_multiplier is not None
    return Claim(
        device=servers.aggregation(experiment),
        build=builder(experiment),
        x=x,
        y=y,
        clip=budget.clip,
        noise_multiplier=budget.noise_multiplier,
        sample_rate=1.0,
        steps=experiment.federation.rounds_per_client,
        delta=budget.delta,
        secure=experiment.training.noise == SECURE,
        twins=True,
        step=lambda clip, size: servers.share_of_sums(budget) * devices.step(clip, size),
    )


def not_examined(experiment: Experiment, run: Run | None) -> list[str]:
    """What the audit of such an experiment cannot run, or leaves out."""
    training, federation = experiment.training, experiment.federation
    steps = experiment.federation.rounds_per_client * experiment.steps_per_round
    by_record = experiment.budget.unit == "record"
    reasons = {
        "what was drawn in the run: the code that is installed is run anew": run is not None,
        f"canaries in more than {MAX_STEPS} of the {steps:,} steps": steps > MAX_STEPS,
        f"[training] optimizer = {training.optimizer!r}: it sees noisy gradients only, and is left "
        "out": by_record and training.optimizer != "sgd",
        f"[training] distortion = {training.distortion:g} under canaries, which are taken as they "
        "are": by_record and training.distortion > 0,
        f"[compression] bits = {experiment.compression.bits}: what leaves a node is held to the "
        "least of noise only; rounding comes after it": by_record
        and experiment.compression.bits < 32,
        f"[arithmetic] name = {experiment.arithmetic.name!r}: the noise of layers whose gradient "
        "is never silent is held to what records could add": by_record
        and (in_streams(experiment) or by_itself(experiment)),
        f"[federation] secure_aggregation = {federation.secure_aggregation!r}: the sum, which adds "
        "no noise": federation.secure_aggregation != "none",
        f"[pruning] {experiment.pruning.told} in the step, which takes noise away "
        "with what it hides; nodes are examined with it": by_record
        and experiment.pruning.final > 0,
        "the smaller nets of [supernet] under canaries in a net of the auditor's own": by_record
        and experiment.supernet.trains,
        "[strategy] norm_bound: what is cut before the clip": experiment.strategy.norm_bound
        is not None,
        f"[federation] engine = {federation.engine!r}: the wire and the machines": federation.engine
        != "cohort",
        "the clients' own training, which under unit = 'client' may be anything": not by_record,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _spent(run: Run, local_steps: int) -> tuple[tuple[Ledger, int], ...]:
    """Each client's ledger, and the steps of the rounds in which it succeeded."""
    done = Counter(c.client for r in run.rounds for c in r.clients if not c.failure)
    return tuple((ledger, local_steps * done[client]) for client, ledger in run.ledgers.items())
