"""`privet cost`."""

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
    from clients.chip import Cost, Memory
    from server.cost import Report

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


def cost(
    subject: Annotated[
        str, typer.Argument(help="A run, 'latest', a model's name, or FILE.py:NAME of your own")
    ],
    chip: Chips = None,
    batch: Batch = None,
    shape: Shape = "",
    classes: Classes = None,
    kind: Kind = "",
    rate: Rate = 0.0,
    settings: Settings = None,
    as_json: AsJson = False,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Latency, energy and memory on a chip, for each layer and phase."""
    from clients.chip import NETWORKS, Workload, load_chip
    from clients.models import MODELS
    from clients.models.sources import is_own
    from server.cost import cost_of_model, cost_of_run
    from server.cost.asked import read_form
    from server.cost.subjects import find_subject

    if subject.endswith(".onnx"):
        raise SettingsError(
            f"{subject}: layers are not read from a graph; give FILE.py:NAME with --shape"
        )
    chips = [load_chip(name) for name in chip or ["eyeriss"]]
    if subject in NETWORKS or subject in MODELS or is_own(subject):
        said = shape or (not is_own(subject) and (classes is not None or kind or rate))
        form, notes = read_form(shape, classes, kind, rate) if said else (None, ())
        found = find_subject(subject, form, settings or (), notes)
        records, work = batch or BATCH, Workload("dp-sgd")
        reports = [cost_of_model(subject, one, work, records, found) for one in chips]
    else:
        run = open_run(subject, runs, trust)
        own = f"{subject} is a run, which has its own; leave it out"
        refuse_idle(dict.fromkeys(("batch", "shape", "classes", "kind", "rate", "settings"), own))
        reports = [cost_of_run(run, one) for one in chips]
        run.save_costs([report.as_dict() for report in reports])
    if as_json:
        print(to_json([report.as_dict() for report in reports], indent=1))
        return
    for report in reports:
        _tell(report)


def _tell(report: "Report") -> None:
    from server.console import fact_table, out
    from server.cost.subjects import name_of

    out.print(Text.assemble("\n", (report.subject, "bold"), f" on {report.chip}"))
    title = f"inference of 1 record, {name_of(report.arithmetic)}"
    if report.transform:
        title += f", after a fixed transform, {name_of(report.transform)}"
    out.print(_rows(title, report.inference))
    out.print(_rows(f"training step of {report.step.batch} records", report.step))
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
    for number, note in enumerate(report.notes, 1):
        facts["note" if len(report.notes) == 1 else f"note_{number}"] = note
    out.print(fact_table("", facts))


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
            si(live[row.layer], "B"),
        )
    return table


def si(value: float, unit: str) -> str:
    """With a prefix: `1.23 ms`."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value * 1e9:.3g} n{unit}"
