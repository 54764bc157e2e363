"""`privet cost`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from privacy.documents import to_json
from privacy.errors import SettingsError
from server.commands.options import (
    AsJson,
    Classes,
    Runs,
    Settings,
    Trust,
    finite,
    open_run,
    refuse_idle,
)

BATCH, MOST_RECORDS = 32, 1_000_000_000

if TYPE_CHECKING:
    from clients.chip import Chip, Cost, Memory
    from clients.chip.events import EventCost
    from server.cost import Report
    from server.cost.events import EventReport
    from server.cost.reports import Held
    from server.run.directory import Run

Chips = Annotated[
    list[str] | None, typer.Option("--chip", help="A ready chip or a TOML file; may be repeated")
]
Batch = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_RECORDS, help="Of a model: 32 if not given; a run has its own"),
]
Shape = Annotated[
    str, typer.Option("--shape", help="Of a model's record, such as 6x128; 28x28 if not given")
]
Kind = Annotated[
    str, typer.Option("--kind", help="Of record: picture, window, sound or table; see --shape")
]
Rate = Annotated[
    float,
    typer.Option(
        "--rate", min=0, max=1e9, callback=finite, help="Samples a second, of a window or sound"
    ),
]
Counted = Annotated[
    bool,
    typer.Option(
        "--counted",
        help="Of a run: hold a microcontroller's model against the run's own C, emulated",
    ),
]


def cost(
    subject: Annotated[
        str,
        typer.Argument(
            help="A run, 'latest', a model's name, or of your own FILE.py:NAME or FILE.onnx"
        ),
    ],
    chip: Chips = None,
    batch: Batch = None,
    shape: Shape = "",
    classes: Classes = None,
    kind: Kind = "",
    rate: Rate = 0.0,
    settings: Settings = None,
    counted: Counted = False,
    as_json: AsJson = False,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Latency, energy and memory on a chip, for each layer and phase."""
    from clients.chip import NETWORKS, Workload, load_chip
    from clients.chip.events import is_event_chip, load_event_chip
    from clients.models import MODELS
    from clients.models.sources import is_own
    from server.cost import cost_of_model, cost_of_run
    from server.cost.asked import read_form
    from server.cost.events import EVENTS, events_of_run
    from server.cost.graphs import subject_of_graph
    from server.cost.subjects import find_subject

    names = chip or ["eyeriss"]
    driven = [load_event_chip(name) for name in names if is_event_chip(name)]
    chips = [load_chip(name) for name in names if not is_event_chip(name)]
    events: list[EventReport] = []
    is_graph = subject.endswith(".onnx")
    if subject in NETWORKS or subject in MODELS or is_own(subject) or is_graph:
        named = is_own(subject) or is_graph
        said = shape or (not named and (classes is not None or kind or rate))
        form, notes = read_form(shape, classes, kind, rate) if said else (None, ())
        if driven:
            raise SettingsError(
                f"{subject}: a model, in which no spike was counted; on {driven[0].title} a run is "
                "priced: privet cost RUN"
            )
        if is_graph:
            its = f"{subject} is a graph, which has its own; leave it out"
            refuse_idle(dict.fromkeys(("classes", "kind", "rate", "settings"), its))
            found = subject_of_graph(Path(subject), form.shape if form else ())
        else:
            found = find_subject(subject, form, settings or (), notes)
        records, work = batch or BATCH, Workload("dp-sgd")
        refuse_idle({"counted": f"{subject} is a model; give a run that trained it"})
        reports = [cost_of_model(subject, one, work, records, found) for one in chips]
    else:
        run = open_run(subject, runs, trust)
        own = f"{subject} is a run, which has its own; leave it out"
        refuse_idle(dict.fromkeys(("batch", "shape", "classes", "kind", "rate", "settings"), own))
        if counted and driven:
            raise SettingsError(f"--counted: {driven[0].title}: no microcontroller; leave it out")
        events = [events_of_run(run, one) for one in driven]
        reports = [cost_of_run(run, one) for one in chips]
        if counted:
            reports = [_hold(run, *one) for one in zip(reports, names, chips, strict=True)]
        else:
            reports = [_as_counted(run, *one) for one in zip(reports, chips, strict=True)]
        if reports:
            run.save_costs([report.as_dict() for report in reports])
        if events:
            run.keep(EVENTS, {report.chip: report.as_dict() for report in events})
    if as_json:
        found_all = [report.as_dict() for report in reports] + [one.as_dict() for one in events]
        print(to_json(found_all, indent=1))
        return
    for report in reports:
        _tell(report)
    for told in events:
        _tell_events(told)


def _hold(run: "Run", report: "Report", name: str, chip: "Chip") -> "Report":
    """The report of a chip, mended by what the run's C was seen to take on its core."""
    from server.cost.counted import hold, mended
    from server.cost.subjects import subject_of
    from server.export.firmware import board_of, require_tools

    board = board_of(run, name)
    if chip.microcontroller is None or not chip.microcontroller.core:
        raise SettingsError(f"--counted: {name} names no [microcontroller] core; it is m4 or m7")
    require_tools()
    records, parts = board.count(chip.microcontroller.core)
    network = subject_of(run.experiment).network
    return mended(report, network, chip, hold(report.step, network, chip, parts, records))


def _as_counted(run: "Run", report: "Report", chip: "Chip") -> "Report":
    """The report of a chip on which the run's C was counted before, mended by that."""
    from server.cost.counted import compared, counted_before, mended
    from server.cost.subjects import subject_of

    if not (seconds := counted_before(run.costs, chip)):
        return report
    network = subject_of(run.experiment).network
    told = "what was counted before is used; count again with --counted"
    found = mended(report, network, chip, compared(report.step, seconds))
    return replace(found, notes=(*found.notes, told))


