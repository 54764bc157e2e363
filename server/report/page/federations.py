"""The federation: partitions; and of one run, its clients, what each spent, what failed."""

import statistics
from collections.abc import Sequence

from server.report.facts.facts import RunFacts
from server.report.page.blocks import Block, Prose, Section, Table
from server.report.words.units import NONE, SPACE, count, number

CLIENTS = 100  # rows of a table of clients
FAILURES = 50


def federation(runs: Sequence[RunFacts]) -> Section:
    """Clients and partitions of all runs."""
    blocks: list[Block] = [Prose(words) for words in dict.fromkeys(map(_trust, runs))]
    blocks.append(_federations(runs))
    return Section("federation", "The federation", tuple(blocks))


def clients(run: RunFacts) -> list[Block]:
    """Who takes part, what each spent, and what failed."""
    blocks: list[Block] = [Prose(_trust(run)), _clients(run)]
    if run.failures:
        rows = tuple(
            (count(f.round), count(f.client), "refused" if f.refused else "failed", f.reason)
            for f in run.failures[:FAILURES]
        )
        more = f", the first {FAILURES} of {len(run.failures)}" * (len(run.failures) > FAILURES)
        columns = ("round", "client", "what", "reason")
        blocks.append(Table(f"Failures of clients of {run.label}{more}", columns, rows))
    return blocks


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
    return Table(f"Clients of {run.label}{more}", columns, rows, bars=("records", "ε spent"))
