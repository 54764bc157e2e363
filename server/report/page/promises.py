"""Sections on privacy: what was claimed and audited, and what each adversary saw."""

from collections.abc import Iterator, Sequence

from server.report import figures
from server.report.facts.facts import RunFacts
from server.report.facts.findings import Adversary
from server.report.facts.groups import in_detail
from server.report.figures.style import SERIES, colours_of
from server.report.page.blocks import Block, Panel, Prose, Section, Table
from server.report.page.records import classes, hidden_columns, persons, reconstructions
from server.report.words.units import Cell, count, number, percent, ratio, share
from server.report.words.verdict import contradictions, holds

DETAIL = 8  # runs told one by one
PANELS = 6  # figures of one kind
AUDITED = 24  # runs in one figure

WHO = {
    "final_model": ("whoever has the last model", "the last global model"),
    "all_rounds": ("whoever follows the rounds", "the global model of every round"),
    "server": ("the server", "each client’s update, as released"),
    "secure_sum": ("a server behind secure aggregation", "the sum of the updates of each round"),
    "malicious_client": ("one of the clients", "every global model, and its own share in it"),
}
HELD = {True: "held", False: "BROKEN", None: "not audited and attacked"}


def claimed(runs: Sequence[RunFacts]) -> Section:
    """Epsilon claimed beside epsilon audited."""
    private = [run for run in runs if run.private]
    blocks: list[Block] = []
    if not private:
        return Section(
            "claimed", "Claimed and audited", (Prose("Nothing was promised: no epsilon to audit."),)
        )
    audited = [run for run in private if run.audit]
    if audited:
        shown = in_detail(audited, AUDITED) if len(audited) > AUDITED else audited
        rest = f" {len(shown)} of {len(audited)} are drawn, one a setting." * (
            len(shown) < len(audited)
        )
        blocks.append(
            Panel(
                key="claimed",
                title="Epsilon claimed, and epsilon proven",
                figure=figures.claimed_and_audited(shown),
                caption="The claim is an upper bound on what may leak, marks below it are lower "
                "bounds on what does, at 95 % confidence: one correct run in 20 may have one right "
                "of its claim. One at 0 proves nothing. The audit takes at most 400 steps, so its "
                f"claim can be smaller than that of the whole run.{rest}",
                table=_claims(private),
            )
        )
    else:
        blocks.append(Prose("No run was audited: the claims below stand alone.", "note"))
        blocks.append(_claims(private))
    for warning in dict.fromkeys(said for run in private for said in run.warnings):
        blocks.append(Prose(f"Warning: {warning}.", "note"))
    for caveat in sorted({run.caveat for run in private if run.caveat}):
        whose = _whose([run for run in private if run.caveat == caveat], private)
        blocks.append(Prose(f"The ε of {whose} is that of {caveat}.", "note"))
    for searched in dict.fromkeys(run.searched for run in private if run.searched):
        whose = _whose([run for run in private if run.searched == searched], private)
        blocks.append(Prose(f"Of {whose}: {searched}.", "note"))
    for outside in dict.fromkeys(one for run in private for one in run.outside):
        whose = _whose([run for run in private if outside in run.outside], private)
        blocks.append(Prose(f"Outside the promise of {whose}: {outside}.", "note"))
    for run in private:
        for reason in contradictions(run):
            blocks.append(Prose(f"{run.label}: {reason}.", "note"))
    for run in in_detail(audited, DETAIL):
        if run.audit:
            blocks.append(_checks(run))
            blocks.append(_bounds(run))
    return Section("claimed", "Claimed and audited", tuple(blocks))


def _whose(those: Sequence[RunFacts], private: Sequence[RunFacts]) -> str:
    labels = [run.label for run in those]
    return ", ".join(labels) if len(labels) <= DETAIL else f"{len(labels)} of {len(private)} runs"


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
    rows += [("", "not examined", line, "", "") for line in left_out]
    columns = ("check", "verdict", "measured", "should be", "a failure usually means")
    return Table(f"Checks of the auditor: {run.label}", columns, tuple(rows), folded=True)


def _bounds(run: RunFacts) -> Table:
    audit = run.audit
    rows = tuple((b.name, number(b.epsilon), b.assumes) for b in (audit.bounds if audit else ()))
    steps = f" ({audit.steps} steps)" if audit else ""
    columns = ("lower bound", "ε at least", "assumes")
    return Table(f"What canaries prove: {run.label}{steps}", columns, rows, folded=True)


# ---- adversaries


def adversaries(runs: Sequence[RunFacts]) -> Section:
    """ROC curves, what each adversary saw, pictures and their controls, adversarial examples."""
    attacked = [run for run in runs if run.leakage]
    title = "What each adversary saw"
    if not attacked:
        return Section("adversaries", title, (Prose("No run was attacked.", "note"),))
    detail = in_detail(attacked, DETAIL)
    blocks: list[Block] = [
        Prose(
            "Each adversary sees only what is named with it, and tells records that were trained "
            "on "
            "from records that were not. AUC is its chance of ranking a member above a stranger: "
            "0.5 is a guess. Which attack is reported was chosen on models of the adversary’s own, "
            "never on the run. A low figure does not prove that nothing leaks."
        ),
        *_curves(detail),
        _membership(attacked, folded=len(attacked) > DETAIL),
        _gaps(attacked),
    ]
    if len(detail) < len(attacked):
        blocks.insert(
            1,
            Prose(
                f"{len(attacked)} runs were attacked; curves and pictures are of {len(detail)} of "
                "them, one for each setting, those with most measurements first. The tables are "
                "of all."
            ),
        )
    blocks += persons(attacked)
    blocks += classes(detail)
    blocks += reconstructions(detail)
    blocks += hidden_columns(detail)
    blocks += [table for run in detail if (table := _robustness(run))]
    return Section("adversaries", title, tuple(blocks))


def _curves(runs: Sequence[RunFacts]) -> Iterator[Panel]:
    """Of one run all adversaries together; of several, a figure an adversary."""
    if len(runs) == 1:
        played = runs[0].leakage.played if runs[0].leakage else ()
        named = [(WHO.get(a.name, (a.name, ""))[0], a) for a in played]
        yield _curve("roc", "ROC of each adversary", named, SERIES)
        return
    colours = colours_of([run.promise for run in runs])
    names = dict.fromkeys(a.name for run in runs if run.leakage for a in run.leakage.played)
    for name in list(names)[:PANELS]:
        those = [
            (run, a) for run in runs if run.leakage for a in run.leakage.played if a.name == name
        ]
        distinct = len({run.promise for run, _ in those}) == len(those)
        yield _curve(
            f"roc-{name}",
            f"ROC: {WHO.get(name, (name, ''))[0]}",
            [(run.label, a) for run, a in those],
            [colours[run.promise] for run, _ in those] if distinct else SERIES,
        )


def _curve(
    key: str, title: str, named: Sequence[tuple[str, Adversary]], colours: Sequence[str]
) -> Panel:
    marks = (0.001, 0.01, 0.1)
    rows = tuple(
        (
            name,
            a.auc_attack,
            ratio(a.auc),
            *(percent(_at(a, rate)) for rate in marks),
            count(a.members),
            count(a.non_members),
        )
        for name, a in named
    )
    found = tuple(f"found at {100 * rate:g} % false" for rate in marks)
    return Panel(
        key=key,
        title=title,
        figure=figures.roc(named, colours),
        caption="Both axes are logarithmic: what matters is the left, where few are accused "
        "falsely. "
        "The dashed line is a guess.",
        table=Table(title, ("curve", "attack", "AUC", *found, "members", "non-members"), rows),
        narrow=True,
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
