"""Sections on devices: their cost on a chip, and encrypted questions."""

from collections.abc import Iterable, Iterator, Sequence

from server.report import figures
from server.report.facts.evidence import Driven
from server.report.facts.facts import RunFacts
from server.report.facts.findings import Cost, Encrypted, Step
from server.report.page.blocks import Block, Panel, Prose, Section, Table
from server.report.words.units import NONE, Cell, count, number, percent, share, si

SCHEMES = {"ckks": "CKKS"}  # as people write them
BOUND_NAMES = {"dram": "DRAM"}


def costs(runs: Sequence[RunFacts]) -> Section:
    """What steps and rounds cost, of all runs."""
    title = "What it costs a device"
    costed = [(run, cost) for run in runs for cost in run.costs]
    if not costed and not any(run.events for run in runs):
        return Section("cost", title, (Prose("No chip was asked.", "note"),))
    blocks = [*_by_loops(costed)] if costed else []
    return Section("cost", title, (*blocks, *_by_events(runs)))


def _by_loops(costed: Sequence[tuple[RunFacts, Cost]]) -> list[Block]:
    """On conventional chips, whose work follows from a net's loops."""
    return [
        Prose(
            "From an analytical model of the chip: nothing here was timed on a device. A step is "
            "one "
            "noisy step of the client with the most records; a round is its local steps and the "
            "radio, whose 99th percentile is over batches of random size."
        ),
        *(Prose(note, "note") for note in _notes(costed)),
        _steps(costed),
        *_preparations(costed),
        _rounds(costed),
        _chips(cost for _, cost in costed),
    ]


def _by_events(runs: Sequence[RunFacts]) -> list[Block]:
    """On event-driven chips, and the same runs' inferences on conventional ones beside them."""
    found = [(run, event) for run in runs for event in run.events]
    if not found:
        return []
    rows = tuple(
        (
            run.label, chip, by, si(seconds, "s"), si(most_s, "s"), si(joules, "J"),
            si(most_j, "J"), count(batch), si(step_s, "s"), si(step_j, "J"),
            "yes" if fits else "NO",
        )
        for run in runs
        if run.events
        for chip, by, seconds, most_s, joules, most_j, batch, step_s, step_j, fits in _priced(run)
    )  # fmt: skip
    columns = (
        "run", "chip", "priced by", "inference of 1 record", "of 99 in 100", "its energy",
        "of 99 in 100", "records a step", "training step", "its energy", "fits",
    )  # fmt: skip
    said = (
        "An event-driven chip pays for what happens: spikes, the synapses that they reach and the "
        "neurons that they change, counted on test records in the last weights and priced by what "
        "was published of the chip. A conventional chip beside it computes every product."
    )
    title = "An inference and a training step, event by event"
    return [
        Prose(said),
        *(Prose(note, "note") for note in _notes(found)),
        Table(title, columns, rows, folded=len(rows) > 24),
        _chips(event for _, event in found),
    ]


Priced = tuple[
    str, str, float, float | None, float, float | None, int, float | None, float | None, bool
]


def _priced(run: RunFacts) -> Iterator[Priced]:
    """Each chip: what by, an inference and that of 99 in 100, a training step, whether it fits."""
    for e in run.events:
        yield (
            e.short, f"events of {e.records:,} test records", e.latency_s, e.latency_99_s,
            e.energy_j, e.energy_99_j, e.batch, e.step_s, e.step_j, e.fits,
        )  # fmt: skip
    for cost in run.costs:
        once, step = cost.inference, cost.step
        yield (
            cost.short, f"loops, in {cost.arithmetic}", once.latency_s, None,
            once.energy_j, None, step.batch, step.latency_s, step.energy_j, not cost.too_large,
        )  # fmt: skip


def _chips(found: Iterable[Cost | Driven]) -> Prose:
    """Whose constants they are."""
    return Prose("Chips: " + "; ".join(dict.fromkeys(one.chip for one in found)) + ".")


