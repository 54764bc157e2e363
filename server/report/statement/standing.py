"""What stands around the mathematics: purpose, data, trust, limits, the law, versions, hashes."""

import hashlib
from collections.abc import Iterator

from privacy.errors import RunError
from privacy.foreign import MOST_ARRAYS_BYTES, read_foreign
from server.experiment.lessons import Learnt
from server.report.facts.facts import RunFacts
from server.report.statement.statement import Fact, Part
from server.run.directory import Run
from server.run.origin import EXTRACTED
from server.run.summary import CHARGE

HASHED = (
    "experiment.toml", "rounds.jsonl", "manifest.safetensors", "audit.json", "leakage.json",
    "test.json",
)  # fmt: skip
OF_SOME = (CHARGE, EXTRACTED, "model.py")  # of which a run without them lacks nothing
STAYED = (
    "Records stay on the devices that hold them; what leaves is named under trust. How they came "
    "to the devices, and who may read them there, is not known here."
)
LEFT = (
    "Records left their owner encrypted, under a key that stayed there; what else left is named "
    "under trust."
)
NOT_COVERED = (
    "settings that were chosen by looking at results, unless epsilon is said to count the search",
    "facts that are true of many units: a model may learn them, and they may be sensitive",
    "who may read the records, the models and this file: access control is the operator's",
    "time, memory and power of the machines, which may depend on records",
    "whether the records may be used at all, were taken fairly, and are right",
    "several units of one person, unless the unit is the person",
    "attacks that nobody has thought of yet",
)
OPINION = (
    ("design: which data were taken, and how little of them", "data"),
    ("design: how training limits what can be learned of one", "guarantee, mechanism"),
    ("analysis: was it checked that the code does what the design says", "audit"),
    ("tests: membership, attributes, reconstruction, inversion", "attacks"),
    ("documentation: what is left, and for whom", "limits, versions"),
)


def purpose(run: Run, facts: RunFacts, purpose: str, controller: str) -> Part:
    """For what, and by whom."""
    experiment, settings = run.experiment, "experiment.toml"
    return Part(
        "purpose",
        "Purpose",
        "What is the model for, and who answers for it?",
        (),
        (
            Fact("purpose", "purpose", purpose or None, "--purpose", "say it with --purpose"),
            Fact("controller", "controller", controller or None, "--controller",
                 "say it with --controller"),
            Fact("title", "experiment", experiment.title or None, f"{settings}: title", "untitled"),
            Fact("task", "what it is to tell of a record", experiment.data.task,
                 f"{settings}: [data] task"),
            Fact("model", "model", facts.model, f"{settings}: [model] name"),
            Fact("arithmetic", "arithmetic", facts.arithmetic, f"{settings}: [arithmetic]"),
            Fact("finished", "is training finished", facts.finished, "rounds.jsonl"),
        ),
    )  # fmt: skip


def exposure(run: Run, facts: RunFacts) -> Part:
    """Whose data, how many, and what left the devices."""
    manifest, trained = "manifest.safetensors", [c.records for c in facts.clients]
    known = [n for n in trained if n is not None]
    gone = "devices' records are their own, and are not counted here"
    whole = bool(known) and any(known)
    aside = sum(c.held_out or 0 for c in facts.clients)
    return Part(
        "data",
        "The data",
        "Whose data are these, how many, where are they, and who collects what of them?",
        (
            LEFT if isinstance(run.experiment, Learnt) else STAYED,
        ),
        (
            Fact("dataset", "records", facts.dataset, "experiment.toml: [data] name"),
            Fact("used", "records for training, of all clients", sum(known) if whole else None,
                 manifest, gone),
            Fact("fewest", "records of the smallest client", min(known) if whole else None,
                 manifest, gone),
            Fact("held_out", "records held out", aside if whole else None, manifest, gone),
            Fact("test", "test records", facts.test_records, f"{manifest}: test_records",
                 "the run does not say"),
            Fact("clients", "clients", len(facts.clients), "experiment.toml: [federation] clients"),
            Fact("partition", "how records came to clients", facts.partition,
                 "experiment.toml: [data] partition"),
            Fact("digest", "digest of the records (SHA-256)", _told(run).get("sha256") or None,
                 f"{manifest}: sha256", "the run does not say"),
        ),
    )  # fmt: skip


