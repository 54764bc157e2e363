"""`privet sweep`: many experiments, one table."""

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.errors import SettingsError
from privacy.files import require_name
from privacy.text import suggest
from server.commands.options import AsEvents, Runs, Settings, refuse_idle

if TYPE_CHECKING:
    from rich.table import Table

    from server.sweep.axes import Axis
    from server.sweep.board import Board
    from server.sweep.events import Events
    from server.sweep.search import Search
    from server.sweep.sweep import Sweep

HELP = """Run every combination of some settings, and attack, audit and cost each run.

An axis is --over section.key=value,value,... A value may bring other settings along with a plus
sign, may be nothing but settings, and may have a name:

    --over budget.epsilon=1,3,8,none

    --over arithmetic.name=float,fixed+arithmetic.bits=4,stochastic+model.name=perceptron

    --over "budget.epsilon=3,no DP: budget.unit=none+training.learning_rate=0.02"

(none, of an epsilon, is short for budget.unit=none.) Where two axes set the same key, the later
--over wins. The same command goes on where it stopped, and tries again what failed; what is done is
found again by its settings, in any sweep. The sweep's path goes to stdout; exit status 1 if a cell
failed.

`privet sweep referee` has axes of its own: arithmetics with and without a promise, attacked,
audited and priced over 5 seeds; --over gives other axes.

With --on ray://HOST:PORT the cells are trained on a cluster of Ray, whose workers have this privet
and the same files; runs and results are those of one machine.

With --charge, what the search costs is in the epsilon of its result: a random number of trials is
drawn, each tries a point of the axes at random, and one run is told, the best on the test set. Do
not look at other trials, nor tell how many there were.

    privet sweep dp --over "training.learning_rate=1..8 log" --charge geometric=20

With --search, axes may be ranges (0.05..1, 0.05..1 log, 5..20), and Optuna chooses what to try (or,
--by evolution, what was best is crossed and changed; --by predictor, what a model of all results
expects most of):

    privet sweep dp --over budget.clip=0.05..1 log --over model.name=scatter,perceptron
    --search accuracy,leakage,latency --budget 30 --cost stm32h743 --limit peak_bytes=400e3
"""

Over = Annotated[
    list[str] | None, typer.Option("--over", help="An axis: section.key=value,value,...")
]
Chips = Annotated[
    list[str] | None, typer.Option("--cost", help="A chip, or its file; may be repeated")
]
Schemes = Annotated[
    list[str] | None,
    typer.Option("--infer", help="ckks or boolean, or ckks=N for N test images; may be repeated"),
]
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit", help="With --search: latency_s=0.5@stm32h743; may be repeated"),
]
Charges = Annotated[
    str,
    typer.Option("--charge", help="A random number of trials: geometric=20, poisson=20, ..."),
]
MOST_RUNS = 10_000  # of a setting, or candidates: more are a slip of the hand
IMAGES = 10  # that are asked for by `--infer SCHEME`


def sweep(
    experiment: Annotated[str, typer.Argument(help="A ready experiment, or a TOML file")],
    over: Over = None,
    s: Settings = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_RUNS, help="Runs of each, with seeds that follow; 1"),
    ] = None,
    attack: Annotated[bool, typer.Option("--attack", help="Attack each run")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="Audit each run")] = False,
    cost: Chips = None,
    infer: Schemes = None,
    search: Annotated[str, typer.Option(help="Objectives: accuracy,leakage,latency,...")] = "",
    budget: Annotated[
        int, typer.Option(min=1, max=MOST_RUNS, help="With --search: candidates to train")
    ] = 30,
    by: Annotated[
        str, typer.Option("--by", help="With --search: tpe, predictor, evolution or random")
    ] = "tpe",
    limit: Limits = None,
    charge: Charges = "",
    on: Annotated[
        str, typer.Option("--on", help="Train cells on a cluster of Ray: ray://HOST:PORT")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="Of the sweep")] = "",
    as_json: AsEvents = False,
    runs: Runs = None,
) -> None:
    from server.console import err, tell_event
    from server.run.directory import runs_folder
    from server.sweep.axes import parse_axes
    from server.sweep.board import Board
    from server.sweep.cluster import Cluster
    from server.sweep.document import SUFFIX, Document
    from server.sweep.events import Events
    from server.sweep.grid import default_name, lay_out, left_out
    from server.sweep.ready import SWEEPS
    from server.sweep.search import recall, run_search
    from server.sweep.stages import Order, require_possible
    from server.sweep.sweep import Sweep

    idle = "" if search else "a grid trains every cell; it is for --search"
    refuse_idle({"budget": idle, "by": idle})
    if charge:
        _require_plain(search, seeds or 1, on, attack=attack, audit=audit, cost=cost, infer=infer)
    if experiment in SWEEPS and not over and not charge and not search:
        ready = SWEEPS[experiment]
        over, cost, seeds = list(ready.over), cost or list(ready.chips), seeds or ready.seeds
        attack, audit = ready.attack, ready.audit
    seeds = seeds or 1
    axes = parse_axes(over or [])
    if "encrypted-latency" in search and not infer:
        raise SettingsError("--search encrypted-latency: under which scheme? --infer ckks")
    sought = _search(axes, search, budget, limit or [], cost or [], seeds, by)
    order = Order(
        attack=attack or (sought is not None and "leakage" in sought.objectives),
        audit=audit,
        chips=tuple(cost or ()),
        schemes=dict(_scheme(text) for text in infer or []),
    )
    document = Document(
        experiment=experiment,
        command=["privet", *sys.argv[1:]],
        fixed=s or [],
        axes={axis.key: axis.labels for axis in axes},
    )
    limits = [str(x) for x in sought.limits] if sought else []
    folder = runs_folder(runs)
    asked = (document.fixed, [repr(axis) for axis in axes], seeds, search, limits)
    more = (charge,) * bool(charge) + (by,) * (by != "tpe")
    if name:
        require_name("--name", name)
    found = Sweep(folder / ((name or default_name(experiment, *asked, *more)) + SUFFIX), document)
    found.cluster = Cluster(on) if on else None
    looking_on: type[Board | Events] = Events if as_json else Board
    if charge:
        _charge(found, charge, axes, looking_on)
    elif sought:
        with found.locked():
            recall(found, sought)
            with looking_on(found, budget * seeds) as board:
                run_search(found, sought, order, board)
        err.print(_front(found, sought))
    else:
        experiments = lay_out(found, axes, seeds)
        require_possible([each for each in experiments if each], order)
        with found.locked(), looking_on(found, len(found.cells)) as board:
            found.save()
            wanted = [(c, e) for c, e in zip(found.cells, experiments, strict=True) if e]
            for cell, each in wanted:
                found.ask(cell, each, order)
            for cell, each in wanted:
                found.complete(cell, each, order, board)
    for reason, cells in left_out(found, order).items():
        _say(f"left out of {cells} run{'s' * (cells > 1)}: {reason}")
    failed = [cell for cell in found.cells if cell.status == "failed"]
    for cell in failed:
        _say(f"failed: {cell.name}: {cell.error}")
    if as_json:
        tell_event({"event": "end", "sweep": str(found.path), **found.document.model_dump()})
    else:
        print(found.path)
    if failed:
        raise typer.Exit(1)


