"""The watcher on a port of the loopback interface, until a signal ends it."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn

from privacy.errors import ServiceError
from server.watch.folder import Folder
from server.watch.service import Watcher
from server.watch.token import token_of

HOST = "127.0.0.1"
CONNECTIONS = 64
END_S = 2
NICE = 10  # what trains goes first


class Listener(uvicorn.Server):
    """Ends its streams of events before it waits for them."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._watcher, self._ready = watcher, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so once requests are taken."""
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order."""
        self._watcher.ending = True
        super().handle_exit(sig, frame)


def watch(folder: Path, port: int, ready: Callable[[str, bool], None]) -> None:
    """Serve the page of a folder of runs. SIGINT and SIGTERM end it.

    Args:
        port: 0 takes a free one.
        ready: is told the address, and whether another watcher at this port will have the same.

    Raises:
        ServiceError: the port is taken.
    """
    with socket.socket(socket.AF_INET) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((HOST, port))
        except OSError as error:
            raise ServiceError(
                f"{HOST}:{port}: {error.strerror}; choose another --port, or 0 for a free one"
            ) from None
        token, lasting = token_of(folder)
        port = door.getsockname()[1]
        with suppress(OSError):
            os.nice(NICE)
        with asyncio.Runner() as runner, suppress(KeyboardInterrupt):
            runner.run(_serve(folder, token, port, door, lambda url: ready(url, lasting)))


async def _serve(
    folder: Path, token: str, port: int, door: socket.socket, ready: Callable[[str], None]
) -> None:
    watcher = Watcher(Folder(folder), token, port)
    config = uvicorn.Config(
        watcher.app(),
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        http="h11",
        ws="none",
        lifespan="on",
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=END_S,
    )
    url = f"http://{HOST}:{port}/?token={token}"
    await Listener(config, watcher, lambda: ready(url)).serve(sockets=[door])
