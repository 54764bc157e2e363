"""Flower's apps as forks of a process that has imported everything: milliseconds, not seconds.

Flower's executor starts a program for each message or run, which installs the bundle that came with
it and runs the code in it. Here a fork calls what is installed on this machine, and never looks
into a bundle for code.

Like `server/federation/grid.py`, this file touches names that Flower does not publish.
"""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

POLL_S = "0.1"


def fork(work: Callable[[], None]) -> int:
    """Do `work` in a process of its own, which ends with it; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        work()
        status = 0
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def execute(
    port: int, secret: bytes, parent: int, forks: "Forks", authority: Path | None = None
) -> None:
    """Flower's loop that asks a SuperNode or SuperLink of this machine for work, with forks.

    Args:
        port: of the loopback interface.
        secret: which proves that the asker may have work.
        parent: the process with which this one ends.
        authority: PEM file that vouches for who listens there; none: no TLS.
    """
    from flwr.supercore.superexec import run_superexec

    while True:  # Flower's own retries soon wait long
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        if os.getppid() != parent:
            return
        time.sleep(0.1)
    os.environ.setdefault("FLWR_SUPEREXEC_TASK_POLL_INTERVAL", POLL_S)
    replace(run_superexec, {"get_executor": lambda *_, **__: forks})
    run_superexec.run_superexec(
        f"127.0.0.1:{port}",
        insecure=authority is None,
        root_certificates_path=str(authority) if authority else None,
        superexec_auth_secret=secret,
        parent_pid=parent,
        runtime_dependency_install=False,
    )


def replace(module: ModuleType, names: Mapping[str, Any]) -> None:
    """Put ours in the place of a module's own.

    Raises:
        RuntimeError: the module has no such name. What is replaced is what would run a stranger's
            code: a Flower that calls it otherwise must not start.
    """
    if missing := names.keys() - vars(module).keys():
        raise RuntimeError(f"{module.__name__} has no {', '.join(sorted(missing))}: another Flower")
    vars(module).update(names)


class Forks:
    """Flower's `Executor`: a fork for each task of one kind; tasks of other kinds nobody takes.

    Args:
        kind: a name of Flower's `TaskType`.
        work: what a fork does; is told Flower's `ExecutionSpec`.
    """

    def __init__(self, kind: str, work: Callable[[Any], None]) -> None:
        self._kind, self._work = kind, work
        self._running: set[int] = set()

    def get_eligible_capacity(self, kinds: set, **_: Any) -> tuple[set, set[str]]:
        """Any number of its kind: those of a ClientApp wait for each other at the ledger."""
        from flwr.supercore.constant import TaskType

        return kinds & {TaskType[self._kind]}, set()

    def wait_for_capacity(self, *_: Any, **__: Any) -> None:
        """Nothing to wait for."""

    def launch(self, spec: Any) -> Any:
        """Run the installed app."""
        from flwr.supercore.superexec.executor.types import LaunchResult

        self._running.add(fork(partial(self._launched, spec)))
        return LaunchResult.accepted()

    def _launched(self, spec: Any) -> None:
        from flwr.supercore.exit import exit_handler

        # What this process inherits would, at its end, end those that were forked before it.
        exit_handler.registered_exit_handlers.clear()
        self._work(spec)

    def reconcile(self) -> None:
        """Take note of those that have ended."""
        self._running -= {pid for pid in self._running if os.waitpid(pid, os.WNOHANG)[0]}

    def close(self) -> None:
        """End them."""
        for pid in self._running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
