"""`privet link`: Flower's SuperLink with TLS, at two ports, with the apps that are installed here.

Like `server/federation/grid.py`, this file touches names that Flower does not publish.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from clients.node.forks import fork
from privacy.errors import FederationFailed, KeysError, SettingsError
from privacy.sums.roster import read_public
from server.engines.submission import flower_environment
from server.garbage import often

LOOPBACK = "127.0.0.1"
END_S = 5  # for requests under way, once a signal came: Flower's stream of a log has no end
FILES = ("server.pem", "server.key", "authority.pem")


def serve_link(keys: Path, host: str, port: int, control_port: int, database: Path | None) -> int:
    """Run until a signal ends it; returns the exit status: 1 if nobody carries out runs any more.

    Args:
        keys: has `authority.pem`, `server.pem`, `server.key` and each node's `.pub`.
        port: for nodes, on the interface `host`.
        control_port: for runs, on the loopback interface.
        database: what the SuperLink knows survives it there; None keeps it in memory.

    Raises:
        KeysError: a file is missing, or no node's public key.
        SettingsError: the ports are one.
        FederationFailed: it does not start, or does not admit a node.
    """
    keys = keys.resolve()
    for name in FILES:
        if not (keys / name).is_file():
            raise KeysError(f"{keys / name}: not there; make a folder of keys: privet keys new DIR")
    if port == control_port:
        raise SettingsError(f"--control-port {control_port}: is --port too; name another")
    members = {path: read_public(path) for path in sorted(keys.glob("*.pub"))}
    if database:
        database.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left behind
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="privet-link-"))
        os.environ.update(flower_environment(Path(home)))
        logging.getLogger("flwr").propagate = False  # Opacus has the root logger print all again
        secret = secrets.token_bytes(32)
        # Before there is a thread or a socket, which it would inherit.
        work = partial(_carry_out_runs, control_port, secret, os.getpid(), keys / "authority.pem")
        executor = fork(work)
        stack.callback(_end, executor)
        sockets = [
            stack.enter_context(_bound(host, port)),
            stack.enter_context(_bound(LOOPBACK, control_port)),
        ]
        app = _superlink(keys, control_port, members, secret, database)
        link = Link(app, keys, f"privet: {len(members)} nodes admitted")
        watch = threading.Thread(target=link.outlive, args=[executor], daemon=True)
        watch.start()
        often()
        try:
            asyncio.run(link.serve(sockets=sockets))
        except KeyboardInterrupt:  # uvicorn has ended in order, and passes the signal on
            return 0
        if not link.started:
            raise FederationFailed(f"Flower's SuperLink did not start on {host}:{port}")
        return int(link.alone)


class Link(uvicorn.Server):
    """Says that it listens; ends when nobody carries out runs any more.

    Attributes:
        alone: nobody does.
    """

    def __init__(self, app: Any, keys: Path, ready: str) -> None:
        from flwr.supercore.http_logging import get_uvicorn_log_config
        from flwr.supercore.logger import console_handler

        config = uvicorn.Config(
            app,
            log_config=get_uvicorn_log_config(console_handler.level),
            ssl_keyfile=keys / "server.key",
            ssl_certfile=keys / "server.pem",
            ws="none",
            lifespan="on",
            proxy_headers=False,
            timeout_graceful_shutdown=END_S,
        )
        super().__init__(config)
        self._ready = ready
        self.alone = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say on stderr that nodes may come."""
        await super().startup(sockets)
        if not self.should_exit:
            print(self._ready, file=sys.stderr, flush=True)

    def outlive(self, executor: int) -> None:
        """Wait for the end of the process that carries out runs: then there is nothing to serve."""
        with suppress(ChildProcessError):
            os.waitpid(executor, 0)
        self.alone = self.should_exit = True


def _superlink(
    keys: Path,
    control_port: int,
    members: Mapping[Path, Any],
    secret: bytes,
    database: Path | None,
) -> Any:
    """Flower's SuperLink as an ASGI app that knows the members, behind our ports."""
    from flwr.common.constant import NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, TRANSPORT_TYPE_GRPC_RERE
    from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes
    from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
    from flwr.superlink.config_loader import SuperLinkLifespanConfig
    from flwr.superlink.main import create_app

    from server.engines.ports import Ports

    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host="",
        port=0,
        insecure=False,
        certificates=None,
        superexec_auth_secret=secret,
        authn_plugin=NoOpControlAuthnPlugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=None,
        ssl_certfile=None,
        ssl_keyfile=None,
        database=str(database) if database else FLWR_IN_MEMORY_DB_NAME,
        isolation="process",
        runtime_dependency_install=False,
    )
    app = create_app(config, _Lifespan)  # type: ignore[arg-type]
    state = app.state.linkstate_factory.state()
    for path, member in members.items():
        public = public_key_to_bytes(member)
        if state.get_node_id_by_public_key(public) is None:
            try:
                state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, public, 0)
            except ValueError as error:
                raise FederationFailed(f"{path}: not admitted: {error}") from None
    return Ports(app, control_port, members.values())


class _Lifespan:
    """Of the servers that Flower would start beside its app: none."""

    def __init__(self, *_: object) -> None:
        pass

    def startup(self) -> None:
        """Nothing."""

    def shutdown(self) -> None:
        """Nothing."""


def _carry_out_runs(port: int, secret: bytes, parent: int, authority: Path) -> None:
    from server.engines.installed import carry_out_runs

    carry_out_runs(port, secret, parent, authority)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, UnicodeError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or "no name or address of a machine"
        raise FederationFailed(
            f"Flower's SuperLink did not start on {host}:{port}: {reason}"
        ) from None
    return bound


def _end(process: int) -> None:
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