def _notes(costed: Sequence[tuple[RunFacts, Cost | Driven]]) -> list[str]:
    """Each note once, with the runs and chips that it is about."""
    about: dict[str, list[str]] = {}
    for run, cost in costed:
        for note in cost.notes:
            about.setdefault(note, []).append(f"{run.label} on {cost.short}")
    return [f"{'; '.join(names)}: {note}." for note, names in about.items()]


def _preparations(costed: Sequence[tuple[RunFacts, Cost]]) -> list[Block]:
    """What a fixed transform costs before the first round."""
    rows = tuple(
        (
            run.label,
            cost.short,
            cost.transform,
            count(p.records),
            si(p.latency_s, "s"),
            si(p.energy_j, "J"),
            si(p.peak_bytes, "B"),
            si(p.kept_bytes, "B"),
        )
        for run, cost in costed
        if (p := cost.preparation)
    )
    if not rows:
        return []
    columns = (
        "run", "chip", "computes in", "records", "latency", "energy", "peak memory", "kept",
    )  # fmt: skip
    said = (
        "A fixed transform stands before these models. A device computes it once for each of its "
        "training records, before the first round, and keeps what it gives, where it keeps its "
        "records: steps and rounds begin there. An inference begins with the transform."
    )
    return [Prose(said), Table("Before the first round", columns, rows, folded=len(rows) > 24)]


def _steps(costed: Sequence[tuple[RunFacts, Cost]]) -> Table:
    rows = tuple(
        (
            run.label,
            cost.short,
            cost.arithmetic,
            si(cost.inference.latency_s, "s"),
            si(cost.inference.energy_j, "J"),
            count(cost.step.batch),
            si(cost.step.latency_s, "s"),
            si(cost.step.energy_j, "J"),
            si(cost.step.peak_bytes, "B"),
            f"NO: out of memory ({', '.join(cost.too_large)})" if cost.too_large else "yes",
        )
        for run, cost in costed
    )
    columns = (
        "run", "chip", "computes in", "inference of 1 record", "its energy", "records a step",
        "training step", "its energy", "peak memory", "fits",
    )  # fmt: skip
    return Table("An inference and a training step", columns, rows, folded=len(rows) > 24)


def _rounds(costed: Sequence[tuple[RunFacts, Cost]]) -> Table:
    rows = tuple(
        (
            run.label,
            cost.short,
            count(r.steps),
            si(r.latency_s, "s"),
            si(r.latency_99_s, "s"),
            si(r.energy_j, "J"),
            si(r.upload_bytes, "B"),
            si(r.download_bytes, "B"),
            si(r.radio_s, "s"),
            si(r.radio_j, "J"),
        )
        for run, cost in costed
        if (r := cost.round)
    )
    columns = (
        "run", "chip", "steps", "latency, mean", "latency, 99 %", "energy", "upload", "download",
        "of it radio, time", "radio, energy",
    )  # fmt: skip
    return Table("A federated round", columns, rows, folded=len(rows) > 24)


def by_layer(run: RunFacts) -> Iterator[Block]:
    """Each chip that was asked: a training step and an inference, layer by layer."""
    for cost in run.costs:
        step, name = cost.step, f"{cost.short} in {cost.arithmetic}, {run.label}"
        yield from (Prose(f"{note[:1].upper()}{note[1:]}.", "note") for note in cost.notes)
        yield _phases(f"A training step of {step.batch:,} records on {name}", step)
        yield _parts(f"Its energy by part, on {name}", step)
        yield _phases(f"An inference of one record on {name}", cost.inference)
        drawing = figures.roofline(step)
        if drawing.panels:
            title = f"Roofline of a training step on {name}"
            yield Panel(
                title,
                drawing,
                caption="The line is the most that the chip’s elements and its memory allow; the "
                "further below it, the more is idle. Shapes tell phases apart.",
                table=_points(title, step),
            )
    for event in run.events:
        yield from (Prose(f"{note[:1].upper()}{note[1:]}.", "note") for note in event.notes)
        yield _events(f"An inference of one record on {event.short}, {run.label}", event)


