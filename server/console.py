"""What people see: progress on stderr, quiet when it is not a terminal; tables on stdout.

Whatever is printed is text, and brackets in it are brackets: styles are given as `Text` or `style`.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleDimensions
from rich.table import Table

from privacy.documents import to_json

if TYPE_CHECKING:  # they load torch, which a line on a terminal has no need of
    from server.run.directory import Run
    from server.run.rounds import Observe, RoundRecord

ENDLESS = 1 << 14  # columns of what is no terminal: there, nothing is cut or broken


class Screen(Console):
    """A console without markup; lines into a file or a pipe are as long as they are."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        """Of the terminal, if it is one."""
        return super().size if self.is_terminal else ConsoleDimensions(ENDLESS, 25)


class Columns(Table):
    """A table of which nothing is left out: what is too wide for the terminal goes on below."""

    def __init__(self, *headings: str, title: str | None = None) -> None:
        super().__init__(title=title, title_justify="left")
        for heading in headings:
            self.add_column(heading, overflow="fold")


err = Screen(stderr=True)
out = Screen()
_watcher: "ContextVar[Observe | None]" = ContextVar("watcher", default=None)


@contextmanager
def watched_by(observe: "Observe") -> Iterator[None]:
    """Within, `observer` draws nothing: rounds are told to `observe`, who has a picture already."""
    token = _watcher.set(observe)
    try:
        yield
    finally:
        _watcher.reset(token)


def events_of(rounds: int) -> "Callable[[RoundRecord], dict[str, Any]]":
    """What tells each round as an event, with the time left by the median of the last.

    Args:
        rounds: of the whole run.
    """
    seconds: deque[float] = deque(maxlen=10)

    def event(record: "RoundRecord") -> dict[str, Any]:
        seconds.append(record.seconds)
        return {
            "event": "round",
            "round": record.round,
            "of": rounds,
            "seconds": record.seconds,
            "left_s": (rounds - record.round) * median(seconds),
            "accuracy": record.accuracy,
            "loss": record.loss,
            "figures": record.figures,
            "epsilon": record.epsilon,
            "failed": [{"client": c.client, "why": c.failure} for c in record.clients if c.failure],
        }

    return event


def tell_event(told: dict[str, Any]) -> None:
    """A line of JSON on stdout; a reader that went away stops no run."""
    with suppress(BrokenPipeError):
        print(to_json(told), flush=True)


@contextmanager
def told_as_events(rounds: int) -> Iterator[None]:
    """Within, each round is a line of JSON on stdout, and nothing is drawn.

    Args:
        rounds: of the whole run.
    """
    event = events_of(rounds)
    with watched_by(lambda record: tell_event(event(record))):
        yield


@contextmanager
def observer(run: "Run") -> "Iterator[Observe]":
    """A line: a bar, accuracy, epsilon spent, rate and time left; nothing where no one looks."""
    if observe := _watcher.get():
        yield observe
        return
    if not err.is_terminal:
        yield lambda record: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    total, budget = run.experiment.federation.rounds, run.experiment.budget
    of = f" of {budget.epsilon:g}" if budget.unit != "none" else ""
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[reached]}", markup=False),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(run.experiment.title, total=total, reached="")
        progress.update(task, completed=len(run.rounds))

        def observe(record: "RoundRecord") -> None:
            parts = []
            if record.accuracy is not None:
                parts.append(f"accuracy {record.accuracy:.2%}")
            if record.epsilon is not None:
                parts.append(f"epsilon {record.epsilon:.2f}{of}")
            if failed := sum(c.failure is not None for c in record.clients):
                parts.append(f"{failed} failed")
            parts.append(f"{record.seconds:.2g} s a round")
            progress.update(task, completed=record.round, reached="  ".join(parts))

        yield observe


def fact_table(title: str, facts: dict[str, Any]) -> Table:
    """Two columns: what, and how much."""
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), "-" if value is None else str(value))
    return table
