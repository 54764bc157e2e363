"""A device's own process: Flower's SuperNode, and the ClientApp that is installed here.

A SuperNode as Flower starts it runs whatever code the server sends. Here the ClientApp is always
`clients.node.app` of this machine; of what the server sends only messages are read, so that neither
the ledger nor the checks in it can be replaced from outside. Each message gets a process of its
own (forks).

Like `server/federation/grid.py`, this file touches names that Flower does not publish.
"""

import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import tomli_w

from clients.node.forks import Forks, execute, fork, replace
from privacy.errors import UserError

AGAIN_S = 3.0
PULL_S = 120  # for a message's content to come: from a SuperLink that died it never does


@dataclass(frozen=True)
class NodeSettings:
    """How a device joins a federation.

    Attributes:
        address: `host:port` of the SuperLink.
        root_certificates: PEM file of the authority that vouches for the SuperLink; none: no TLS.
        key: the node's private key; none: the SuperLink must not ask for one.
        config: Flower's node config, which the ClientApp reads: `clients.node.holder`.
        port: of the loopback interface, for Flower's own use; 0 takes a free one.
    """

    address: str
    config: dict[str, str | int | float | bool]
    root_certificates: Path | None = None
    key: Path | None = None
    port: int = 0


def run_node(settings: NodeSettings) -> None:
    """Take part until a signal ends it.

    Raises:
        UserError: a file of `settings` is not there.
    """
    for path in (settings.root_certificates, settings.key):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: not there; privet keys new makes certificates and node keys")
    _import_all()
    stopped = threading.Event()
    children: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        stopped.set()
        _end(children)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with tempfile.TemporaryDirectory(prefix="privet-node-") as folder:
        # Other users of this machine may reach the port, and must not take our messages.
        secret = Path(folder) / "secret"
        secret.touch(0o600)
        secret.write_bytes(secrets.token_hex(32).encode())
        config = write_config(Path(folder), settings)
        os.environ["FLWR_HOME"] = folder
        parent, forks = os.getpid(), Forks("CLIENT_APP", _client_app)
        while not stopped.is_set():
            port = settings.port or _free_port()
            children += [
                fork(partial(_supernode, settings, port, secret, config, parent)),
                fork(partial(execute, port, secret.read_bytes(), parent, forks)),
            ]
            os.wait()  # neither is of use without the other
            while children:
                _end(children)
                with suppress(ChildProcessError):
                    os.waitpid(children.pop(), 0)
            if not stopped.wait(0):
                # Not admitted (yet), or the SuperLink still counts on one that was killed.
                print(f"privet: the SuperNode ended; again in {AGAIN_S:.0f} s", file=sys.stderr)
                stopped.wait(AGAIN_S)


def write_config(folder: Path, settings: NodeSettings) -> Path:
    """A file of the node's config: on its command line Flower knows no quotes in a value."""
    path = folder / "node.toml"
    path.touch(0o600)
    path.write_text(tomli_w.dumps(settings.config), encoding="utf-8")
    return path


def _import_all() -> None:
    """Once, before any fork: each child then has it at once, and in the same memory."""
    import torch

    import clients.node.app  # noqa: F401

    torch.set_num_threads(1)


def _end(children: list[int]) -> None:
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)


def _supernode(settings: NodeSettings, port: int, secret: Path, config: Path, parent: int) -> None:
    from flwr.supercore.app_utils import start_parent_process_monitor
    from flwr.supernode.cli import flower_supernode

    start_parent_process_monitor(parent)
    arguments = ["--superlink", settings.address, "--node-config", str(config)]
    arguments += ["--isolation", "process", "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--superexec-auth-secret-file", str(secret)]
    if settings.root_certificates:
        arguments += ["--root-certificates", str(settings.root_certificates)]
    else:
        arguments.append("--insecure")
    if settings.key:
        arguments += ["--auth-supernode-private-key", str(settings.key)]
    sys.argv = ["flower-supernode", *arguments]
    flower_supernode()


def _client_app(spec: Any) -> None:
    from flwr.supernode.runtime import run_clientapp

    from clients.node.app import app

    pull = run_clientapp.pull_task_input

    def pull_in_time(client: Any) -> Any:
        signal.alarm(PULL_S)  # ends this process
        pulled = pull(client)
        signal.alarm(0)
        return pulled

    ours = {
        "pull_task_input": pull_in_time,
        "install_from_fab": lambda *_, **__: None,
        "get_load_client_app_fn": lambda **_: lambda *_: app,
    }
    replace(run_clientapp, ours)
    run_clientapp.run_clientapp(
        spec.runtime_api_address,
        spec.token,
        insecure=True,
        parent_pid=os.getppid(),
        runtime_dependency_install=False,
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
