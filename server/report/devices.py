"""Sections on devices: their cost on a chip, encrypted questions, and the federation."""

import statistics
from collections.abc import Sequence

from server.report import figures
from server.report.blocks import Block, Panel, Prose, Section, Table
from server.report.facts import RunFacts
from server.report.findings import Cost, Step
from server.report.groups import in_detail
from server.report.units import NONE, Cell, count, number, percent, share, si

COSTED = 4  # (run, chip) pairs told layer by layer
FEDERATIONS = 3  # runs whose clients are drawn
CLIENTS = 100  # rows of a table of clients
FAILURES = 50


def costs(runs: Sequence[RunFacts]) -> Section:
    """Cost by layer and part with the roofline."""
    title = "What it costs a device"
    costed = [(run, cost) for run in runs for cost in run.costs]
    if not costed:
        return Section("cost", title, (Prose("No chip was asked.", "note"),))
    blocks: list[Block] = [
        Prose(
            "From an analytical model of the chip: nothing here was timed on a device. A step is one "
            "noisy step of the client with the most records; a round is its local steps and the "
            "radio, whose 99th percentile is over batches of random size."
        ),
        _totals(costed),
    ]
    shown = {}
    for run, cost in costed:
        shown.setdefault((cost.chip, cost.arithmetic, run.model, run.unit), (run, cost))
    for i, (run, cost) in enumerate(list(shown.values())[:COSTED]):
        blocks += _by_layer(i, run, cost)
    if len(shown) > COSTED:
        blocks.append(Prose(f"{COSTED} of {len(shown)} pairs of run and chip are told by layer."))
    return Section("cost", title, tuple(blocks))


def _totals(costed: Sequence[tuple[RunFacts, Cost]]) -> Table:
    rows = []
    for run, cost in costed:
        r, step = cost.round, cost.step
        memory = si(step.peak_bytes, "B")
        rows.append(
            (
                run.label,
                cost.chip,
                cost.arithmetic,
                si(cost.inference.latency_s, "s"),
                si(cost.inference.energy_j, "J"),
                count(step.batch),
                si(step.latency_s, "s"),
                si(step.energy_j, "J"),
                memory,
                "yes" if step.fits else "NO: out of memory",
                si(r.latency_s if r else None, "s"),
                si(r.latency_99_s if r else None, "s"),
                si(r.energy_j if r else None, "J"),
                si(r.upload_bytes if r else None, "B"),
                si(r.radio_s if r else None, "s"),
            )
        )
    columns = (
        "run",
        "chip",
        "arithmetic",
        "inference",
        "its energy",
        "records a step",
        "step",
        "its energy",
        "peak memory",
        "fits",
        "round",
        "round, 99 %",
        "its energy",
        "upload",
        "of it radio",
    )
    return Table("Latency, energy and memory", columns, tuple(rows), folded=len(rows) > 24)


def _by_layer(i: int, run: RunFacts, cost: Cost) -> list[Block]:
    step = cost.step
    name = f"{run.label} on {cost.chip}, {cost.arithmetic}"
    what = f"a training step of {step.batch:,} records: {name}"
    blocks: list[Block] = [
        Panel(
            key=f"latency-{i}",
            title="Latency by layer",
            figure=figures.latency_by_layer(step),
            caption=f"Of {what}. The colour says what a phase waits for.",
            table=_phases(f"Phases of {what}", step),
            narrow=True,
        ),
        Panel(
            key=f"energy-{i}",
            title="Energy by layer and part",
            figure=figures.energy_by_layer(step),
            caption=f"Of {what}.",
            table=_parts(f"Energy by part of {what}", step),
            narrow=True,
        ),
    ]
    if any(p.intensity for p in step.phases):
        blocks.append(
            Panel(
                key=f"roofline-{i}",
                title="Roofline",
                figure=figures.roofline(step),
                caption=f"The phases that multiply, of {what}. The line is the most that the chip’s "
                "elements and its memory allow; the further below it, the more is idle.",
                table=_points(f"Roofline of {what}", step),
                narrow=True,
            )
        )
    blocks.append(_phases(f"Phases of an inference of one record: {name}", cost.inference, True))
    return blocks


def _phases(title: str, step: Step, folded: bool = False) -> Table:
    rows = tuple(
        (
            f"{p.layer} · {p.phase}",
            si(p.latency_s, "s"),
            si(sum(joules for _, joules in p.energy_j), "J"),
            si(p.dram_bytes, "B"),
            si(p.macs, "MAC"),
            percent(p.utilisation, 1),
            p.bound,
        )
        for p in step.phases
    )
    columns = ("layer and phase", "latency", "energy", "DRAM", "products", "in use", "bound by")
    return Table(title, columns, rows, folded)


