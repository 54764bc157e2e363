"""What the services on ciphertexts share: an ASGI app that lives as long as its workers do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from server.inference.pool import Pool
from server.inference.replies import REFUSED

Handlers = Mapping[tuple[str, str], Callable[..., Awaitable[Response]]]  # by method and path


def application(
    pool: Pool,
    handlers: Handlers,
    refuse: Callable[[Request, Exception], Awaitable[Response]],
    opened: Callable[[dict[str, int]], None],
    on_failure: Callable[[], None],
) -> FastAPI:
    """`handlers` and GET /health, which tells nothing but whether a worker lives.

    Args:
        refuse: answers what raises one of `REFUSED`.
        opened: called with what `pool.open` gives.
        on_failure: called once workers do not start any more.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.ensure_future(watch())
        try:
            opened(await pool.open())
            yield
        finally:
            watching.cancel()
            await pool.close()

    async def watch() -> None:
        await pool.failed.wait()
        on_failure()

    async def health() -> JSONResponse:
        alive = bool(pool.workers)
        return JSONResponse({"status": "ok" if alive else "no worker"}, 200 if alive else 503)

    app = FastAPI(
        title="privet", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.add_api_route("/health", health, methods=["GET"])
    for (method, path), handler in handlers.items():
        app.add_api_route(path, handler, methods=[method])
    for kind in REFUSED:
        app.add_exception_handler(kind, refuse)
    return app