def _events(title: str, found: Driven) -> Table:
    """Layer by layer, means of the records that were counted."""
    parts = [part for part, _ in found.rows[0][-1]] if found.rows else []
    rows = tuple(
        (
            layer,
            count(neurons),
            number(events),
            number(fired),
            *(si(dict(joules).get(part, 0.0), "J") for part in parts),
        )
        for layer, neurons, events, fired, joules in found.rows
    )
    return Table(title, ("layer", "neurons", "synaptic events", "spikes made", *parts), rows)


def _phases(title: str, step: Step) -> Table:
    rows = tuple(
        (
            f"{p.layer} · {p.phase}",
            si(p.latency_s, "s"),
            si(sum(joules for _, joules in p.energy_j), "J"),
            si(p.dram_bytes, "B"),
            si(p.macs, "MAC"),
            percent(p.utilisation, 1),
            BOUND_NAMES.get(p.bound, p.bound),
        )
        for p in step.phases
    )
    columns = ("layer and phase", "latency", "energy", "DRAM", "products", "in use", "bound by")
    return Table(title, columns, rows, bars=("latency", "energy"))


def _parts(title: str, step: Step) -> Table:
    parts = [part for part, joules in step.energy_parts_j if joules]
    rows: list[tuple[Cell, ...]] = [
        (f"{p.layer} · {p.phase}", *(si(dict(p.energy_j).get(part, 0.0), "J") for part in parts))
        for p in step.phases
    ]
    total = dict(step.energy_parts_j)
    rows.append(("whole step", *(si(total[part], "J") for part in parts)))
    return Table(title, ("layer and phase", *parts), tuple(rows), shaded=True)


def _points(title: str, step: Step) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{p.layer} · {p.phase}",
            number(p.intensity),
            si(p.operations_per_s, "op/s"),
            BOUND_NAMES.get(p.bound, p.bound),
        )
        for p in step.phases
        if p.intensity
    ]
    limit = si(step.peak_operations_per_s, "op/s")
    memory = si(step.dram_bytes_per_s, "B/s") if step.dram_bytes_per_s else "no DRAM"
    rows += [("the chip’s elements", NONE, limit, ""), ("its DRAM", NONE, memory, "")]
    return Table(
        title, ("layer and phase", "operations a byte", "reached", "bound by"), tuple(rows)
    )


# ---- encrypted inference


def encrypted(runs: Sequence[RunFacts]) -> Section:
    """Encrypted inference: latency, bytes, agreement."""
    title = "Encrypted questions"
    found = [(run, e) for run in runs for e in run.encrypted]
    if not found:
        nobody = Prose("No model was asked an encrypted question.", "note")
        return Section("encrypted", title, (nobody,))
    return Section("encrypted", title, tuple(asked(found)))


def asked(found: Sequence[tuple[RunFacts, Encrypted]]) -> Iterator[Block]:
    """Answers and times of some schemes."""
    several = len({run.name for run, _ in found}) > 1
    named = [(f"{_scheme(e)}, {run.label}" if several else _scheme(e), e) for run, e in found]
    yield Prose(
        "The service computes on ciphertexts and holds no key. Times are medians over the timed "
        "images, taken on the machine named under “Settings and versions”, whatever else it was "
        "doing. Keys are made and uploaded once for many questions."
    )
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
            count(e.timed_images),
            "; ".join([e.security, *(f"{name} {version}" for name, version in e.versions)]),
        )
        for name, e in named
    )
    columns = (
        "scheme", "images", "accuracy, encrypted (95 %)", "accuracy, in the clear (95 %)",
        "same answer (95 %)", "evaluation keys", "question", "answer", "timed images", "security",
    )  # fmt: skip
    yield Table("Agreement and bytes", columns, shares)
    steps = list(dict.fromkeys(step for _, e in named for step, _ in e.times_ms))
    times = tuple(
        (name, *(si(_s(dict(e.times_ms).get(s)), "s") for s in steps), si(_s(e.total_ms), "s"))
        for name, e in named
    )
    heads = ("scheme", *(step.replace("_", " ") for step in steps), "whole answer")
    yield Table("Time by step", heads, times)


def _scheme(found: Encrypted) -> str:
    return SCHEMES.get(found.scheme, found.scheme)


def _s(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3
