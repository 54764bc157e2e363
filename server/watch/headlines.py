"""The runs of a folder as `privet list` tells them, by the page's reader: no run is checked, and no
record and no net is loaded. Epsilon is what the run noted after its last round, an upper bound;
`privet show` asks the accountant again.
"""

from pathlib import Path

from privacy.errors import PrivetError
from server.run.names import age
from server.watch.rows import Row, RunView, look_at, section, whole
from server.watch.track import MOST_READ_BYTES

CHARGE = "charge.json"  # in a run that a charged search chose
MOST_TIMES = 4  # a client's records, over the nominal number: privacy.dp.budget.MOST_OF_NOMINAL


def headlines(runs: Path) -> list[Row]:
    """A row of words for each run of a folder, oldest first."""
    views = [RunView(path.parent) for path in runs.glob("[!.]*/experiment.toml")]
    for view in views:
        while view.look(frozenset(), MOST_READ_BYTES) == MOST_READ_BYTES:
            pass
    views.sort(key=lambda view: age(view.known, view.path.name))
    return [*map(_headline, views)]


def _headline(view: RunView) -> Row:
    row = view.row
    if row["state"] == "damaged":
        return {"run": view.path.name, "status": f"damaged: {row['why']}"}
    try:
        epsilon = _epsilon(view)
    except PrivetError as error:
        return {"run": view.path.name, "status": f"damaged: {error}"}
    status = {"finished": "finished", "diverged": row["why"]}
    accuracy = row["accuracy"]
    return {
        "run": view.path.name,
        "status": status.get(row["state"], "unfinished"),
        "rounds": f"{row['rounds']} of {row['of']}",
        "data": row["data"],
        "model": row["model"],
        "clients": row["clients"],
        "accuracy": "-" if accuracy is None else f"{accuracy:.2%}",
        "epsilon": epsilon,
        "unit": row["unit"],
    }


def _epsilon(view: RunView) -> str:
    """What was spent, with what it does not cover, in a word each."""
    told, unit, last = view.told, view.row["unit"], view.track.last
    if unit == "none":
        return "none"
    epsilon, large = last.epsilon if last else 0.0, False
    if epsilon is None or _is_odd(view):
        from server.run.directory import Run
        from server.run.summary import summarise

        facts = summarise(Run(view.path))
        epsilon = facts.epsilon or 0.0
        large = any(warning.startswith("delta") for warning in facts.warnings)
    beside = ["simulation"] * (section(told, "training").get("noise") == "seeded")
    beside += ["delta >= 1/n"] * large
    evaluated = section(told, "federation").get("client_evaluation") is True
    beside += ["not of evaluations"] * evaluated
    return f"{epsilon:.3f}" + f" ({', '.join(beside)})" * bool(beside)


def _is_odd(view: RunView) -> bool:
    """Was the run chosen by a charged search, or may its delta be no less than one in all that are
    protected? Only the run as a whole tells."""
    nominal = whole(section(view.told, "data").get("nominal_records"))
    most = view.row["clients"] if view.row["unit"] == "client" else MOST_TIMES * nominal
    return look_at(view.path / CHARGE) is not None or (view.row["delta"] or 0.0) * most >= 1
