"""Sections on privacy: what was claimed and audited, and what each adversary saw."""

from collections.abc import Iterator, Sequence

from server.report import figures
from server.report.facts.facts import RunFacts
from server.report.facts.findings import Adversary
from server.report.page.blocks import Block, Panel, Prose, Section, Table
from server.report.page.records import classes, hidden_columns, persons, reconstructions
from server.report.words.units import Cell, count, number, percent, ratio, share
from server.report.words.verdict import contradictions, holds

DETAIL = 8  # runs that are named one by one

WHO = {
    "final_model": ("whoever has the last model", "the last global model"),
    "all_rounds": ("whoever follows the rounds", "the global model of every round"),
    "server": ("the server", "each client’s update, as released"),
    "secure_sum": ("a server behind secure aggregation", "the sum of the updates of each round"),
    "malicious_client": ("one of the clients", "every global model, and its own share in it"),
}
HELD = {True: "held", False: "BROKEN", None: "not audited and attacked"}


def claimed(runs: Sequence[RunFacts]) -> Section:
    """Epsilon claimed beside epsilon audited, of all runs."""
    private = [run for run in runs if run.private]
    if not private:
        nothing = Prose("Nothing was promised: no epsilon to audit.")
        return Section("claimed", "Claimed and audited", (nothing,))
    said = (
        "The claim is an upper bound on what may leak; what canaries and attacks prove are lower "
        "bounds on what does, at 95 % confidence: one correct run in 20 may have one right of its "
        "claim. One at 0 proves nothing. The audit takes at most 400 steps, so its claim can be "
        "smaller than that of the whole run."
        if any(run.audit for run in private)
        else "No run was audited: the claims below stand alone."
    )
    return Section("claimed", "Claimed and audited", (Prose(said), _claims(private)))


def limits(runs: Sequence[RunFacts]) -> Section:
    """What takes from a promise: warnings, who is left out, what was searched, what contradicts."""
    private = [run for run in runs if run.private]
    notes = [f"{run.label}: {reason}." for run in private for reason in contradictions(run)]
    notes += [f"Warning: {one}." for one in dict.fromkeys(w for r in private for w in r.warnings)]
    for caveat in sorted({run.caveat for run in private if run.caveat}):
        whose = _whose([run for run in private if run.caveat == caveat], private)
        notes.append(f"The ε of {whose} is that of {caveat}.")
    for searched in dict.fromkeys(run.searched for run in private if run.searched):
        whose = _whose([run for run in private if run.searched == searched], private)
        notes.append(f"Of {whose}: {searched}.")
    for outside in dict.fromkeys(one for run in private for one in run.outside):
        whose = _whose([run for run in private if outside in run.outside], private)
        notes.append(f"Outside the promise of {whose}: {outside}.")
    blocks = tuple(Prose(note, "note") for note in notes)
    return Section("limits", "What the promise does not say", blocks)


def _whose(those: Sequence[RunFacts], private: Sequence[RunFacts]) -> str:
    if len(those) == len(private) > 1:
        return f"all {len(private)} private runs"
    labels = [run.label for run in those]
    return ", ".join(labels) if len(labels) <= DETAIL else f"{len(labels)} of {len(private)} runs"


def audited(run: RunFacts) -> list[Block]:
    """The auditor's list, and what canaries prove."""
    return [_checks(run), _bounds(run)] if run.audit else []


def _claims(runs: Sequence[RunFacts]) -> Table:
    rows = []
    for run in runs:
        audit, leakage = run.audit, run.leakage
        best = audit.best if audit else None
        rows.append(
            (
                run.label,
                run.unit,
                number(run.promise),
                number(run.epsilon),
                number(run.epsilon_full_participation),
                number(run.delta),
                number(run.noise_multiplier),
                number(run.clip),
                number(audit.epsilon if audit else None),
                number(best.epsilon if best else None),
                number(leakage.epsilon if leakage else None),
                HELD[holds(run)],
            )
        )
    columns = (
        "run", "unit", "ε promised", "ε spent", "ε, had a client joined every round", "δ",
        "noise multiplier", "clip", "ε claimed for the audited steps",
        "ε proven by canaries, at least", "ε proven by attacks, at least", "verdict",
    )  # fmt: skip
    return Table("What was promised, spent and proven", columns, tuple(rows))


def _checks(run: RunFacts) -> Table:
    done, left_out = (run.audit.checks, run.audit.not_examined) if run.audit else ((), ())
    said = {True: "passed", False: "FAILED"}
    rows = [(c.name, said[c.passed], c.measured, c.expected, c.meaning) for c in done]
    rows += [(line, "not examined", "", "", "") for line in left_out]
    columns = ("check", "verdict", "measured", "should be", "a failure usually means")
    return Table(f"Checks of the auditor: {run.label}", columns, tuple(rows))


