"""`privet evaluate`: a run's last weights on the test set, on a device with other arithmetic."""

from typing import TYPE_CHECKING, Any

from privacy.documents import to_json
from privacy.errors import DataError, RunError, SettingsError
from privacy.text import shown, told_apart
from server.commands.options import AsJson, RunName, Runs, Settings, Trust, open_run

if TYPE_CHECKING:
    from rich.table import Table

FIGURES = ("recall", "precision", "F1", "AUROC", "average precision")
MOST_ROWS = 30  # classes in the terminal: those that are answered worst


def evaluate(
    run: RunName,
    s: Settings = None,
    as_json: AsJson = False,
    runs: Runs = None,
    trust: Trust = False,
) -> None:
    """Evaluate a run's last weights: -s arithmetic.stream_length=16, .fault_rate=0.01 ..."""
    from clients.data.sets import load
    from privacy.settings import override, parse
    from server.console import err, out
    from server.engines.app import test_evaluator
    from server.experiment.effects import BACKWARD
    from server.experiment.experiment import Experiment
    from server.experiment.idle import require_effect
    from server.run.merit import NAME, merit_of
    from server.run.spikes import CONVERTED, as_spiking, spikes_of

    found = open_run(run, runs, trust)
    tables, origins = override(found.experiment.model_dump(mode="json", exclude_none=True), s or [])
    for key, origin in origins.items():
        if not key.startswith("arithmetic."):
            raise SettingsError(f"{origin}: only [arithmetic] can differ from what was trained")
        if key in BACKWARD:
            raise SettingsError(f"{origin}: would change nothing: it is read in training only")
    experiment = parse(Experiment, tables, str(found.path), origins)
    require_effect(experiment, origins)
    found.require_same_data()
    last = len(found.rounds)
    if not last:
        raise RunError(
            f"{found.path}: no round is done: nothing is trained; go on with: privet resume "
            f"{found.path.name}"
        )
    weights = found.weights(last)
    if experiment.arithmetic.name == "spiking" != found.experiment.arithmetic.name:
        weights = as_spiking(found.experiment, experiment, weights)
        err.print(CONVERTED, highlight=False)
    score = test_evaluator(experiment)(weights)
    if score.answers is None:
        raise DataError(f"{found.path}: its data have no test set to evaluate on")
    merit = merit_of(score.answers, load(experiment.data), experiment.data, last)
    if not s and found.kept(NAME).get("round") != last:  # of a run that is older, or not finished
        try:
            found.keep(NAME, merit)
        except (OSError, RunError) as error:
            err.print(f"{NAME} is not kept: {error}", highlight=False)
    fired = spikes_of(experiment, weights)
    if as_json:
        facts: dict[str, Any] = {
            "run": str(found.path),
            "loss": score.loss,
            "accuracy": score.accuracy,
        }
        facts |= {"spiking": fired} if fired else {}
        print(to_json(facts | merit | {"arithmetic": experiment.arithmetic.model_dump()}, indent=1))
        return
    if score.accuracy is not None:
        print(f"{score.accuracy:.4%}")
    out.print(figure_table(merit))
    if merit["classes"]:
        out.print(class_table(merit))
    if fired:
        out.print(early_table(fired), layer_table(fired))
        for warning in fired["warnings"]:
            err.print(warning, highlight=False)


def figure_table(merit: dict[str, Any]) -> "Table":
    """One line for each figure of merit, with its interval."""
    from server.console import Columns

    about = merit["resampled"]
    drawn = f"{about['resamples']:,} resamples of {about['units']:,} {about['of']}"
    table = Columns("figure", "value", "95 %, from", "to", title=f"On the test set; {drawn}")
    unit = f" {shown(merit['unit'], 20)}" if merit.get("unit") else ""
    for name, figure in merit["figures"].items():
        ours = "" if name == "R2" else unit
        table.add_row(name, *(_number(figure, key, ours) for key in ("value", "low", "high")))
    return table


def class_table(merit: dict[str, Any]) -> "Table":
    """One line for each class or label; of many, those that are told least well."""
    from server.console import Columns

    rows = merit["classes"]
    figures = [name for name in FIGURES if any(name in row for row in rows)]
    names = told_apart([row["name"] for row in rows])
    order = list(range(len(rows)))
    if len(rows) > MOST_ROWS:
        worst = {i: (row.get(figures[0]) or {}).get("value", 2.0) for i, row in enumerate(rows)}
        order = sorted(order, key=lambda i: worst[i])[:MOST_ROWS]
    few = f", the {MOST_ROWS} of {len(rows)} that are told least well" * (len(rows) > MOST_ROWS)
    table = Columns("class", "records", *figures, title=f"By class{few}, 95 % intervals")
    for i in order:
        told = (_interval(rows[i].get(name)) for name in figures)
        table.add_row(names[i], f"{rows[i]['records']:,}", *told)
    return table


def early_table(fired: dict[str, Any]) -> "Table":
    """What a spiking net would answer earlier: a line for each time step."""
    from server.console import Columns

    table = Columns("time steps", "accuracy", "loss", "spikes", title="Early answers, a record")
    for row in fired["early"]:
        right = "-" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
        table.add_row(str(row["time_steps"]), right, f"{row['loss']:.4g}", f"{row['spikes']:,.1f}")
    return table


def layer_table(fired: dict[str, Any]) -> "Table":
    """How often the neurons of each layer fire."""
    from server.console import Columns

    table = Columns("layer", "neurons", "rate", "silent", "fire always", title="Spikes in a step")
    for row in fired["layers"]:
        shares = (f"{row[key]:.1%}" for key in ("rate", "silent", "always"))
        table.add_row(row["layer"], f"{row['neurons']:,}", *shares)
    return table


def _number(figure: dict[str, float | None] | None, key: str, unit: str) -> str:
    value = (figure or {}).get(key)
    return "-" if value is None else f"{value:.4g}{unit}"


def _interval(figure: dict[str, float | None] | None) -> str:
    value, low, high = (_number(figure, key, "") for key in ("value", "low", "high"))
    return value if low == "-" else f"{value} ({low} to {high})"
