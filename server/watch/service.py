"""The page and its events: read-only, for who has the token, on this machine alone.

    GET /?token=...    sets a cookie and leads to /
    GET /              the page
    GET /events        server-sent events: first all rows, then those that became others
    GET /run, /sweep   curves of a run, cells of a sweep
    GET /report        a report that lies in the folder

A page that lags is told less often, not more: each event is made from the rows as they are when it
is sent, and nothing waits in a queue.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privacy.documents import to_json
from server.watch.folder import Folder
from server.watch.page import POLICY, page
from server.watch.token import is_token

EVERY_S = 1.0  # between looks
SHARE = 0.05  # of a core that looks may take
TICK_S = 0.2
QUIET_S = 15.0  # after which a comment keeps the connection
MOST_LISTENERS = 16
RETRY_MS = 1000
HOSTS = {"127.0.0.1", "localhost", "[::1]"}
ALONE = "privet watch: open the address that the command printed; its token is missing or another's"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
# Another's page may run its own script, in a place of its own: it reaches nothing.
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
)


class Watcher:
    """What the page is told.

    Args:
        folder: of runs.
        token: that opens it.
        port: at which it listens, for the cookie's name: cookies know no ports.
    """

    def __init__(self, folder: Folder, token: str, port: int) -> None:
        self._folder, self._token, self._cookie = folder, token, f"privet-watch-{port}"
        self._listeners = 0
        self._looking = asyncio.Lock()
        self.ending = False

    def app(self) -> ASGIApp:
        """All of it."""
        routes = [
            Route("/", self._page, methods=["GET"]),
            Route("/events", self._events, methods=["GET"]),
            Route("/run", self._run, methods=["GET"]),
            Route("/sweep", self._sweep, methods=["GET"]),
            Route("/report", self._report, methods=["GET"]),
        ]
        return Guard(Starlette(routes=routes, lifespan=self._lifespan))

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            looking.cancel()

    async def _look_on(self) -> None:
        """Look while someone listens."""
        while True:
            if self._listeners:
                await self._look()
            await asyncio.sleep(max(EVERY_S, self._folder.took_s / SHARE))

    async def _look(self) -> None:
        async with self._looking:
            await run_in_threadpool(self._folder.look)

    def _admit(self, request: Request) -> None:
        if not is_token(request.cookies.get(self._cookie, ""), self._token):
            raise HTTPException(403, ALONE)

    async def _page(self, request: Request) -> Response:
        if is_token(request.query_params.get("token", ""), self._token):
            response = RedirectResponse("/", 303)
            response.set_cookie(
                self._cookie, self._token, httponly=True, samesite="lax", max_age=30 * 86400
            )
            return response
        self._admit(request)
        headers = {"content-security-policy": POLICY}
        return Response(page(), headers=headers, media_type="text/html")

    async def _events(self, request: Request) -> Response:
        self._admit(request)
        if self._listeners >= MOST_LISTENERS:
            raise HTTPException(503, "privet watch: too many pages listen")
        return StreamingResponse(self._tell(), media_type="text/event-stream")

    async def _tell(self) -> AsyncIterator[str]:
        self._listeners += 1
        try:
            await self._look()
            yield f"retry: {RETRY_MS}\n\n"
            told, quiet = -1, 0.0
            while not self.ending:
                if self._folder.version > told:
                    async with self._looking:  # of one look, not of half of the next
                        told, news = self._folder.version, self._folder.news(max(0, told))
                    yield f"event: news\ndata: {to_json(news)}\n\n"
                    quiet = 0.0
                elif (quiet := quiet + TICK_S) >= QUIET_S:
                    yield ": still here\n\n"
                    quiet = 0.0
                await asyncio.sleep(TICK_S)
        finally:
            self._listeners -= 1

    async def _run(self, request: Request) -> Response:
        self._admit(request)
        asked = request.query_params
        after, series = _whole(request, "after"), asked.get("series", "")
        async with self._looking:
            found = self._folder.run(asked.get("id", ""), after, series)
        return _answer(found)

    async def _sweep(self, request: Request) -> Response:
        self._admit(request)
        async with self._looking:
            found = self._folder.sweep(request.query_params.get("id", ""))
        return _answer(found)

    async def _report(self, request: Request) -> Response:
        self._admit(request)
        key = request.query_params.get("id", "")
        try:
            content = await run_in_threadpool(self._folder.report, key)
        except OSError as error:
            raise HTTPException(404, f"privet watch: {error.strerror}") from None
        if content is None:
            raise HTTPException(404, "privet watch: there is no such report")
        headers = {"content-security-policy": SANDBOX}
        return Response(content, headers=headers, media_type="text/html")


def _answer(found: object) -> Response:
    if found is None:
        raise HTTPException(404, "privet watch: it is not there any more")
    return Response(to_json(found), media_type="application/json")


def _whole(request: Request, name: str) -> int:
    said = request.query_params.get(name, "0")
    if not (said.isascii() and said.isdecimal() and len(said) < 16):
        raise HTTPException(400, f"privet watch: {name} is no number")
    return int(said)


class Guard:
    """Takes requests to this machine's own name alone, so that no other site's name leads here
    (DNS rebinding), and says with each answer what a browser may do with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *kept]
            await send(message)

        if not _is_ours(scope):
            refused = PlainTextResponse("privet watch: not the name of this machine", 421)
            await refused(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _is_ours(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    try:
        parts = urlsplit(f"//{hosts[0]}")
        port = parts.port
    except ValueError:
        return False
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return name in HOSTS and parts.path == "" and port is not None