def _parts(title: str, step: Step) -> Table:
    parts = [part for part, joules in step.energy_parts_j if joules]
    rows: list[tuple[Cell, ...]] = [
        (f"{p.layer} · {p.phase}", *(si(dict(p.energy_j).get(part, 0.0), "J") for part in parts))
        for p in step.phases
    ]
    total = dict(step.energy_parts_j)
    rows.append(("whole step", *(si(total[part], "J") for part in parts)))
    return Table(title, ("layer and phase", *parts), tuple(rows))


def _points(title: str, step: Step) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (f"{p.layer} · {p.phase}", number(p.intensity), si(p.operations_per_s, "op/s"), p.bound)
        for p in step.phases
        if p.intensity
    ]
    limit = si(step.peak_operations_per_s, "op/s")
    memory = si(step.dram_bytes_per_s, "B/s") if step.dram_bytes_per_s else "no DRAM"
    rows += [("the chip’s elements", NONE, limit, ""), ("its DRAM", NONE, memory, "")]
    return Table(title, ("layer and phase", "operations a byte", "reached", "bound by"), tuple(rows))


# ---- encrypted inference


def encrypted(runs: Sequence[RunFacts]) -> Section:
    """Encrypted inference: latency, bytes, agreement."""
    title = "Encrypted questions"
    found = [(run, e) for run in runs for e in run.encrypted]
    if not found:
        return Section("encrypted", title, (Prose("No model was asked an encrypted question.", "note"),))
    several = len({run.name for run, _ in found}) > 1
    named = [(f"{e.scheme}, {run.label}" if several else e.scheme, e) for run, e in found]
    steps = list(dict.fromkeys(step for _, e in found for step, _ in e.times_ms))
    rows: list[tuple[Cell, ...]] = []
    for name, e in named:
        times = dict(e.times_ms)
        rows.append((name, *(si(_s(times.get(step)), "s") for step in steps), si(_s(e.total_ms), "s")))
    shares = tuple(
        (
            name,
            count(e.images),
            share(e.encrypted_accuracy),
            share(e.plain_accuracy),
            share(e.agreement),
            si(e.keys_bytes, "B"),
            si(e.upload_bytes, "B"),
            si(e.download_bytes, "B"),
            e.security,
        )
        for name, e in named
    )
    columns = (
        "scheme",
        "images",
        "accuracy, encrypted (95 %)",
        "accuracy, in the clear (95 %)",
        "same answer (95 %)",
        "evaluation keys",
        "question",
        "answer",
        "security",
    )
    blocks: list[Block] = [
        Prose(
            "The service computes on ciphertexts and holds no key. Times were taken on the machine "
            "named under “Settings and versions”, whatever else it was doing."
        ),
        Table("Agreement and bytes", columns, shares),
        Panel(
            key="encrypted",
            title="Time of an encrypted question, by step",
            figure=figures.encrypted_times(named[:6]),
            caption="Medians over the images. Keys are made and uploaded once for many questions.",
            table=Table(
                "Time by step",
                ("scheme", *(step.replace("_", " ") for step in steps), "whole answer"),
                tuple(rows),
            ),
        ),
    ]
    return Section("encrypted", title, tuple(blocks))


def _s(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3


# ---- the federation


def federation(runs: Sequence[RunFacts]) -> Section:
    """Clients, partitions, budget spent by client, failures."""
    detail = in_detail(runs, FEDERATIONS)
    blocks: list[Block] = [_federations(runs)]
    for i, run in enumerate(detail):
        table = _clients(run)
        if any(c.epsilon is not None for c in run.clients):
            blocks.append(
                Panel(
                    key=f"spent-{i}",
                    title=f"Budget spent by client: {run.label}",
                    figure=figures.spent_by_client(run),
                    caption=f"{run.trust[:1].upper()}{run.trust[1:]}. Accounting: {run.sampling}. "
                    "Clients with a failed round are drawn in red.",
                    table=table,
                )
            )
        else:
            blocks.append(table)
    failures = [(run, failure) for run in runs for failure in run.failures]
    if failures:
        rows = tuple(
            (run.label, count(f.round), count(f.client), "refused" if f.refused else "failed", f.reason)
            for run, f in failures[:FAILURES]
        )
        more = f", the first {FAILURES} of {len(failures)}" * (len(failures) > FAILURES)
        columns = ("run", "round", "client", "what", "reason")
        blocks.append(Table(f"Failures of clients{more}", columns, rows))
    return Section("federation", "The federation", tuple(blocks))


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
                run.partition,
                *spread,
                count(sum(c.held_out for c in run.clients if c.held_out is not None))
                if records
                else NONE,
                f"{run.rounds_done} of {run.rounds}",
                count(sum(c.failed for c in run.clients)),
                count(sum(c.refused for c in run.clients)),
            )
        )
    columns = (
        "run",
        "clients",
        "in a round",
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
