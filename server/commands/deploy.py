"""`privet keys`, `privet link`, `privet node`: the same federation on machines of their own."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from server.commands.options import Settings, finite

Keys = Annotated[Path, typer.Option("--keys", help="The folder server/ that privet keys new made")]


def new_keys(
    folder: Annotated[Path, typer.Argument(help="Folder to make")],
    host: Annotated[
        list[str] | None, typer.Option(help="A name or address of the server, as often as needed")
    ] = None,
    nodes: Annotated[int, typer.Option(min=0, help="How many nodes get a key")] = 3,
) -> None:
    """Make a private test authority, a server certificate and node keys, a folder a machine."""
    from privacy.authority import make_authority

    hosts = ["localhost", "127.0.0.1", *(host or [])]
    for path in make_authority(folder, hosts, nodes):
        print(path)


def link(
    keys: Keys,
    host: Annotated[str, typer.Option(help="Interface to listen on")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="For nodes, and nothing but what nodes ask")
    ] = 9093,
    control_port: Annotated[
        int,
        typer.Option(min=1, max=65535, help="For runs, on 127.0.0.1: who reaches it may start one"),
    ] = 9092,
    database: Annotated[
        Path | None, typer.Option(help="File that outlives the SuperLink; else it forgets")
    ] = None,
) -> None:
    """Run Flower's SuperLink: TLS, and only nodes whose public keys are in the folder of keys."""
    from server.engines.link import serve_link

    raise typer.Exit(serve_link(keys, host, port, control_port, database))


def node(
    data: Annotated[Path, typer.Option(help="This device's records: a folder, or a file")],
    ledger: Annotated[Path, typer.Option(help="File of what they have spent")],
    client: Annotated[int, typer.Option(min=0, help="This device's number, from 0")],
    of: Annotated[int, typer.Option(min=1, help="How many devices there are")],
    address: Annotated[str, typer.Option("--link", help="HOST:PORT of the SuperLink")],
    authority: Annotated[
        Path | None, typer.Option(help="PEM file that vouches for the SuperLink; none: no TLS")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="This node's private key")] = None,
    schema: Annotated[
        Path | None, typer.Option(help="What is public of a file's records, for servers to know")
    ] = None,
    s: Settings = None,
    classes: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Labels are 0 to this less 1; servers may learn it"),
    ] = None,
    records: Annotated[
        int | None,
        typer.Option(min=1, help="Told as the number of training records; none: the exact one"),
    ] = None,
    epsilon_limit: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1e9, callback=finite, help="Never spend more, over all runs"),
    ] = None,
    no_epsilon_limit: Annotated[
        bool, typer.Option("--no-epsilon-limit", help="Spend whatever a run allows itself")
    ] = False,
    allow_unprotected: Annotated[
        bool,
        typer.Option("--allow-unprotected", help="Send weights and statistics without noise"),
    ] = False,
    delta: Annotated[
        float,
        typer.Option(min=1e-12, max=0.5, callback=finite, help="At which the limit holds"),
    ] = 1e-5,
    model: Annotated[
        Path | None,
        typer.Option(help="Python file of a model: the only code that jobs may ask for by name"),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A backbone's .safetensors file, which jobs may name")
    ] = None,
    board: Annotated[
        str, typer.Option(help="Train on a board: its serial port, /dev/ttyUSB0; or emulated")
    ] = "",
    firmware: Annotated[
        Path | None, typer.Option(help="Folder of privet export --to c that is on the board")
    ] = None,
    allow_seeded: Annotated[
        bool, typer.Option("--allow-seeded", help="Answer with noise that the server knows")
    ] = False,
    secure_aggregation: Annotated[
        str, typer.Option(help="masks or ckks: train behind it only, never in the clear")
    ] = "none",
    members: Annotated[
        Path | None, typer.Option(help="Folder of all members' public keys: only they are summed")
    ] = None,
    fewest_members: Annotated[
        int, typer.Option(min=3, help="Take part in sums of so many members at least")
    ] = 3,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine's own use; 0: a free one")
    ] = 0,
) -> None:
    """Take part as a device: its records stay in --data, its ledger in --ledger."""
    from clients.models.weights import keep
    from clients.node.machine import NodeSettings, run_node
    from privacy.errors import SettingsError
    from privacy.sums.roster import read_roster
    from server.engines.submission import flower_environment
    from server.experiment.experiment import LOOPBACK

    if (epsilon_limit is None) != no_epsilon_limit:
        raise SettingsError(
            "say what may be spent: either --epsilon-limit EPSILON or --no-epsilon-limit"
        )
    if allow_unprotected and not no_epsilon_limit:
        raise SettingsError(
            "--allow-unprotected: no limit holds over answers without noise; leave it out, or say "
            "--no-epsilon-limit with it"
        )
    if client >= of:
        raise SettingsError(f"--client {client}: must be less than --of {of}")
    if secure_aggregation not in ("none", "masks", "ckks"):
        raise SettingsError(f"--secure-aggregation {secure_aggregation}: masks, ckks or none")
    if authority is None and address.rpartition(":")[0] not in LOOPBACK:
        raise SettingsError(f"--link {address} is another machine: give --authority, its PEM file")
    if secure_aggregation != "none" and members is None:
        raise SettingsError(
            f"--secure-aggregation {secure_aggregation}: give --members, a folder of the members' "
            "public keys (keys/members of privet keys new), or the server could invent them"
        )
    if members is not None and key is None:
        raise SettingsError("--members: give --key too, which signs this node's keys for a sum")
    if model is not None:
        _tell_model(model)
    if weights is not None:
        print(f"privet: jobs may name the weights in {weights}: {keep(weights)}", file=sys.stderr)
    known: dict[str, str | int | float | bool] = {}
    if members is not None and key is not None:
        num = len(read_roster(members, key, client, fewest_members).members)
        known = {"members": str(members.resolve()), "key": str(key.resolve())}
        known["fewest-members"] = fewest_members
        print(f"privet: {num} members are known by their keys", file=sys.stderr)
    told = _tell_records(data, schema, s, classes, records)
    if not known:
        print("privet: no --members: the server says who is in a secure sum", file=sys.stderr)
    os.environ.update(flower_environment())
    config: dict[str, str | int | float | bool] = {
        "partition-id": client,
        "num-partitions": of,
        "ledger": str(ledger.resolve()),
        **told,
        **({"no-epsilon-limit": True} if epsilon_limit is None else {}),
        **({} if epsilon_limit is None else {"epsilon-limit": float(epsilon_limit)}),
        "delta": delta,
        "allow-unprotected": allow_unprotected,
        "allow-seeded": allow_seeded,
        "secure-aggregation": secure_aggregation,
        **({} if model is None else {"model": str(model.resolve())}),
        **known,
    }
    with tempfile.TemporaryDirectory(prefix="privet-board-") as scratch:
        config |= _tell_board(board, firmware, Path(scratch), ledger, epsilon_limit, delta)
        run_node(NodeSettings(address, config, authority, key, port))


