"""An ASGI app on a socket, until a signal ends it."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from privacy.errors import ServiceError


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM ends what is within as Ctrl-C does, so that temporary folders are removed.

    uvicorn shuts down in order, and then has the process die of the signal all the same.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def listen(app: FastAPI, host: str, port: int) -> None:
    """Serve; print {"url": ...} on stdout once requests are taken. SIGINT and SIGTERM end it.

    Raises:
        ServiceError: the port is taken, or the app did not start.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServiceError(f"{host}:{port}: {error.strerror}; choose another --port") from None
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    url = f"http://{shown}:{listener.getsockname()[1]}"

    class Server(uvicorn.Server):
        """Tells when it is ready."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.should_exit:
                print(json.dumps({"url": url}), flush=True)

    config = uvicorn.Config(app, log_level="error", timeout_keep_alive=30, lifespan="on")
    server = Server(config)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # uvicorn has shut down in order, and passes the signal on
    finally:
        listener.close()
    if not server.started:
        raise ServiceError("the service did not start")
