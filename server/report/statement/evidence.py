"""What was audited, what attacks found, and what the model is good for: each with its interval."""

from collections.abc import Iterator

from server.report.facts.facts import RunFacts
from server.report.facts.findings import Adversary, Likeness
from server.report.page.promises import WHO
from server.report.statement.statement import Fact, Part

AUDIT, LEAKAGE, TEST = "audit.json", "leakage.json", "test.json"
WHICH = {True: "passed", False: "FAILED"}


def audited(facts: RunFacts) -> Part:
    """Each check of the auditor, and the lower bounds of epsilon."""
    question = "Was it tested that the code keeps the promise, and what did the tests prove?"
    words = (
        "An audit runs the installed code again as this run uses it, plants records that are as "
        "conspicuous as can be, and computes from what they show how much epsilon there is at "
        "least. A lower bound near the claim says that the claim is tight, and one above it that "
        "it is false; no audit proves that a promise holds.",
    )
    audit = facts.audit
    if audit is None:
        gone = _remedy(facts, AUDIT, f"privet audit {facts.name}")
        if not facts.auditable and not dict(facts.damaged).get(AUDIT):
            gone = "there is nothing to audit in such a run"
        missing = Fact("passed", "did the audit pass", None, AUDIT, gone)
        return Part("audit", "The audit", question, words, (missing,))
    told = [
        Fact("passed", "did the audit pass", audit.passed, f"{AUDIT}: passed"),
        Fact(
            "claimed", "epsilon claimed for the audited steps", audit.epsilon, f"{AUDIT}: epsilon"
        ),
        Fact("steps", "audited steps", audit.steps, f"{AUDIT}: steps"),
    ]
    for bound in audit.bounds:
        name = f"epsilon, at least, by {bound.name} ({bound.assumes}); 95 % confidence"
        told.append(Fact(f"bound.{bound.name}", name, bound.epsilon, f"{AUDIT}: bounds"))
    for check in audit.checks:
        said = f"{WHICH[check.passed]}: {check.measured}; should be: {check.expected}"
        told.append(Fact(f"check.{check.name}", check.name, said, f"{AUDIT}: checks"))
    return Part("audit", "The audit", question, words, tuple(told))


def attacked(facts: RunFacts) -> Part:
    """Each adversary, and what it found, with intervals."""
    question = "Which attacks were tried, by whom, and what did they find?"
    words = (
        "Each adversary sees only what its name says. The area under its curve is its chance of "
        "ranking a record that was trained on above one that was not: one half is a guess. "
        "Intervals are at 95 % confidence. That an attack finds nothing does not prove that there "
        "is nothing to find: there are others, and better ones will come.",
    )
    found = facts.leakage
    if found is None:
        gone = _remedy(facts, LEAKAGE, f"privet attack {facts.name}")
        missing = Fact("membership", "membership inference", None, LEAKAGE, gone)
        return Part("attacks", "Attacks", question, words, (missing,))
    told = [fact for adversary in found.adversaries for fact in _membership(adversary)]
    told += [
        Fact("gap", "accuracy on records trained on, less on others", found.gap,
             f"{LEAKAGE}: train_test_gap", "not measured")
    ]  # fmt: skip
    if (persons := found.persons) is not None:
        told.append(
            Fact("persons", "a whole person: area under the curve", persons.auc,
                 f"{LEAKAGE}: final_model, persons", persons.left_out)
        )  # fmt: skip
    for hidden in found.hidden:
        name = f"a hidden column ({hidden.column}): what membership adds to guessing it"
        told.append(
            Fact(f"hidden.{hidden.column}", name, hidden.of_membership, f"{LEAKAGE}: attributes")
        )
    told += [fact for likeness in found.likenesses for fact in _likeness(likeness)]
    return Part("attacks", "Attacks", question, words, tuple(told))


def _membership(adversary: Adversary) -> Iterator[Fact]:
    name, at = adversary.name, f"{LEAKAGE}: {adversary.name}"
    who, sees = WHO.get(name, (name, "what it says"))
    if adversary.left_out:
        yield Fact(f"{name}.auc", f"{who}: area under the curve", None, at, adversary.left_out)
        return
    yield Fact(f"{name}.sees", f"{who}: sees", sees, at)
    yield Fact(f"{name}.auc", f"{who}: area under the curve", adversary.auc, f"{at}, auc")
    yield Fact(f"{name}.found", f"{who}: members found where one stranger in a hundred is accused",
               adversary.tpr, f"{at}, tpr_at_1_percent")  # fmt: skip
    yield Fact(f"{name}.epsilon", f"{who}: epsilon, at least", adversary.epsilon,
               f"{at}, epsilon", "not measured")  # fmt: skip
    yield Fact(f"{name}.members", f"{who}: members tried", adversary.members, f"{at}, members")
    yield Fact(f"{name}.strangers", f"{who}: strangers tried", adversary.non_members,
               f"{at}, non_members")  # fmt: skip


def _likeness(likeness: Likeness) -> Iterator[Fact]:
    """A drawing of records: chance that it is as near to its victim as it is to strangers."""
    kind = likeness.name.partition("_")[0]
    at = f"{LEAKAGE}: {'inversion' if kind == 'inversion' else 'generators'}"
    of = "_" if kind == "inversion" else "_of_the_"
    drawn_by = likeness.name.replace("_", of, 1).replace("_", " ")
    name = f"records drawn by {drawn_by}: p of being no nearer to "
    yield Fact(f"{likeness.name}.p", f"{name}their victim than to others", likeness.p_value, at,
               likeness.left_out or "not measured")  # fmt: skip


def useful(facts: RunFacts) -> Part:
    """Accuracy and the like, and for whom it is worst."""
    question = "What is the model good for, and for whom is it worst?"
    words = (
        "Noise and clipping cost accuracy, and may cost those most who are few: a figure over all "
        "hides them, so the class that is told least well is named.",
    )
    reached = facts.reached
    if reached is None:
        gone = _remedy(facts, TEST, f"privet evaluate {facts.name}")
        missing = Fact("figures", "figures on the test set", None, TEST, gone)
        return Part("utility", "Utility and bias", question, words, (missing,))
    told = [Fact("records", "test records", reached.records, f"{TEST}: records")]
    for name, figure in reached.figures:
        unit = f", in {reached.unit}" if reached.unit and name != "R2" else ""
        told.append(
            Fact(f"figure.{name}", name + unit, figure, f"{TEST}: figures", "it has no value here")
        )
    by_class = [
        (measure.value, row.name, name, measure)
        for row in reached.classes
        for name, measure in row.figures[:1]
        if measure is not None
    ]
    if by_class:
        _, worst, name, measure = min(by_class, key=lambda one: one[:2])
        told.append(Fact("worst", f"{name} of the worst class, {worst}", measure,
                         f"{TEST}: classes"))  # fmt: skip
    return Part("utility", "Utility and bias", question, words, tuple(told))


def _remedy(facts: RunFacts, file: str, command: str) -> str:
    """Why a part is missing, or the command that brings it."""
    wrong = dict(facts.damaged).get(file)
    return f"{file} cannot be read ({wrong}); do it again: {command}" if wrong else command
