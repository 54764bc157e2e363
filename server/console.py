"""What people see: progress on stderr, quiet when it is not a terminal; tables on stdout."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from server.run.directory import Run
from server.run.rounds import Observe, RoundRecord

err = Console(stderr=True)
out = Console()
_watcher: ContextVar[Observe | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(observe: Observe) -> Iterator[None]:
    """Within, `observer` draws nothing: rounds are told to `observe`, who has a picture already."""
    token = _watcher.set(observe)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def observer(run: Run) -> Iterator[Observe]:
    """A progress bar with accuracy, epsilon spent and time left; nothing where no one looks."""
    if observe := _watcher.get():
        yield observe
        return
    if not err.is_terminal:
        yield lambda record: None
        return
    total = run.experiment.federation.rounds
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[reached]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(run.experiment.title, total=total, reached="")
        progress.update(task, completed=len(run.rounds))

        def observe(record: RoundRecord) -> None:
            parts = []
            if record.accuracy is not None:
                parts.append(f"accuracy {record.accuracy:.2%}")
            if record.epsilon is not None:
                parts.append(f"epsilon {record.epsilon:.2f}")
            if failed := sum(c.failure is not None for c in record.clients):
                parts.append(f"[red]{failed} failed[/red]")
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