def trust(run: Run, facts: RunFacts) -> Part:
    """Who is trusted with what."""
    federation = run.experiment.federation
    told = [
        Fact("who", "who is protected from whom", facts.trust, "experiment.toml, rounds.jsonl"),
        Fact("secure", "sums that the server cannot open", facts.secure_aggregation,
             "experiment.toml: [federation] secure_aggregation"),
        Fact("seen", "updates of one client that the server could read",
             facts.single_updates_seen, "rounds.jsonl"),
        Fact("engine", "what carried the messages", federation.engine,
             "experiment.toml: [federation] engine"),
    ]  # fmt: skip
    return Part(
        "trust",
        "Trust",
        "Who is trusted with what, and against whom does the promise hold?",
        (
            "A promise holds against those whom it names, as long as those it counts on do as they "
            "should. The threats that were thought of stand in compose/THREATS.md of the source.",
        ),
        tuple(told),
    )


def limits(facts: RunFacts) -> Part:
    """What is not covered."""
    left = facts.audit.not_examined if facts.audit else ()
    told = [Fact(f"outside.{n}", "outside the promise", one, "experiment.toml")
            for n, one in enumerate(facts.outside)]  # fmt: skip
    told += [Fact(f"not_examined.{n}", "not examined by the audit", one, "audit.json: not_examined")
             for n, one in enumerate(left)]  # fmt: skip
    told += [Fact(f"damaged.{name}", f"{name} cannot be read", why, name)
             for name, why in facts.damaged]  # fmt: skip
    told += [Fact(f"failed.{stage}", f"{stage} failed", why, "the sweep")
             for stage, why in facts.failed_stages]  # fmt: skip
    told.append(Fact("failures", "failures of clients", len(facts.failures), "rounds.jsonl"))
    words = ("No promise and no test here is of:", *(f"– {one};" for one in NOT_COVERED))
    return Part("limits", "Not covered", "What is not covered?", words, tuple(told))


def anonymity() -> Part:
    """Where this statement answers what a supervisory authority asks; it decides nothing."""
    words = (
        "This statement does not decide whether the model is anonymous. The European Data "
        "Protection Board's opinion on AI models (Opinion 28/2024, section 3.2) has that decided "
        "case by case: extraction of personal data from the model, and what questions to it may "
        "bring out, must both be insignificant, by all means reasonably likely to be used by "
        "anyone.",
        "The odds above bound those means where the promise holds, whatever they are; the attacks "
        "say what some of them found.",
    )
    told = tuple(Fact(f"asks.{n}", asked, f"see: {where}", "Opinion 28/2024, section 3.2")
                 for n, (asked, where) in enumerate(OPINION))  # fmt: skip
    question = "Is the model anonymous? Where the evidence is that an authority asks for."
    return Part("anonymity", "Anonymity", question, words, told)


def versions(run: Run, facts: RunFacts) -> Part:
    """What it was made with, and digests of what it is."""
    told, place = run.environment, "environment.json"
    gone = f"{place} does not tell"
    facts_ = [
        Fact("created", "when it began", facts.created or None, f"{place}: created", gone),
        Fact("command", "command", " ".join(facts.command) or None, f"{place}: command", gone),
        Fact("machine", "machine", facts.machine or None, place, gone),
        Fact("code", "digest of privet's code", str(told.get("code") or "") or None,
             f"{place}: code", gone),
        Fact("identity", "what devices know the run by", run.identity,
             "digest of experiment.toml and environment.json"),
    ]  # fmt: skip
    facts_ += [Fact(f"version.{package}", package, version, f"{place}: versions")
               for package, version in facts.versions]  # fmt: skip
    facts_ += [Fact(f"sha256.{name}", f"SHA-256 of {name}", digest, name, "it is not in the run")
               for name, digest in _digests(run, facts)]  # fmt: skip
    return Part(
        "versions",
        "Versions and digests",
        "Which run is this of, exactly, and what made it?",
        ("A digest lets anyone check that this statement is of the files that they have.",),
        tuple(facts_),
    )


def _digests(run: Run, facts: RunFacts) -> Iterator[tuple[str, str | None]]:
    last = f"rounds/{facts.rounds_done:03d}.safetensors"
    for name in (*HASHED, *OF_SOME, last):
        path = run.path / name
        try:
            content = read_foreign(path, MOST_ARRAYS_BYTES, follow=False)
        except OSError:
            if name not in OF_SOME:
                yield name, None
            continue
        yield name, hashlib.sha256(content).hexdigest()


def _told(run: Run) -> dict[str, str]:
    try:
        return run.data_told
    except RunError:
        return {}
