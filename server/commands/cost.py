"""`privet cost`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from server.commands.options import AsJson, Runs

if TYPE_CHECKING:
    from clients.chip import Cost
    from server.cost import Report

Chips = Annotated[
    list[str] | None, typer.Option("--chip", help="A ready chip or a TOML file; may be repeated")
]


def cost(
    subject: Annotated[str, typer.Argument(help="A run, 'latest', or a model's name")],
    chip: Chips = None,
    batch: Annotated[int, typer.Option(min=1, help="Of a model; a run has its own")] = 32,
    as_json: AsJson = False,
    runs: Runs = None,
) -> None:
    """Latency, energy and memory on a chip, for each layer and phase."""
    from clients.chip import NETWORKS, Workload, load_chip
    from clients.models import MODELS
    from server.cost import cost_of_model, cost_of_run
    from server.run.directory import find_run, runs_folder

    chips = [load_chip(name) for name in chip or ["eyeriss"]]
    if subject in NETWORKS or subject in MODELS:
        reports = [cost_of_model(subject, one, Workload("dp-sgd"), batch) for one in chips]
    else:
        run = find_run(subject, runs_folder(runs))
        reports = [cost_of_run(run, one) for one in chips]
        run.save_costs([report.as_dict() for report in reports])
    if as_json:
        print(json.dumps([report.as_dict() for report in reports], indent=1))
        return
    for report in reports:
        _tell(report)


def _tell(report: "Report") -> None:
    from server.console import fact_table, out

    width = report.arithmetic
    out.print(f"\n[bold]{report.subject}[/bold] on {report.chip}", highlight=False)
    out.print(
        _rows(f"inference of 1 record, {width.kind} {width.weight_bits} bit", report.inference)
    )
    out.print(_rows(f"training step of {report.step.batch} records", report.step))
    facts: dict[str, object] = {}
    for name, cost in (("inference", report.inference), ("step", report.step)):
        held = cost.memory
        facts[name] = (
            f"{_si(cost.latency_s, 's')}, {_si(cost.energy_j, 'J')}, peak "
            f"{_si(held.peak_bytes, 'B')}{'' if held.fits else ': OUT OF MEMORY'}"
        )
    if report.round:
        r = report.round
        facts["step_99"] = f"{_si(r.step.latency_99_s, 's')} at {r.step.batch_99} records"
        facts["memory_99"] = _si(r.step.memory_99.peak_bytes, "B")
        facts["round"] = (
            f"{r.steps} steps and radio: {_si(r.latency_s, 's')} "
            f"(99 %: {_si(r.latency_99_s, 's')}), {_si(r.energy_j, 'J')}"
        )
        facts["radio"] = (
            f"{_si(r.upload_bytes, 'B')} up, {_si(r.download_bytes, 'B')} down: "
            f"{_si(r.radio_s, 's')}, {_si(r.radio_j, 'J')}"
        )
    out.print(fact_table("", facts))


def _rows(title: str, cost: "Cost") -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("layer", "phase", "latency", "energy", "DRAM", "use", "perf", "MAE", "bound"):
        table.add_column(name, no_wrap=True)
    for row in cost.rows:
        table.add_row(
            row.layer,
            row.phase,
            _si(row.latency_s, "s"),
            _si(sum(row.energy_j.values()), "J"),
            _si(row.traffic_bytes["dram"], "B"),
            f"{row.utilisation:.0%}",
            f"{row.performance_efficiency:.0%}",
            f"{row.memory_access_efficiency:.0%}",
            row.bound,
        )
    return table


def _si(value: float, unit: str) -> str:
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value * 1e9:.3g} n{unit}"
