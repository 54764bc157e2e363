"""All evidence of one run: what a click on a cell of the matrix opens.

Each part begins with the command that makes it again.
"""

import shlex
from collections.abc import Iterator, Sequence

from clients.chip import load_chip, ready_chips
from clients.chip.events import load_event_chip, ready_event_chips
from server.report import figures
from server.report.facts.facts import RunFacts
from server.report.facts.gaps import is_baseline
from server.report.facts.scores import scores_of
from server.report.page.blocks import Block, Commands, Dossier, Panel, Prose, Section, Table
from server.report.page.devices import asked, by_layer
from server.report.page.federations import clients
from server.report.page.promises import attacked, audited
from server.report.page.reached import by_class
from server.report.words.units import SPACE, count, number, percent, si

MOST = 32  # runs, beside those that the matrix names


def dossiers(runs: Sequence[RunFacts]) -> tuple[Dossier, ...]:
    """One a run, in the order of the report."""
    return tuple(_dossier(key, run, runs) for key, run in _told(runs).items())


def targets(runs: Sequence[RunFacts]) -> dict[str, str]:
    """Name of a run -> what stands before the name of a part in its id."""
    return {run.name: f"{key}-" for key, run in _told(runs).items()}


def _told(runs: Sequence[RunFacts]) -> dict[str, RunFacts]:
    """The runs that scores stand on, and others until there are enough."""
    scored = {score.run for score in scores_of(runs)}
    others = [run.name for run in runs if run.name not in scored]
    kept = scored | set(others[: max(0, MOST - len(scored))])
    return {f"run-{i}": run for i, run in enumerate(runs) if run.name in kept}


def _dossier(key: str, run: RunFacts, runs: Sequence[RunFacts]) -> Dossier:
    name = shlex.quote(str(run.path))
    parts = {
        "accuracy": ("How it was trained, and what it reached", _trained(run, runs)),
        "leakage": ("What adversaries saw", _attacked(run, name)),
        "audit": ("What the audit tried", _audited(run, name)),
        "device": ("What it costs a device", _costed(run, name)),
        "encrypted": ("Encrypted questions", _encrypted(run, name)),
        "clients": ("Its clients", clients(run)),
    }
    sections = tuple(
        Section(f"{key}-{part}", title, tuple(blocks))
        for part, (title, blocks) in parts.items()
        if blocks
    )
    about = ", ".join(filter(None, (run.arithmetic, run.about, f"directory {run.name}")))
    return Dossier(key, run.label, about, sections)


def _trained(run: RunFacts, runs: Sequence[RunFacts]) -> list[Block]:
    again = f"privet run {shlex.quote(str(run.path / run.trained_from))}"
    lines = (again, shlex.join(run.command)) if run.command else (again,)
    why = "Again, from all its settings as resolved" + ", and as it was begun" * bool(run.command)
    return [Commands(why, lines), _difference(run, runs), *_rounds(run), *by_class(run)]


def _difference(run: RunFacts, runs: Sequence[RunFacts]) -> Block:
    """Its settings against the run that it is compared with: its baseline, else the first."""
    others = [other for other in runs if other is not run]
    base = next(
        (other for other in others if is_baseline(other, run)), others[0] if others else run
    )
    its, mine = dict(base.settings), dict(run.settings)
    keys = [key for key in dict.fromkeys((*mine, *its)) if its.get(key) != mine.get(key)]
    if not keys:
        return Prose("Its settings are those of all runs." if others else "It stands alone.")
    rows = tuple((key, mine.get(key, "-"), its.get(key, "-")) for key in keys)
    title = f"Settings of {run.label} that are not those of {base.label}"
    return Table(title, ("setting", "here", f"in {base.label}"), rows)


def _rounds(run: RunFacts) -> Iterator[Block]:
    moving = any(turn.clip is not None for turn in run.course)
    rows = tuple(
        (
            count(turn.round),
            percent(turn.accuracy),
            number(turn.loss),
            number(turn.epsilon),
            si(turn.seconds, "s"),
            count(turn.failed),
            *((number(turn.clip), number(turn.within)) if moving else ()),
        )
        for turn in run.course
    )
    more = ("clip", "share within it, with noise") if moving else ()
    columns = ("round", "accuracy", "loss", "ε spent", "took", "clients that failed", *more)
    title = f"Rounds of {run.label}"
    drawing = figures.rounds(run)
    if drawing.panels:
        done = f"{run.rounds_done}{SPACE}of{SPACE}{run.rounds}"
        yield Panel(title, drawing, f"{done} rounds, seed {run.seed}.", Table(title, columns, rows))
    elif rows:
        yield Table(title, columns, rows)


def _attacked(run: RunFacts, name: str) -> list[Block]:
    if not run.leakage:
        return [Commands("Nobody attacked it. To do so", (f"privet attack {name}",))]
    return [
        Commands("Again, by the run’s own settings", (f"privet attack {name}",)),
        *attacked(run),
    ]


def _audited(run: RunFacts, name: str) -> list[Block]:
    if not run.private:
        return []
    if not run.auditable:
        return [Prose("It cannot be audited: see what is not here.")]
    if not run.audit:
        return [Commands("Nobody audited it. To do so", (f"privet audit {name}",))]
    return [Commands("Again, by the run’s own settings", (f"privet audit {name}",)), *audited(run)]


def _costed(run: RunFacts, name: str) -> list[Block]:
    titles = [cost.chip for cost in run.costs] + [event.chip for event in run.events]
    if not titles:
        lines = (f"privet cost {name} --chip eyeriss",)
        return [Commands("No chip was asked. To ask one", lines)]
    ready = {load_chip(chip).title: chip for chip in ready_chips()}
    ready |= {load_event_chip(chip).title: chip for chip in ready_event_chips()}
    chips = " ".join(f"--chip {ready.get(chip, 'FILE.toml')}" for chip in titles)
    return [Commands("Again", (f"privet cost {name} {chips}",)), *by_layer(run)]


def _encrypted(run: RunFacts, name: str) -> list[Block]:
    if not run.encrypted:
        return []
    lines = tuple(
        f"privet infer {name} --scheme {shlex.quote(e.scheme)} --evaluate {e.images}"
        for e in run.encrypted
    )
    return [Commands("Again", lines), *asked([(run, e) for e in run.encrypted])]