def _require_plain(search: str, seeds: int, on: str, **ordered: object) -> None:
    """Refuse what would show more of a charged search than the run that it chooses."""
    if search:
        raise SettingsError(
            "--search: its next trial depends on what the last ones found in private records, and "
            "no theorem charges that; leave it out: --charge tries points at random"
        )
    if seeds > 1:
        raise SettingsError(f"--seeds {seeds}: with --charge each trial is one run; leave it out")
    if on:
        raise SettingsError(
            f"--on {on}: with --charge nobody may look at the trials, and a cluster's users could; "
            "leave it out"
        )
    for name, value in ordered.items():
        if value:
            raise SettingsError(
                f"--{name}: would look at every trial, and --charge is for the chosen alone; do it "
                f"afterwards: privet {name} RUN"
            )


def _charge(
    found: "Sweep", law: str, axes: "Sequence[Axis]", looking_on: "type[Board | Events]"
) -> None:
    from server.sweep.charged import charged, draw, run_charged, tell

    search = charged(found, law, axes)
    with found.locked():
        draw(found, search)
        drawn = found.document.charge
        assert drawn is not None
        if not drawn.ended:
            _say(
                f"epsilon {drawn.epsilon:.3f} at delta {drawn.delta:g} of the run that will be "
                f"chosen, search included; {drawn.epsilon_of_a_trial:.3f} of a trial. Look at no "
                f"other: keep {found.path} to yourself until it is done, the number of trials too"
            )
        with looking_on(found, len(found.cells), closed=True) as board:
            run_charged(found, search, board)
    tell(found, _say)


def _say(line: str) -> None:
    from server.console import err

    err.print(line, highlight=False, soft_wrap=True)


def _search(
    axes: "Sequence[Axis]",
    search: str,
    budget: int,
    limits: list[str],
    chips: list[str],
    seeds: int,
    by: str,
) -> "Search | None":
    if not search:
        if limits:
            raise SettingsError(f"--limit {limits[0]}: is for --search; a grid trains every cell")
        return None
    from server.sweep.objectives import OBJECTIVES, parse_limit
    from server.sweep.search import BY, Search

    if by not in BY:
        raise SettingsError(f"--by {by}: must be one of {', '.join(BY)}{suggest(by, BY)}")
    if not axes:
        raise SettingsError("--search: over what? --over training.learning_rate=0.1..10 log")
    objectives = [name.strip() for name in search.split(",")]
    for name in objectives:
        if name not in OBJECTIVES:
            raise SettingsError(f"--search {search}: unknown objective{suggest(name, OBJECTIVES)}")
        if OBJECTIVES[name].figure and not chips:
            raise SettingsError(f"--search {name}: on which chip? --cost stm32h743")
    found = [parse_limit(text, chips) for text in limits]
    return Search(axes, objectives, found, budget, chips[0] if chips else "", seeds, by=by)


def _scheme(text: str) -> tuple[str, int]:
    from server.inference.program import require_scheme

    scheme, _, images = text.partition("=")
    require_scheme(scheme)
    if images and not re.fullmatch("[1-9][0-9]{0,8}", images):
        raise SettingsError(f"--infer {text}: must be SCHEME=NUMBER of test images")
    return scheme, int(images or IMAGES)


def _front(sweep: "Sweep", search: "Search") -> "Table":
    """The candidates that nothing tried is better than."""
    from server.console import Columns
    from server.sweep.search import candidates

    tried = list(candidates(sweep, search.num_seeds))
    keys = [axis.key for axis in search.axes]
    title = f"Pareto front of {len(tried)} candidates"
    table = Columns(*keys, *search.objectives, title=title)
    rows = [(search.values(cells), cells[0].point) for cells in search.front(tried)]
    for values, point in sorted(rows, key=lambda row: row[0], reverse=True):
        labels = [f"{x:.4g}" if isinstance(x, float) else str(x) for x in point.values()]
        table.add_row(*labels, *(f"{value:.4g}" for value in values))
    return table


sweep.__doc__ = HELP
