"""What was promised and spent, by which mechanism, what that is in odds, and how it adds up.

NIST SP 800-226 puts these at the top of its pyramid: epsilon, and the unit that it is of.
"""

import math
import os
from collections.abc import Sequence

from privacy.dp.clipping.split import Split
from privacy.errors import PrivetError
from server.experiment.experiment import Experiment
from server.experiment.lessons import Learnt
from server.report.facts.facts import RunFacts
from server.report.statement.statement import Fact, Part
from server.run.directory import Run, list_runs
from server.run.origin import EXTRACTED
from server.run.summary import CHARGE, summarise

FALSELY = 0.01  # accused: one stranger in a hundred
PLACE = "rounds.jsonl"


def guarantee(run: Run, facts: RunFacts) -> Part:
    """Unit, neighbours, epsilon and delta."""
    summary, settings = summarise(run), "experiment.toml: [budget]"
    last = f"{PLACE}: ledgers of the last round, by the accountant"
    target = f"{settings} epsilon"
    if os.path.lexists(run.path / CHARGE):
        last = target = f"{CHARGE}: epsilon, the search for settings included"
    words = [
        "A promise of differential privacy bounds how much anything that is released can depend on "
        "one unit: whoever sees it can hardly tell whether that unit was in the data.",
        "It does not hide what is true of many units together, and what it says of one unit says "
        "less of a person who has several."
        if facts.private
        else "Nothing was promised: what was released may tell all of any record.",
    ]
    told = [Fact("unit", "unit of privacy", summary.unit, f"{settings} unit")]
    if facts.private:
        told += [
            Fact("neighbours", "neighbouring data sets", summary.neighbours, f"{settings} unit"),
            Fact("epsilon_spent", "epsilon spent, of the worst client", summary.epsilon, last),
            Fact(
                "epsilon_promised",
                "epsilon promised",
                summary.epsilon_target,
                target,
                "the noise was given instead: [budget] noise_multiplier",
            ),
            Fact(
                "epsilon_full",
                "epsilon of a client in every round",
                summary.epsilon_full_participation,
                "experiment.toml: all rounds of [federation], by the accountant",
            ),
            Fact("delta", "delta", summary.delta, f"{settings} delta"),
            Fact("for_whom", "holds but for", summary.caveat or "no one", "experiment.toml"),
        ]
    told += [Fact("searched", "how it came about", summary.searched,
                  f"{CHARGE}, {EXTRACTED}")] * bool(summary.searched)  # fmt: skip
    told += [Fact(f"warning.{n}", "warning", one, "experiment.toml, manifest.safetensors")
             for n, one in enumerate(facts.warnings)]  # fmt: skip
    return Part(
        "guarantee",
        "The guarantee",
        "What is promised, of what unit, and between which data sets?",
        tuple(words),
        tuple(told),
    )


def odds(facts: RunFacts) -> Part:
    """What epsilon and delta allow an adversary, who may know everything else (Kairouz, Oh and
    Viswanath 2015, theorem 2.1)."""
    question = "What can someone learn who knows everything but one unit?"
    if facts.epsilon is None or facts.delta is None:
        nothing = "Nothing was promised, so nothing bounds what can be learned."
        return Part("odds", "In odds", question, (nothing,), ())
    words = (
        "These hold against anyone, with any computer and any knowledge of the others. They are "
        "bounds from the promise, not what an attack reached; that is told below.",
        "An event of the probability delta is outside of the first line.",
        *([f"They do not hold for those whom the guarantee leaves out: {facts.caveat}."]
          * bool(facts.caveat)),
    )  # fmt: skip
    source = "epsilon spent and delta of the guarantee"
    factor = math.exp(facts.epsilon) if facts.epsilon < 700 else math.inf
    return Part(
        "odds",
        "In odds",
        question,
        words,
        (
            Fact("factor", "odds that a unit took part grow at most by a factor of", factor,
                 f"exp of {source}"),
            Fact("guess", "right guesses, at most, of a coin toss: took part or not",
                 guesses(facts.epsilon, facts.delta), source),
            Fact("found", "units found, at most, where one stranger in a hundred is accused",
                 found(facts.epsilon, facts.delta), source),
        ),
    )  # fmt: skip


