"""A submitted run, carried out by the ServerApp that is installed here.

Flower unpacks the bundle that came with a run, and runs the code in it with the server's keys at
hand. Here a bundle is compared with the one that `privet run` submits, and never unpacked; what
runs is `server.engines.app` of this machine, as a node's ClientApp is of its own.

Like `server/federation/grid.py`, this file touches names that Flower does not publish.
"""

import os
from importlib import import_module
from pathlib import Path
from queue import Queue
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid

from clients.node.forks import Forks, execute, replace
from privacy.errors import FederationFailed
from server.engines.app import app
from server.engines.submission import BUNDLE, bundle_files


def carry_out_runs(port: int, secret: bytes, parent: int, authority: Path) -> None:
    """Ask the SuperLink at a port of the loopback interface for runs, as long as `parent` lives."""
    execute(port, secret, parent, Forks("SERVER_APP", _server_app), authority)


def require_ours(bundle: bytes) -> None:
    """Compare a bundle with the one that this privet submits.

    Raises:
        FederationFailed: it is another one, whatever it would do.
    """
    from flwr.cli.build import build_fab_from_files

    if bundle != build_fab_from_files(bundle_files())[0]:
        raise FederationFailed("not the bundle of this machine's privet: submit with privet run")


def _server_app(spec: Any) -> None:
    from flwr.supercore.logger import mirror_output_to_queue

    # The package has a function of the same name.
    run_serverapp = import_module("flwr.superlink.runtime.run_serverapp")
    config = BUNDLE["tool"]["flwr"]["app"]["config"]
    ours = {
        "install_from_fab": lambda bundle, **_: require_ours(bundle),
        "get_project_config": lambda _: BUNDLE,
        "get_fused_config_from_dir": lambda _, overrides: {**config, **overrides},
        "run_": _run_installed,
    }
    replace(run_serverapp, ours)
    log: Queue[str | None] = Queue()
    mirror_output_to_queue(log)
    run_serverapp.run_serverapp(
        spec.runtime_api_address,
        log,
        spec.token,
        insecure=False,
        certificates=Path(spec.root_certificates_path).read_bytes(),
        parent_pid=os.getppid(),
        runtime_dependency_install=False,
    )


def _run_installed(grid: Grid, context: Context, **_: Any) -> Context:
    app(grid, context)
    return context
