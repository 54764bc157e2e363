"""An ASGI app on a socket, until a signal ends it."""

import asyncio
import ipaddress
import os
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from privacy.documents import to_json
from privacy.errors import KeysError, ServiceError, SettingsError
from server.inference.gate.accounts import read_tokens
from server.inference.gate.door import Door, Loop, Network, Punctual
from server.inference.limits import Limits

MOST_HEADER_BYTES = 1 << 14
DESCRIPTORS = 4
CLOSE_S = 4.0  # for workers, once requests have ended


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


def is_loopback(host: str) -> bool:
    """Does a socket bound to this host take this machine's own connections only?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def guard(
    host: str,
    certificate: Path | None,
    key: Path | None,
    tokens: Path | None,
    insecure: bool,
) -> tuple[ssl.SSLContext | None, Mapping[bytes, str] | None]:
    """TLS and the names of its clients by their tokens, of a service at `host`.

    Args:
        insecure: it may stand open without them.

    Raises:
        SettingsError: it would stand open to other machines.
        KeysError: a file is not what it should be.
    """
    if (certificate is None) != (key is None):
        raise SettingsError("--certificate and --key belong together")
    if not (insecure or is_loopback(host) or (certificate and tokens)):
        raise SettingsError(
            f"--host {host} is beyond this machine: give --certificate, --key and --tokens, or "
            "--insecure if something in front does what they do"
        )
    tls = tls_context(certificate, key) if certificate and key else None
    return tls, read_tokens(tokens) if tokens else None


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and later, with a certificate (chain) and its key, PEM files.

    Raises:
        KeysError: others may read the key, or the two are not a pair.
    """
    try:
        if key.stat().st_mode & 0o077:
            raise KeysError(f"{key}: others may read this private key; run: chmod 600 {key}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key, password="")  # never asks on a terminal
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise KeysError(f"{certificate}, {key}: not a certificate and its key: {reason}") from None
    return context


def proxy_networks(proxies: Sequence[str]) -> list[Network]:
    """Addresses or networks whose word on who their clients are is taken.

    Raises:
        SettingsError: one is neither.
    """
    try:
        return [ipaddress.ip_network(proxy) for proxy in proxies]
    except ValueError as error:
        raise SettingsError(f"--proxy: an address or a network belongs here: {error}") from None


class Listener(uvicorn.Server):
    """Tells where it listens once requests are taken; ends within a deadline.

    Attributes:
        failed: it ended because its workers do not start.
    """

    def __init__(self, config: uvicorn.Config, url: str, end_s: float) -> None:
        super().__init__(config)
        self._url = url
        self._last = threading.Timer(end_s + CLOSE_S, os._exit, [1])
        self._last.daemon = True
        self.failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Print {"url": ...} on stdout."""
        await super().startup(sockets)
        if not self.should_exit:
            print(to_json({"url": self._url}), flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order, or without it when that takes too long."""
        if not self._last.is_alive():
            self._last.start()
        super().handle_exit(sig, frame)

    def ended(self) -> None:
        """It has, in order."""
        self._last.cancel()

    def give_up(self) -> None:
        """End because of a failure."""
        self.failed = self.should_exit = True


class Ending:
    """What a service calls when it cannot go on, whoever listens for it by then."""

    listener: Listener | None = None

    def __call__(self) -> None:
        """End the listener."""
        if self.listener is not None:
            self.listener.give_up()


def listen(
    app: FastAPI,
    host: str,
    port: int,
    limits: Limits,
    *,
    tls: ssl.SSLContext | None = None,
    proxies: Sequence[str] = (),
    ending: Ending | None = None,
) -> None:
    """Serve; print {"url": ...} on stdout once requests are taken. SIGINT and SIGTERM end it.

    Args:
        proxies: addresses or networks that tell whose requests they pass on.
        ending: by which the app itself ends it.

    Raises:
        ServiceError: the port is taken, the app did not start, or cannot go on.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS * limits.connections  # a connection has a socket and a file
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = Door(family, limits, proxy_networks(proxies))
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except (OSError, UnicodeError) as error:
        door.close()
        reason = getattr(error, "strerror", None) or "no name or address of a machine"
        raise ServiceError(f"{host}:{port}: {reason}; choose another --host or --port") from None
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    url = f"{'https' if tls else 'http'}://{shown}:{door.getsockname()[1]}"
    config = uvicorn.Config(
        app,
        log_config=None,  # uvicorn's own shuts every handler there is, and absl's its stream
        log_level="error",
        access_log=False,
        server_header=False,
        http=partial(Punctual, limits),  # type: ignore[arg-type]
        ws="none",
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        timeout_keep_alive=int(limits.idle_s) or 1,
        timeout_graceful_shutdown=limits.end_s,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        lifespan="on",
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )
    listener = Listener(config, url, limits.end_s)
    if ending is not None:
        ending.listener = listener
    try:
        with asyncio.Runner(loop_factory=partial(Loop, limits.header_s)) as runner:
            runner.run(listener.serve(sockets=[door]))
    except KeyboardInterrupt:
        pass  # uvicorn has shut down in order, and passes the signal on
    finally:
        listener.ended()
        door.close()
    if listener.failed:
        raise ServiceError("the service ended: its workers do not start any more")
    if not listener.started:
        raise ServiceError("the service did not start")