def _tell(report: "Report") -> None:
    from server.console import fact_table, out
    from server.cost.subjects import name_of

    out.print(Text.assemble("\n", (report.subject, "bold"), f" on {report.chip}"))
    title = f"inference of 1 record, {name_of(report.arithmetic)}"
    if report.transform:
        title += f", after a fixed transform, {name_of(report.transform)}"
    out.print(_rows(title, report.inference))
    out.print(_rows(f"training step of {report.step.batch} records", report.step))
    if report.held:
        out.print(_held(report.held))
    facts: dict[str, object] = {}
    for name, cost in (("inference", report.inference), ("step", report.step)):
        facts[name] = f"{si(cost.latency_s, 's')}, {si(cost.energy_j, 'J')}, {held(cost.memory)}"
    if report.preparation:
        p = report.preparation
        facts["before"] = (
            f"transform of {p.records:,} records, once: {si(p.latency_s, 's')}, "
            f"{si(p.energy_j, 'J')}, {held(p.block.memory)}; {si(p.kept_bytes, 'B')} kept"
        )
    if report.round:
        r = report.round
        facts["step_99"] = f"{si(r.step.latency_99_s, 's')} at {r.step.batch_99} records"
        facts["memory_99"] = si(r.step.memory_99.peak_bytes, "B")
        facts["round"] = (
            f"{r.steps} steps and radio: {si(r.latency_s, 's')} "
            f"(99 %: {si(r.latency_99_s, 's')}), {si(r.energy_j, 'J')}"
        )
        facts["radio"] = (
            f"{si(r.upload_bytes, 'B')} up, {si(r.download_bytes, 'B')} down: "
            f"{si(r.radio_s, 's')}, {si(r.radio_j, 'J')}"
        )
    out.print(fact_table("", facts | _noted(report.notes)))


def _tell_events(report: "EventReport") -> None:
    """Of a run on an event-driven chip."""
    from server.console import fact_table, out

    once = report.inference
    out.print(Text.assemble("\n", (report.subject, "bold"), f" on {report.chip}"))
    out.print(_events(f"inference of 1 record, mean of {once.records} test records", once))
    facts: dict[str, object] = {
        "inference": f"{si(once.latency_s, 's')} (99 %: {si(once.latency_99_s, 's')}), "
        f"{si(once.energy_j, 'J')} (99 %: {si(once.energy_99_j, 'J')}), {once.steps} steps",
        "cores": f"{once.cores:,} of {once.limit_cores:,}"
        + ("" if once.fits else ": DOES NOT FIT"),
    }
    if once.whole_j is not None:
        facts["whole_chip"] = f"{si(once.whole_j, 'J')}, if it had nothing else to do"
    if step := report.step:
        facts["step"] = (
            f"{report.batch} records, one after another: {si(report.batch * step.latency_s, 's')}, "
            f"{si(report.batch * step.energy_j, 'J')}"
        )
    out.print(fact_table("", facts | _noted(report.notes)))


def _noted(notes: Sequence[str]) -> dict[str, object]:
    return {
        "note" if len(notes) == 1 else f"note_{number}": note
        for number, note in enumerate(notes, 1)
    }


def _events(title: str, cost: "EventCost") -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("layer", "neurons", "cores", "spikes in", "events", "updates", "out", "energy"):
        table.add_column(name, no_wrap=True)
    for row in cost.rows:
        counts = (row.arriving, row.events, row.updates, row.fired)
        each = (f"{count:,.0f}" for count in counts)
        joules = si(sum(row.energy_j.values()), "J")
        table.add_row(row.layer, f"{row.neurons:,}", f"{row.cores:,}", *each, joules)
    return table


def held(memory: "Memory") -> str:
    """What a chip must hold, and whether it can."""
    found = f"peak {si(memory.peak_bytes, 'B')}, weights {si(memory.weight_bytes, 'B')}"
    return found if memory.fits else f"{found}: OUT OF MEMORY"


def _rows(title: str, cost: "Cost") -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    columns = ("layer", "phase", "latency", "energy", "DRAM", "use", "perf", "MAE", "bound", "held")
    for name in columns:
        table.add_column(name, no_wrap=True)
    live = {one.layer: one.live_bytes for one in cost.held}
    for row in cost.rows:
        table.add_row(
            row.layer,
            row.phase,
            si(row.latency_s, "s"),
            si(sum(row.energy_j.values()), "J"),
            si(row.traffic_bytes["dram"], "B"),
            f"{row.utilisation:.0%}",
            f"{row.performance_efficiency:.0%}",
            f"{row.memory_access_efficiency:.0%}",
            row.bound,
            si(live.get(row.layer, 0), "B"),
        )
    return table


def _held(parts: "tuple[Held, ...]") -> Table:
    """The model against the board's own C: what is off by more than 15 % was mended above."""
    title = "the model against the run's own C, counted (of a record; noise and rest of a step)"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("layer", "part", "modelled", "counted", "error", "now"):
        table.add_column(name, no_wrap=True)
    for one in parts:
        least, most = one.counted_s
        table.add_row(
            one.layer,
            one.part,
            si(one.modelled_s, "s"),
            f"{si(least, 's')} to {si(most, 's')}",
            "no row" if one.error is None else f"{one.error:+.0%}",
            "mended" if one.error is None or one.mended != 1.0 else "",
        )
    return table


def si(value: float, unit: str) -> str:
    """With a prefix: `1.23 ms`."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value * 1e9:.3g} n{unit}"