def guesses(epsilon: float, delta: float) -> float:
    """Share of right guesses of a fair coin, at most: (e^eps + delta) / (1 + e^eps)."""
    return (1 + delta * math.exp(-epsilon)) / (1 + math.exp(-epsilon))


def found(epsilon: float, delta: float) -> float:
    """The greatest true positive rate beside the false positive rate `FALSELY`."""
    rising = FALSELY * math.exp(min(epsilon, 700.0)) + delta
    falling = 1 - math.exp(-epsilon) * (1 - delta - FALSELY)
    return min(1.0, rising, falling)


def _how(experiment: Experiment) -> str:
    if isinstance(experiment, Learnt):
        return (
            "At each step the owner decrypts a sum over all records, to which each adds no more "
            "than a norm by how records and weights are bounded, and adds Gaussian noise to it "
            "before anything is made of it."
        )
    if experiment.budget.unit == "record":
        return (
            "Each device draws records by Poisson sampling, clips the gradient of each to a norm, "
            "adds them up, and adds Gaussian noise (DP-SGD; Abadi et al., CCS, and after)."
        )
    told = (
        "The update of each client is clipped to a norm; Gaussian noise is added to their sum "
        "(DP-FedAvg; McMahan et al., ICLR, and after)."
    )
    if experiment.budget.clip_quantile:
        told += (
            " From round to round the norm follows a quantile of the updates' norms: those within "
            "it are counted, and Gaussian noise is added to the count (Andrew et al., NeurIPS). "
            "Sum and count together cost what one sum with the noise multiplier costs."
        )
    return told


def mechanism(run: Run, facts: RunFacts) -> Part:
    """How noise is made and added, and every parameter that epsilon follows from."""
    question = "By which mechanism, with which parameters, and who does the accounts?"
    if not facts.private:
        return Part("mechanism", "The mechanism", question, ("No noise was added.",), ())
    experiment = run.experiment
    training, federation = experiment.training, experiment.federation
    most = max((client.steps for client in facts.clients), default=None)
    sigma = facts.noise_multiplier
    told = [
        Fact("accountant", "accountant", facts.accountant, "experiment.toml"),
        Fact("sampling", "what is counted of sampling", facts.sampling, "experiment.toml"),
        Fact("noise", "source of the noise", training.noise, "experiment.toml: [training] noise"),
        Fact("noise_multiplier", "noise multiplier", sigma,
             "experiment.toml: [budget] noise_multiplier"),
        *(_clips(run) or [
            Fact("clip", "clipping norm", facts.clip, "experiment.toml: [budget] clip"),
            Fact("deviation", "standard deviation of the noise in a sum, at least",
                 None if sigma is None or facts.clip is None else sigma * facts.clip,
                 "noise multiplier times clipping norm"),
        ]),
        Fact("sample_rate", "rate at which a unit is drawn in a step", experiment.sample_rate,
             "experiment.toml: [training] sample_rate, or one of clients"),
        Fact("steps_per_round", "noisy steps in a round", experiment.steps_per_round,
             "experiment.toml: [training] local_steps, or one of clients"),
        Fact("rounds_done", "rounds done", facts.rounds_done, f"{PLACE}: lines"),
        Fact("rounds", "rounds planned", facts.rounds, "experiment.toml: [federation] rounds"),
        Fact("clients", "clients", federation.clients, "experiment.toml: [federation] clients"),
        Fact("cohort", "clients in a round", facts.cohort,
             "experiment.toml: [federation] cohort, or all clients"),
        Fact("steps", "noisy steps charged, of the worst client", most, f"{PLACE}: ledgers"),
        Fact("learning_rate", "learning rate", training.learning_rate,
             "experiment.toml: [training] learning_rate"),
    ]  # fmt: skip
    return Part("mechanism", "The mechanism", question, (_how(experiment),), tuple(told))