def _tell_board(
    port: str,
    firmware: Path | None,
    scratch: Path,
    ledger: Path,
    epsilon_limit: float | None,
    delta: float,
) -> dict[str, str]:
    """What a node's config says of a board; and in words, to its owner, what that allows."""
    from privacy.errors import SettingsError

    if bool(port) != (firmware is not None):
        raise SettingsError("--board and --firmware: give both, a board and what is on it; or none")
    if firmware is None:
        return {}
    from clients.boards.board import EMULATED, Board
    from clients.boards.flashed import emulated_program

    board = Board.of(port, firmware.resolve(), None, ledger.resolve())
    program = emulated_program(firmware, scratch) if port == EMULATED else None
    contract, most = board.contract, board.most_epsilon(delta)
    if epsilon_limit is not None and most < epsilon_limit:
        print(
            f"privet: a board's noise is {contract.distance:.2g} off: less than epsilon {most:.4g} "
            f"can be promised at delta {delta:g}, and no step beyond that is taken",
            file=sys.stderr,
        )
    print(
        f"privet: trains on a board: {board.mark}, {contract.most_steps:,} at most, which cost "
        f"epsilon {contract.epsilon:.4g} at delta {contract.delta:g}",
        file=sys.stderr,
    )
    return {
        "board": port,
        "firmware": str(firmware.resolve()),
        **({} if program is None else {"program": str(program)}),
    }


def _tell_records(
    path: Path,
    schema: Path | None,
    settings: list[str] | None,
    classes: int | None,
    records: int | None,
) -> dict[str, str | int]:
    """What a node's config says of its records; and in words, to their owner, what that tells."""
    from clients.data.sets import load
    from clients.data.told import pictures, source
    from privacy.errors import SettingsError
    from server.commands.data import has_schema
    from server.experiment.loading import load_source

    if not has_schema(path, schema):
        if settings:
            raise SettingsError(f"-s {settings[0]}: says how a file is read: give its --schema")
        folder = pictures.state(path, classes, records)
        print(f"privet: of the records in {path} servers may learn: {folder}", file=sys.stderr)
        return folder.config
    if classes is not None:
        raise SettingsError("--classes: as many as the schema has labels; leave it out")
    file = source.state(load_source(path, schema, settings), records)
    print(f"privet: of the records in {path} servers may learn: {file}", file=sys.stderr)
    own = [f"{name} {count:,}" for name, count in load(file.data).counts]
    if told := "; ".join([*own, *filter(None, [file.covers])]):
        print(f"privet: they do not learn: {told}", file=sys.stderr)
    return file.config


def _tell_model(file: Path) -> None:
    from clients.models.sources import admit
    from privacy.errors import SettingsError

    try:
        sha256 = admit(file)
    except OSError as error:
        raise SettingsError(f"--model {file}: cannot be read: {error.strerror}") from None
    print(f"privet: jobs may name the code in {file}: SHA-256 {sha256}", file=sys.stderr)


def show_ledger(
    file: Annotated[Path, typer.Argument(help="A node's --ledger")],
    delta: Annotated[
        float,
        typer.Option(min=1e-12, max=0.5, callback=finite, help="At which epsilon is told"),
    ] = 1e-5,
) -> None:
    """Check a node's ledger, and say what its data have spent over all runs."""
    from privacy.dp.journal import Journal
    from privacy.errors import UserError

    if not file.is_file():
        raise UserError(f"{file}: not there")
    lines = Journal(file).lines
    runs = {line["run"] for line in lines}
    charges = sum(line["kind"] == "charge" for line in lines)
    epsilon = Journal(file).epsilon(delta)
    print(f"epsilon {epsilon:.4f} at delta {delta:g}: {charges} releases in {len(runs)} runs")
    for line in Journal(file).covered:
        print(line)
