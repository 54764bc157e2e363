"""What a run promises, in words: to whom, against whom, and between which neighbours it holds."""

from clients.data.told.coverage import covered
from privacy.dp.accounting.memo import recalled
from privacy.dp.accounting.spent import TOTAL_VARIATION
from privacy.dp.clipping.split import Split
from privacy.dp.ledger import Ledger
from server.experiment.experiment import Experiment
from server.experiment.lessons import Learnt

SIMULATION = (
    'a simulation: who knows the seed can take the noise away; deploy, or `noise = "secure"`'
)
TRUST = {
    "record": "each record is protected, also from the server, which may read every update",
    "client": "each client is protected from those who see the models",
    "none": "no promise: what leaves the device is not protected",
}
WORK = {
    "record": "each device samples, clips and adds noise itself",
    "client": "the server is trusted: it sees every update in the clear, clips it and adds the "
    "noise",
    "none": "",
}
SUMS = "each client is protected from those who see the models and from the server"
SHARES = (
    "the server sees sums only; counted on are {honest} clients of a round who survive and add "
    "their noise"
)
NEIGHBOURS = {
    "record": "add or remove one record",
    "client": "add or remove one client",
    "none": "",
}
# Of a lesson, whose records leave their owner encrypted.
LEARNT = {
    "record": "each record is protected from those who see the model; the owner, who is trusted, "
    "bounds what each adds, decrypts each sum and adds the noise; the service sees ciphertexts "
    "alone, and is counted on to compute what it should",
    "none": "no promise: the model may tell of any record; the service that trained it saw "
    "ciphertexts alone",
}
TOLD_TO_SERVICE = (
    "the service is told the number of records in whole blocks, of features and of classes, and "
    "sees when the owner answers"
)
EVERY_STEP = "all records in every step (q = 1), nothing is amplified by sampling"
SAMPLING = {
    "record": "Poisson sampling of records within a client; no amplification from which clients "
    "take part",
    "client": "every participation counts in full (q = 1), no amplification by sampling",
    "none": "",
}


# Of all draws that anybody could make, 2^80, times what the sampler may be off in each.
SAMPLER = f"the noise's sampler adds less than {2.0**80 * TOTAL_VARIATION:.0e} to delta"


def caveat_of(experiment: Experiment) -> str:
    """For whom an epsilon does not hold; to be said wherever one is shown. Empty if for nobody.

    Seeded noise can be repeated, by whoever knows the seed: the server, and who reads the run.
    """
    seeded = experiment.training.noise == "seeded"
    return SIMULATION if seeded and experiment.budget.unit != "none" else ""


def accountant_of(experiment: Experiment) -> str:
    """Who adds up what is spent."""
    return "zCDP of the discrete Gaussian" if experiment.shares_noise else "PRV (Opacus)"


def clipping_of(experiment: Experiment) -> str:
    """Which quantile the clip follows, and the noise of a round's two sums; empty if it stays."""
    budget = experiment.budget
    if not budget.clip_quantile:
        return ""
    split = Split.of(budget)
    return (
        f"the clip begins at {budget.clip:g} and follows the {budget.clip_quantile:g} quantile of "
        f"the updates' norms; noise of {split.of_sum:.4g} x the clip is added to a round's sum and "
        f"of {split.of_count:.3g} clients to its count, which together cost what one sum would at "
        f"{budget.noise_multiplier or 0.0:.4g} x the clip"
    )


def told_epsilon(experiment: Experiment, ledger: Ledger) -> float:
    """What a ledger has spent, to be shown: as it was told before on this machine, if it was."""
    question = f"{ledger.to_json()} {experiment.budget.delta!r} {accountant_of(experiment)}"
    return recalled(question, lambda: experiment.epsilon_of(ledger))


def large_delta(experiment: Experiment, num: int) -> tuple[str, ...]:
    """A warning, if delta is no less than one in all that are protected; else nothing.

    Who publishes one of n records, chosen at random, keeps (0, 1/n)-DP (Dwork and Roth 2014, 2.3).

    Args:
        num: records of the smallest client, or all clients under `unit = "client"`.
    """
    budget = experiment.budget
    if budget.unit == "none" or not num or budget.delta * num < 1:
        return ()
    whose = "clients" if budget.unit == "client" else "records of the smallest client"
    return (
        f"delta = {budget.delta:g} is no less than 1/n, of n = {num} {whose}: to publish one of "
        f"them whole would keep this promise; set [budget] delta below 1/{num}",
    )


def covered_by(experiment: Experiment, most_of_a_person: int = 0) -> str:
    """What an epsilon is of, where a record is less than a person; empty where nobody says.

    Args:
        most_of_a_person: records that one person has; 0 is not known.
    """
    if experiment.budget.unit != "record":
        return ""
    bounded = experiment.budget.epsilon is not None
    return covered(experiment.data, most_of_a_person, bounded=bounded)


# What is told without noise, and so is outside of any promise.
EVALUATED = (
    "loss and accuracy of each client's held-out records, and their number, leave without noise "
    "([federation] client_evaluation)"
)
ANSWERED = "when a device answers, whether and why it fails, and its ledger, are told as they are"

# Said of a lower bound above the claim, where the audit passed.
BY_CHANCE = "as chance may have it: of bounds at 95 % one in 20 is, at 1 in 10,000 none was"


def outside_of(experiment: Experiment) -> tuple[str, ...]:
    """What leaves a device and is not inside the promise; to be said wherever that stands."""
    if experiment.budget.unit == "none":
        return ()
    if isinstance(experiment, Learnt):
        return (TOLD_TO_SERVICE,)
    evaluated = (EVALUATED,) * experiment.federation.client_evaluation
    return (*evaluated, ANSWERED)


def neighbours_of(experiment: Experiment) -> str:
    """Between which data sets epsilon tells nobody which it was."""
    return NEIGHBOURS[experiment.budget.unit]


def sampling_of(experiment: Experiment) -> str:
    """What is counted of sampling, the neighbours, and how near the noise is to its law."""
    told = SAMPLING[experiment.budget.unit]
    if told and isinstance(experiment, Learnt):
        told = EVERY_STEP
    return f"{told}; neighbours: {neighbours_of(experiment)}; {SAMPLER}" if told else ""


def trust_of(experiment: Experiment) -> str:
    """Who is protected from whom, and who does the work of it."""
    unit = experiment.budget.unit
    who, work = TRUST[unit], WORK[unit]
    if isinstance(experiment, Learnt):
        who, work = LEARNT[unit], ""
    elif experiment.shares_noise:
        honest = experiment.secure.honest(experiment.federation.cohort_size)
        who, work = SUMS, SHARES.format(honest=honest)
    elif experiment.federation.secure_aggregation != "none":
        who = who.replace(", which may read every update", "")
        work = "; ".join(
            filter(None, [work, "behind secure aggregation the server sees sums only"])
        )
    outside = " and ".join(outside_of(experiment))
    beside = f"outside the promise: {outside}" if outside else ""
    return "; ".join(filter(None, [caveat_of(experiment) or who, work, beside]))
