"""What `privet show` and `privet list` tell of a run: what it reached, and what it spent."""

from dataclasses import dataclass
from typing import Any

from privacy.dp.ledger import Ledger, Spent
from server.experiment.experiment import Experiment
from server.run.directory import Run
from server.run.rounds import ledgers_after

TRUST = {
    "record": "each record is protected, also from the server, which may read every update; "
    "each device samples, clips and adds noise itself",
    "client": "each client is protected from those who see the models; the server is trusted: it "
    "sees every update in the clear, clips it and adds the noise",
    "none": "no promise: what leaves the device is not protected",
}
SUMS = (
    "each client is protected from those who see the models and from the server, which sees "
    "sums only; counted on are {honest} clients of a round who survive and add their noise"
)
SAMPLING = {
    "record": "Poisson sampling of records within a client; no amplification from which clients "
    "take part; neighbours differ by one record added or removed",
    "client": "every participation counts in full (q = 1), no amplification by sampling; "
    "neighbours differ by one client's update being there or zero",
    "none": "",
}


@dataclass(frozen=True)
class Summary:
    """The facts of a run.

    Attributes:
        epsilon: the maximum over clients of what their ledgers say.
        epsilon_full_participation: of a client that took part in every round.
        single_updates_seen: updates of one client that the server could read, over all rounds.
    """

    run: str
    status: str
    rounds: str
    dataset: str
    model: str
    clients: int
    accuracy: float | None
    best_accuracy: float | None
    failures: int
    refusals: int
    seconds: float
    unit: str
    epsilon: float | None
    epsilon_target: float | None
    epsilon_full_participation: float | None
    delta: float | None
    noise_multiplier: float | None
    clip: float | None
    accountant: str
    sampling: str
    trust: str
    secure_aggregation: str
    single_updates_seen: int


def summarise(run: Run) -> Summary:
    """Read a run's facts.

    Raises:
        RunError: the run is damaged.
    """
    experiment, rounds = run.experiment, run.rounds
    budget, federation = experiment.budget, experiment.federation
    private = budget.unit != "none"
    epsilon = full = None
    if private:
        assert budget.noise_multiplier is not None
        spent = {ledger.entries for ledger in ledgers_after(rounds).values()}
        epsilon = max((experiment.epsilon_of(Ledger(entries)) for entries in spent), default=0.0)
        steps = federation.rounds * experiment.steps_per_round
        always = Spent(budget.noise_multiplier, experiment.sample_rate, steps)
        full = experiment.epsilon_of(Ledger([always]))
    accuracies = [r.accuracy for r in rounds if r.accuracy is not None]
    failures = [c for r in rounds for c in r.clients if c.failure]
    return Summary(
        run=str(run.path),
        status="finished" if len(rounds) == federation.rounds else "unfinished",
        rounds=f"{len(rounds)} of {federation.rounds}",
        dataset=experiment.data.name,
        model=experiment.model.name,
        clients=federation.clients,
        accuracy=accuracies[-1] if accuracies else None,
        best_accuracy=max(accuracies, default=None),
        failures=len(failures),
        refusals=sum(c.refused for c in failures),
        seconds=round(sum(r.seconds for r in rounds), 2),
        unit=budget.unit,
        epsilon=epsilon,
        epsilon_target=budget.epsilon if private else None,
        epsilon_full_participation=full,
        delta=budget.delta if private else None,
        noise_multiplier=budget.noise_multiplier if private else None,
        clip=budget.clip if private else None,
        accountant=_accountant(experiment) if private else "",
        sampling=SAMPLING[budget.unit],
        trust=_trust(experiment),
        secure_aggregation=federation.secure_aggregation,
        single_updates_seen=sum(
            r.secure["single_updates"] if r.secure else sum(not c.failure for c in r.clients)
            for r in rounds
        ),
    )


def _accountant(experiment: Experiment) -> str:
    return "zCDP of the discrete Gaussian" if experiment.shares_noise else "PRV (Opacus)"


def _trust(experiment: Experiment) -> str:
    if experiment.shares_noise:
        honest = experiment.secure.honest(experiment.federation.cohort_size)
        return SUMS.format(honest=honest)
    told = TRUST[experiment.budget.unit]
    if experiment.federation.secure_aggregation != "none":
        told = told.replace(", which may read every update", "")
        told += "; behind secure aggregation the server sees sums only"
    return told


def headline(summary: Summary) -> dict[str, Any]:
    """What fits a row of `privet list`."""
    return {
        "run": summary.run.rpartition("/")[2],
        "status": summary.status,
        "rounds": summary.rounds,
        "data": summary.dataset,
        "model": summary.model,
        "clients": summary.clients,
        "accuracy": "-" if summary.accuracy is None else f"{summary.accuracy:.2%}",
        "epsilon": "none" if summary.epsilon is None else f"{summary.epsilon:.3f}",
        "unit": summary.unit,
    }
