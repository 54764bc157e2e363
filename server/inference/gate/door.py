"""Connections: how many there may be, of all and of one address, and how long each may dawdle.

uvicorn bounds the time between requests and nothing else: a header, a handshake or an answer that
is not read may last for ever. What is here bounds each, before a request is a task.
"""

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from server.inference.gate.accounts import neighbourhood
from server.inference.limits import Limits

LINGER_S = 2.0  # for a client to notice that its request was refused before it was whole

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Visitor(socket.socket):
    """An accepted connection, which tells its door when it is closed."""

    door: "Door | None" = None
    neighbourhood = ""

    def close(self) -> None:
        """Close, once."""
        door, self.door = self.door, None
        if door is not None:
            door.leave(self.neighbourhood)
        super().close()


class Door(socket.socket):
    """A listening socket that closes at once what is too much, before TLS or HTTP cost anything."""

    def __init__(self, family: int, limits: Limits, proxies: Sequence[Network] = ()) -> None:
        """Args:
        proxies: addresses that bring the connections of many.
        """
        # Named as TCP, or asyncio leaves Nagle's delay on: an answer then waits 40 ms for its end.
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._limits, self._proxies = limits, proxies
        self._open: Counter[str] = Counter()

    def accept(self) -> tuple[socket.socket, Any]:
        """A connection, as asyncio asks for one.

        Raises:
            ConnectionAbortedError: it was one too many, and is closed.
        """
        descriptor, address = self._accept()  # type: ignore[attr-defined]
        visitor = Visitor(self.family, self.type, self.proto, fileno=descriptor)
        who = neighbourhood(address[0])
        limits, is_proxy = self._limits, self._is_proxy(address[0])
        most_each = limits.connections if is_proxy else limits.connections_each
        if self._open.total() >= limits.connections or self._open[who] >= most_each:
            visitor.close()
            raise ConnectionAbortedError
        self._open[who] += 1
        visitor.door, visitor.neighbourhood = self, who
        return visitor, address

    def _is_proxy(self, address: str) -> bool:
        found = ipaddress.ip_address(address.partition("%")[0])
        return any(found in network for network in self._proxies)

    def leave(self, who: str) -> None:
        """A visitor has gone."""
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose TLS handshakes have a deadline."""

    def __init__(self, handshake_s: float) -> None:
        super().__init__()
        self._handshake_s = handshake_s

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.Server:
        """As asyncio does."""
        if kwargs.get("ssl") is not None:
            kwargs.setdefault("ssl_handshake_timeout", self._handshake_s)
        return await super().create_server(*args, **kwargs)


class Punctual(H11Protocol):
    """HTTP/1.1 with a deadline on whatever the client does: headers, reading, going.

    Bodies and answers have deadlines of their own, in the service.
    """

    def __init__(
        self,
        limits: Limits,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._waits_for = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A header must come."""
        super().connection_made(transport)
        self._expect("header", self._limits.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is expected."""
        super().connection_lost(exc)
        self._expect("", 0.0)

    def data_received(self, data: bytes) -> None:
        """Bytes of a header begin its deadline; no later byte puts it off."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            if self._waits_for != "reader":
                self._expect("", 0.0)
        elif self.conn.their_state is h11.IDLE and self._waits_for != "header":
            self._expect("header", self._limits.header_s)

    def on_response_complete(self) -> None:
        """What the client still sends may take a moment, its next request longer."""
        if self.conn.their_state is h11.SEND_BODY:
            self._expect("end", LINGER_S)
        else:
            self._expect("request", self._limits.idle_s + LINGER_S)  # uvicorn closes in order first
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._expect("reader", self._limits.idle_s)

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._waits_for == "reader":
            self._expect("", 0.0)

    def _expect(self, what: str, within_s: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._waits_for = what
        if what:
            self._deadline = self.loop.call_later(within_s, self.transport.abort)