def _clips(run: Run) -> list[Fact]:
    """Of a clip that follows a quantile: where it went, and the noise of both releases."""
    budget = run.experiment.budget
    if not budget.clip_quantile:
        return []
    split, settings, rounds = Split.of(budget), "experiment.toml: [budget]", f"{PLACE}: clipping"
    clips = [record.clipping["clip"] for record in run.rounds if record.clipping]
    none = "no round is done"
    return [
        Fact("clip", "clipping norm of the first round", budget.clip, f"{settings} clip"),
        Fact("clip_quantile", "quantile of updates' norms that it follows", budget.clip_quantile,
             f"{settings} clip_quantile"),
        Fact("clip_rate", "how fast it follows", budget.clip_rate, f"{settings} clip_rate"),
        Fact("clip_least", "least clipping norm", min(clips, default=None), rounds, none),
        Fact("clip_most", "greatest clipping norm", max(clips, default=None), rounds, none),
        Fact("clip_last", "clipping norm of the last round", clips[-1] if clips else None, rounds,
             none),
        Fact("sum_multiplier", "noise multiplier of a sum", split.of_sum,
             "noise multiplier, raised for what the count costs"),
        Fact("count_deviation", "standard deviation of the noise in a count, in clients",
             split.of_count, "noise multiplier, by the count's share of it"),
        Fact("deviation", "standard deviation of the noise in a sum, at least",
             split.of_sum * min(clips) if clips else None,
             "noise multiplier of a sum times least clipping norm", none),
    ]  # fmt: skip


def composition(run: Run, facts: RunFacts, runs: Sequence[Run] | None = None) -> Part:
    """How epsilon adds up over clients and rounds, and over other runs on the same records."""
    spent = [client.epsilon for client in facts.clients if client.epsilon is not None]
    others = _on_the_same_records(run, runs)
    words = [
        "Rounds of this run are in its epsilon. Runs on the same records add up: the sums below "
        "are of basic composition (Dwork and Roth, theorem on composition), over the runs in the "
        "same folder that say the same digest of their records.",
        "What was trained on these records elsewhere, or deleted since, is not known here; on "
        "devices of their own, each device's journal knows it, and refuses past its owner's limit.",
        "Choosing settings by their results is not charged, unless the guarantee says that epsilon "
        "counts the search.",
    ]
    source = f"{PLACE}: ledgers"
    told = [
        Fact("clients", "clients whose ledgers were charged", len(spent), source),
        Fact("least", "epsilon of the client that spent least", min(spent, default=None), source),
        Fact("most", "epsilon of the client that spent most", max(spent, default=None), source),
    ] * facts.private
    if others is None:
        remedy = "the run's manifest does not tell the digest of its records"
        told.append(Fact("runs", "runs on the same records", None, "manifest.safetensors", remedy))
        return _composed(words, told)
    folder, unbounded = f"manifest.safetensors, {PLACE} and {CHARGE} of each", 0
    total_epsilon = total_delta = 0.0
    for other in others:
        summary = summarise(other)
        unbounded += summary.unit == "none" or summary.unit != facts.unit
        total_epsilon += summary.epsilon or 0.0
        total_delta += (summary.delta or 0.0) if summary.epsilon else 0.0
    none = (
        "runs of another unit, or without a promise, are among them: nothing here bounds their sum"
        if unbounded
        else ""
    )
    told += [
        Fact("runs", "runs on the same records, with this one", len(others), folder),
        Fact("unbounded", "of these, of another unit or without a promise", unbounded,
             "experiment.toml: [budget] unit of each"),
        Fact("sum_epsilon", "epsilon of all of them together, at most",
             None if unbounded else total_epsilon, folder, none),
        Fact("sum_delta", "delta of all of them together, at most",
             None if unbounded else total_delta, "experiment.toml of each", none),
    ]  # fmt: skip
    return _composed(words, told)


def _composed(words: list[str], told: list[Fact]) -> Part:
    question = "How does it add up, over rounds and over runs?"
    return Part("composition", "Composition", question, tuple(words), tuple(told))


def _on_the_same_records(run: Run, runs: Sequence[Run] | None) -> list[Run] | None:
    """Readable runs beside this one on records of the same digest, itself among them."""
    digest = _digest(run)
    if not digest:
        return None
    beside = list_runs(run.path.parent) if runs is None else runs
    same = [run]
    for other in beside:
        if other.path.resolve() == run.path.resolve() or _digest(other) != digest:
            continue
        try:
            summarise(other)
        except PrivetError:
            continue
        same.append(other)
    return same


def _digest(run: Run) -> str:
    try:
        return run.data_told.get("sha256", "")
    except PrivetError:
        return ""
