"""`privet learn`: a model of records that the server never sees; `privet serve-learning`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privacy.documents import to_json
from server.commands.options import (
    AsJson,
    Certificate,
    Host,
    Insecure,
    PrivateKey,
    Settings,
    Tokens,
    Workers,
    refuse_idle,
)
from server.garbage import often

if TYPE_CHECKING:
    from httpx import Client

    from clients.learning.desk import Desk
    from clients.learning.settings import Lesson
    from clients.learning.shares import Observe
    from privacy.dp.journal import Journal


def learn(
    lesson: Annotated[str, typer.Argument(help="A TOML file: data, learning, budget")],
    to: Annotated[
        Path | None, typer.Option(help="Folder of the model; of an unfinished one: go on")
    ] = None,
    join: Annotated[
        Path | None, typer.Option(help="Invitation of another owner: add records to its lesson")
    ] = None,
    s: Settings = None,
    url: Annotated[str, typer.Option(help="Of a running service; else one is started here")] = "",
    authority: Annotated[
        Path | None, typer.Option(help="PEM file that vouches for the service at --url")
    ] = None,
    token: Annotated[
        Path | None, typer.Option(help="File with the token by which it knows you")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Of the records; else one in the folder of the model")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Tell what it sends, takes and promises; no more")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a linear model of records that are encrypted before they leave; prints its file."""
    import tempfile
    from contextlib import ExitStack

    from clients.learning.desk import LEDGER, MODEL, Desk
    from clients.node.query import http_client
    from privacy.dp.journal import Journal
    from privacy.errors import RunError, SettingsError
    from privacy.files import held
    from server.console import err
    from server.experiment.lessons import load_lesson
    from server.inference.learning.left import NAME
    from server.inference.learning.loopback import learning_loopback

    here = "" if url else "it is for a service at --url"
    refuse_idle({"authority": here, "token": here})
    chosen = load_lesson(lesson, s)
    if plan:
        refuse_idle(dict.fromkeys(("to", "join", "url", "ledger"), "--plan begins nothing"))
        _plan(chosen, as_json)
        return
    if to is None:
        if join is None or not url:
            raise SettingsError("give --to FOLDER; or --join INVITATION, and the --url it is for")
        if ledger is None and chosen.budget.unit != "none":
            raise SettingsError("--join: give the --ledger of these records: they are charged")
        _join(chosen, join, http_client(url, authority, token), ledger)
        return
    refuse_idle({"join": "--to is for who invites; leave one of them out"})
    with ExitStack() as stack:
        try:
            to.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{to}: cannot be written: {error.strerror}") from None
        stack.enter_context(held(to, "model"))
        desk = Desk(to, chosen)
        if desk.is_done:
            raise RunError(f"{to}: is learnt already; choose another --to")
        if not url:
            if chosen.learning.owners > 1:
                raise SettingsError("[learning] owners: they meet at a service; give its --url")
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="privet-learning-"))
            url = stack.enter_context(learning_loopback(Path(scratch)))
        http = stack.enter_context(http_client(url, authority, token))
        told = _teach(chosen, desk, http, Journal(ledger or to / LEDGER))
    if as_json:
        print(to_json(told, indent=1))
        return
    reached = "" if told["accuracy"] is None else f"accuracy {told['accuracy']:.2%}, "
    spent = "no privacy was promised"
    if told["epsilon"] is not None:
        spent = f"epsilon {told['epsilon']:.3f} at delta {told['delta']:g} for each record"
    err.print(f"{reached}{spent}", highlight=False)
    err.print(f"ask it encrypted: privet infer {to / NAME}", highlight=False)
    print(to / MODEL)


def _plan(lesson: "Lesson", as_json: bool) -> None:
    from dataclasses import asdict

    from clients.learning.plan import plan_of
    from server.commands.cost import si
    from server.console import fact_table, out

    found = plan_of(lesson)
    if as_json:
        told = found | {"refreshes": [asdict(one) for one in found["refreshes"]]}
        print(to_json(told, indent=1))
        return
    for name, unit in (("records_bytes", "B"), ("lesson_bytes", "B"), ("lesson_s", "s")):
        found[name] = si(found[name], unit)
    for name in ("sensitivity", "noise_multiplier", "epsilon"):
        found[name] = found[name] and f"{found[name]:.4g}"
    for one in found.pop("refreshes"):
        steps = "each step" if one.steps == 1 else f"{one.steps} steps"
        found[f"refreshed after {steps}"] = (
            f"a step of {si(one.step_bytes, 'B')} and {si(one.step_s, 's')}, on one core"
        )
    out.print(fact_table("", found))
    out.print("taken: the first of them, the fastest; under a budget noise is added there")


def _teach(lesson: "Lesson", desk: "Desk", http: "Client", ledger: "Journal") -> dict[str, Any]:
    from functools import partial

    from clients.learning.course import Teaching
    from server.console import err
    from server.inference.learning.left import leave_run

    teaching = Teaching(lesson, desk, http, ledger)
    owners, steps = lesson.learning.owners, lesson.learning.steps
    teaching.upload(_observer("encrypted", "block", teaching.course.blocks // owners))
    if owners > 1:
        files = desk.folder / "invitation-N"
        err.print(f"hand {files} to the other owners, secretly; waiting for their records")
        teaching.await_others()
    state = teaching.train(_observer("trained", "step", steps))
    return teaching.finish(state, partial(leave_run, lesson, desk.folder))


def _join(lesson: "Lesson", invitation: Path, http: "Client", ledger: Path | None) -> None:
    from clients.learning.course import join
    from privacy.dp.journal import Journal

    share = join(lesson, invitation, http, Journal(ledger) if ledger else None)
    share.upload(_observer("encrypted", "block", share.owner.course.blocks // share.owners))


def _observer(what: str, unit: str, of: int) -> "Observe":
    """Lines on a terminal's stderr: what is done, and the time left."""
    from server.console import err

    def observe(done: int, seconds: float) -> None:
        if err.is_terminal:
            left = f"{(of - done) * seconds:.0f} s left"
            err.print(f"{what} {unit} {done} of {of}, {seconds:.1f} s, {left}", highlight=False)

    return observe


def serve_learning(
    folder: Annotated[Path, typer.Argument(help="Where courses are kept; to go on with them")],
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8471,
    workers: Workers = 1,
    certificate: Certificate = None,
    key: PrivateKey = None,
    tokens: Tokens = None,
    insecure: Insecure = False,
) -> None:
    """Train on records that it cannot read; prints its URL, as JSON, when it is ready."""
    from privacy.errors import RunError
    from privacy.files import held
    from server.console import err
    from server.inference.gate.stores import roomiest, scratch
    from server.inference.learning.service import LEARNING_LIMITS, LearningService
    from server.inference.listen import Ending, ended_in_order, guard, listen

    tls, known = guard(host, certificate, key, tokens, insecure)
    limits = LEARNING_LIMITS.model_copy(update={"workers": workers})
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}") from None
    with (
        ended_in_order(),
        held(folder, "folder of courses"),
        scratch("privet-arriving-", roomiest(limits.in_flight_bytes)) as theirs,
    ):
        ending = Ending()
        service = LearningService(folder, theirs, limits, known, ending)
        err.print(f"learning service in {folder}; end it with Ctrl-C", highlight=False)
        app = service.app()
        often()
        listen(app, host, port, limits, tls=tls, ending=ending)
