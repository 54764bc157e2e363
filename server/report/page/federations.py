"""The section on the federation: clients, partitions, budget spent by client, failures."""

import statistics
from collections.abc import Sequence

from server.report import figures
from server.report.facts.facts import RunFacts
from server.report.facts.groups import in_detail
from server.report.page.blocks import Block, Panel, Prose, Section, Table
from server.report.words.units import NONE, SPACE, count, number

FEDERATIONS = 3  # runs whose clients are drawn
CLIENTS = 100  # rows of a table of clients
FAILURES = 50


def federation(runs: Sequence[RunFacts]) -> Section:
    """Clients, partitions, budget spent by client, failures."""
    detail = in_detail(runs, FEDERATIONS)
    blocks: list[Block] = [Prose(words) for words in dict.fromkeys(map(_trust, runs))]
    blocks.append(_federations(runs))
    for i, run in enumerate(detail):
        table = _clients(run)
        if any(c.epsilon is not None for c in run.clients):
            blocks.append(
                Panel(
                    key=f"spent-{i}",
                    title=f"Budget spent by client: {run.label}",
                    figure=figures.spent_by_client(run),
                    caption="What each ledger adds up to. Clients with a failed round are drawn in "
                    "red; what they computed is charged, whether or not it arrived.",
                    table=table,
                )
            )
        else:
            blocks.append(table)
    failures = [(run, failure) for run in runs for failure in run.failures]
    if failures:
        rows = tuple(
            (
                run.label,
                count(f.round),
                count(f.client),
                "refused" if f.refused else "failed",
                f.reason,
            )
            for run, f in failures[:FAILURES]
        )
        more = f", the first {FAILURES} of {len(failures)}" * (len(failures) > FAILURES)
        columns = ("run", "round", "client", "what", "reason")
        blocks.append(Table(f"Failures of clients{more}", columns, rows))
    return Section("federation", "The federation", tuple(blocks))


def _trust(run: RunFacts) -> str:
    kind = {"record": "Record-level", "client": "Client-level"}.get(run.unit, "Without privacy")
    return f"{kind}: {run.trust}" + (
        f". Accounting: {run.accountant}; {run.sampling}." if run.sampling else "."
    )


def _federations(runs: Sequence[RunFacts]) -> Table:
    rows = []
    for run in runs:
        records = [c.records for c in run.clients if c.records is not None]
        spread = (
            (count(min(records)), count(round(statistics.median(records))), count(max(records)))
            if records
            else (NONE, NONE, NONE)
        )
        rows.append(
            (
                run.label,
                count(len(run.clients)),
                count(run.cohort),
                run.secure_aggregation,
                count(run.single_updates_seen),
                run.partition,
                *spread,
                count(sum(c.held_out for c in run.clients if c.held_out is not None))
                if records
                else NONE,
                f"{run.rounds_done}{SPACE}of{SPACE}{run.rounds}",
                count(sum(c.failed for c in run.clients)),
                count(sum(c.refused for c in run.clients)),
            )
        )
    columns = (
        "run",
        "clients",
        "in a round",
        "secure aggregation",
        "single updates the server could read",
        "partition",
        "records a client, least",
        "median",
        "most",
        "held out, in all",
        "rounds",
        "failures",
        "of them refusals",
    )
    return Table("Clients and their data", columns, tuple(rows), folded=len(rows) > 24)


def _clients(run: RunFacts) -> Table:
    rows = tuple(
        (
            f"client {c.client}",
            count(c.records),
            count(c.held_out),
            count(c.rounds),
            count(c.failed),
            count(c.steps),
            number(c.epsilon, 4),
        )
        for c in run.clients[:CLIENTS]
    )
    more = f", the first {CLIENTS} of {len(run.clients)}" * (len(run.clients) > CLIENTS)
    columns = (
        "client", "records", "held out", "good rounds", "failed rounds", "noisy steps", "ε spent",
    )  # fmt: skip
    return Table(f"Clients of {run.label}{more}", columns, rows, folded=True)