def _bounds(run: RunFacts) -> Table:
    audit = run.audit
    rows = tuple((b.name, number(b.epsilon), b.assumes) for b in (audit.bounds if audit else ()))
    steps = f" ({audit.steps} steps)" if audit else ""
    columns = ("lower bound", "ε at least", "assumes")
    return Table(f"What canaries prove: {run.label}{steps}", columns, rows)


# ---- adversaries


def adversaries(runs: Sequence[RunFacts]) -> Section:
    """What each adversary found, of all runs."""
    attacked = [run for run in runs if run.leakage]
    title = "What each adversary saw"
    if not attacked:
        return Section("adversaries", title, (Prose("No run was attacked.", "note"),))
    table = _membership(attacked, folded=len(attacked) > DETAIL)
    blocks = (Prose(HOW), table, _gaps(attacked), *persons(attacked))
    return Section("adversaries", title, blocks)


HOW = (
    "Each adversary sees only what is named with it, and tells records that were trained on from "
    "records that were not. AUC is its chance of ranking a member above a stranger: 0.5 is a "
    "guess. Which attack is reported was chosen on models of the adversary’s own, never on the "
    "run. A low figure does not prove that nothing leaks."
)


def attacked(run: RunFacts) -> list[Block]:
    """What adversaries found in one run: ROC, classes, pictures and their controls."""
    if not run.leakage:
        return []
    table = _robustness(run)
    return [
        Prose(HOW),
        *_curves(run),
        *classes([run]),
        *reconstructions([run]),
        *hidden_columns([run]),
        *([table] if table else []),
    ]


def _curves(run: RunFacts) -> Iterator[Panel]:
    """A panel an adversary, on the same axes."""
    played = run.leakage.played if run.leakage else ()
    if not played:
        return
    named = [(WHO.get(a.name, (a.name, ""))[0], a) for a in played]
    marks = (0.001, 0.01, 0.1)
    rows = tuple(
        (
            name,
            WHO.get(a.name, ("", ""))[1],
            a.auc_attack,
            ratio(a.auc),
            *(percent(_at(a, rate)) for rate in marks),
            count(a.members),
            count(a.non_members),
        )
        for name, a in named
    )
    found = tuple(f"found at {100 * rate:g} % false" for rate in marks)
    columns = ("adversary", "sees", "attack", "AUC", *found, "members", "non-members")
    yield Panel(
        title=f"ROC of each adversary: {run.label}",
        drawing=figures.roc(named),
        caption="Both axes are logarithmic: what matters is the left, where few are accused "
        "falsely. The dashed line is a guess.",
        table=Table(f"ROC of each adversary: {run.label}", columns, rows),
    )


def _at(adversary: Adversary, rate: float) -> float | None:
    """The last point of the curve at or before a false positive rate."""
    if 1 / max(1, adversary.non_members) > rate:
        return None
    return max((t for f, t in adversary.roc if f <= rate * 1.0001), default=None)


def _membership(runs: Sequence[RunFacts], folded: bool) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for run in runs:
        for a in run.leakage.adversaries if run.leakage else ():
            who, saw = WHO.get(a.name, (a.name.replace("_", " "), ""))
            if a.left_out:
                rows.append((run.label, who, saw, f"not played: {a.left_out}", "", "", "", ""))
                continue
            rows.append(
                (
                    run.label,
                    who,
                    saw,
                    ratio(a.auc),
                    share(a.tpr),
                    number(a.epsilon),
                    a.auc_attack
                    if a.auc_attack == a.tpr_attack
                    else f"{a.auc_attack}, {a.tpr_attack}",
                    f"{a.members:,} and {a.non_members:,}",
                )
            )
    columns = (
        "run",
        "adversary",
        "sees",
        "AUC (95 %)",
        "members found at 1 % false (95 %)",
        "ε proven, at least",
        "attack",
        "members and strangers",
    )
    return Table("Membership, by adversary", columns, tuple(rows), folded)


def _gaps(runs: Sequence[RunFacts]) -> Table:
    rows = tuple(
        (
            run.label,
            percent(run.leakage.train_accuracy),
            percent(run.leakage.test_accuracy),
            share(run.leakage.gap),
        )
        for run in runs
        if run.leakage
    )
    columns = ("run", "accuracy on members", "accuracy on strangers", "gap (95 %)")
    return Table("Does the model know its members better?", columns, rows, folded=True)


def _robustness(run: RunFacts) -> Table | None:
    found = run.leakage.robustness if run.leakage else ()
    if not found:
        return None
    attacks = [name for name, _ in found[0][1]]
    rows = tuple((form, *(share(dict(v).get(name)) for name in attacks)) for form, v in found)
    return Table(
        f"Right answers when every number may move by ε of its range: {run.label}",
        ("weights", *attacks),
        rows,
        folded=True,
    )
