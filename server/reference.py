"""The reference: each command, the function behind it, and what else is for others' code, told by
their own docstrings."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import click

# What each command calls: the same from Python. A group's commands have its name before theirs.
BEHIND = {
    "new": ("server.experiment.beginning:begin",),
    "plan": ("server.experiment.loading:load_experiment", "server.experiment.plans:plan"),
    "run": ("server.engines.launch:launch",),
    "resume": ("server.engines.launch:resume",),
    "show": ("server.run.directory:Run", "server.run.summary:summarise"),
    "list": ("server.run.directory:list_runs", "server.run.directory:find_run"),
    "evaluate": ("server.run.merit:merit_of",),
    "extract": ("server.extract:extract",),
    "export": ("server.export.onnx:to_onnx", "server.export.torch:to_torch",
               "server.export.card:to_card", "server.export.curves:to_tensorboard",
               "server.export.curves:to_mlflow", "server.export.firmware:board_of",
               "server.export.firmware:write"),
    "cost": ("server.cost:cost_of_run", "server.cost:cost_of_model",
             "server.cost.graphs:subject_of_graph", "clients.chip:load_chip",
             "clients.chip:estimate"),
    "attack": ("server.adversary.adversaries:attack",
               "server.adversary.strangers.finished:attack_model"),
    "audit": ("server.adversary.auditing:audit_of", "attacks.audit:audit_step",
              "server.adversary.strangers.finished:audit_model",
              "server.adversary.strangers.steps:draft_step"),
    "infer": ("clients.node.query:connect",),
    "serve": ("server.inference.program:compile_run", "server.inference.service:Service"),
    "learn": ("clients.learning.desk:Desk",),
    "serve-learning": ("server.inference.learning.service:LearningService",),
    "report": ("server.report:gather", "server.report:to_html", "server.report:to_markdown"),
    "statement": ("server.report.statement:read_statement", "server.report.statement:to_html",
                  "server.report.statement:to_markdown"),
    "sweep": ("server.sweep.sweep:Sweep", "server.sweep.search:run_search",
              "server.sweep.charged:run_charged"),
    "watch": ("server.watch.listen:watch",),
    "invert": ("clients.arithmetic.pbits.factoring:factor",),
    "reference": ("server.reference:to_markdown",),
    "link": ("server.engines.link:serve_link",),
    "node": ("clients.node.machine:run_node",),
    "ledger": ("privacy.dp.journal:Journal",),
    "data fetch": ("clients.data.sets:fetch",),
    "data list": ("clients.data.sets:availability",),
    "data check": ("clients.data.sets:load",),
    "data describe": ("server.experiment.beginning:draft_schema",),
    "data split": ("clients.data.partitions:partition",),
    "keys new": ("privacy.authority:make_authority",),
}  # fmt: skip
# For code that is not privet's, and figures for notebooks; * is all that a room gives.
BESIDE = {
    "A training step of your own before the auditor": (
        "attacks.audit:Claims", "attacks.audit:Found", "attacks.audit.steps.engine:of_engine",
        "server.adversary.strangers.flower:of_strategy",
        "server.adversary.strangers.flower:of_local_dp",
        "server.adversary.strangers.flower:claims_of",
    ),
    "A ledger in a ClientApp of your own": ("clients:ledger_mod",),
    "Figures": ("server.report.figures:*",),
}  # fmt: skip


def to_markdown(root: click.Group) -> str:
    """The whole reference.

    Args:
        root: the command line.

    Raises:
        KeyError: a command of which `BEHIND` says nothing.
    """
    return "\n".join(_lines(root)) + "\n"


def commands_of(root: click.Group) -> dict[str, click.Command]:
    """Every command by its words, those of groups too."""
    found: dict[str, click.Command] = {}
    for name, command in root.commands.items():
        inside = command.commands if isinstance(command, click.Group) else {"": command}
        found |= {f"{name} {own}".strip(): one for own, one in inside.items()}
    return found


def every(paths: Iterable[str]) -> Iterator[str]:
    """Names one by one."""
    for path in paths:
        room, _, name = path.partition(":")
        yield from [f"{room}:{own}" for own in named(f"{room}:__all__")] if name == "*" else [path]


def named(path: str) -> Any:
    """What is meant by `module:name`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _lines(root: click.Group) -> Iterator[str]:
    yield "# Reference"
    yield "\nWritten by `privet reference` from the docstrings of what is installed."
    yield "\n## Commands, and the functions behind them"
    for name, command in commands_of(root).items():
        yield f"\n### privet {name}\n\n{_paragraphs(command.help or '')}\n"
        yield from _options(command)
        for path in BEHIND[name]:
            yield from _told(path)
    yield "\n## For code that is not privet's"
    yield from _beside(BESIDE)


def _beside(parts: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for title, paths in parts.items():
        yield f"\n### {title}"
        for path in every(paths):
            yield from _told(path)


def _options(command: click.Command) -> Iterator[str]:
    for one in command.params:
        if isinstance(one, click.Option):
            yield f"- `{', '.join([*one.opts, *one.secondary_opts])}`: {one.help or ''}".rstrip(
                ": "
            )
        else:
            told = getattr(one, "help", None) or ""
            yield f"- `{(one.name or '').upper()}`: {told}".rstrip(": ")


def _told(path: str) -> Iterator[str]:
    """A name's signature and docstring, as they are."""
    target = named(path)
    module, _, name = path.partition(":")
    try:
        signature = str(inspect.signature(target)) if callable(target) else ""
    except ValueError:
        signature = ""
    yield f"\n```text\n{module}.{name}{signature}\n\n{inspect.getdoc(target) or ''}\n```"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))
