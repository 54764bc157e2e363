"""Connections of clients that dawdle: none lasts, and none keeps others out."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from privacy.authority import make_authority
from server.inference.gate.door import Door
from server.inference.limits import Limits
from server.inference.listen import Ending, listen, tls_context

QUICK = Limits(header_s=0.4, idle_s=1.0, connections=40, connections_each=8, end_s=1)
LARGE = "x" * (4 << 20)
PATIENCE_S = 20.0  # of a machine that does much else


def app():
    app = FastAPI()

    async def quick():
        return PlainTextResponse("here")

    async def large():
        return PlainTextResponse(LARGE)

    async def refuse():
        return PlainTextResponse("no", 413)

    async def who(request: Request):
        return PlainTextResponse(request.client.host)

    app.add_api_route("/", quick)
    app.add_api_route("/large", large)
    app.add_api_route("/refuse", refuse, methods=["PUT"])
    app.add_api_route("/who", who)
    return app


@contextlib.contextmanager
def listening(capsys, limits=QUICK, ending=None, **options):
    """Listen in a thread; yields the port."""
    ending = ending or Ending()
    quiet = contextlib.suppress(Exception)  # it ends by `ending`

    def serve():
        with quiet:
            listen(app(), "127.0.0.1", 0, limits, ending=ending, **options)

    thread = threading.Thread(target=serve)
    thread.start()
    told = ""
    while not told.endswith("}\n"):
        told += capsys.readouterr().out
        time.sleep(0.01)
    try:
        yield httpx.URL(told.partition('"url": "')[2].rstrip('"}\n')).port
    finally:
        ending()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def connect(port, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0))


def is_closed(connection):
    """Wait until the other side closes."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(1 << 16):
            pass
    return True


BEGINNINGS = {
    "nothing": b"",
    "half a header": b"GET / HTTP/1.1\r\nhost: he",
    "a request, then half a header": b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT",
    "a header that is too large": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4000,
    "no HTTP": b"\x16\x03\x01\r\n\r\n",
    "an upload that was refused, and goes on": b"PUT /refuse HTTP/1.1\r\nhost: x\r\n"
    b"content-length: 1000000\r\n\r\nxxx",
    "a request and no other": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
}


def test_connections_that_dawdle_are_closed(capsys):
    with listening(capsys) as port:
        for beginning in BEGINNINGS.values():
            with connect(port) as connection:
                connection.sendall(beginning)
                assert is_closed(connection)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"PUT /refuse HTTP/1.1\r\nhost: x\r\n"])
def test_bytes_that_drip_put_nothing_off(capsys, start):
    """Slowloris: a byte now and then, of a header that never ends or a body that nobody wants."""
    length = b"content-length: 1000000\r\n\r\n" if b"PUT" in start else b""
    with listening(capsys) as port, connect(port) as connection:
        connection.sendall(start + length)
        with pytest.raises(OSError):  # noqa: PT011
            drip(connection)


def drip(connection):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        connection.sendall(b"x")
        time.sleep(0.05)


def test_an_answer_that_nobody_reads_is_dropped(capsys):
    ending = Ending()
    with listening(capsys, ending=ending) as port, connect(port) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        state, deadline = ending.listener.server_state, time.monotonic() + PATIENCE_S
        while not state.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        while state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not state.connections
        assert not state.tasks


def test_one_address_does_not_keep_others_out(capsys):
    """With as many connections as it likes; they are counted before TLS and HTTP cost anything."""
    patient = QUICK.model_copy(update={"header_s": 600.0})
    with listening(capsys, patient) as port, contextlib.ExitStack() as stack:
        mine = [stack.enter_context(connect(port)) for _ in range(30)]
        time.sleep(0.3)
        closed = sum(is_closed_now(connection) for connection in mine)
        assert closed == 30 - 8
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=transport) as honest:
            assert honest.get(f"http://127.0.0.1:{port}/").text == "here"
        for connection in mine:
            connection.close()
        time.sleep(0.3)
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "here"  # they are counted down


def is_closed_now(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_only_a_known_proxy_says_for_whom_it_asks(capsys):
    forged = {"x-forwarded-for": "203.0.113.9"}
    with listening(capsys) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/who", headers=forged).text == "127.0.0.1"
    with listening(capsys, proxies=["127.0.0.0/8"]) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/who", headers=forged).text == "203.0.113.9"


def test_tls_alone_and_a_handshake_that_ends(tmp_path, capsys):
    server, *_ = make_authority(tmp_path / "keys", ["localhost", "127.0.0.1"], 0)
    context = tls_context(server / "server.pem", server / "server.key")
    with listening(capsys, tls=context) as port:
        trusted = ssl.create_default_context(cafile=server / "authority.pem")
        url = f"https://localhost:{port}/"
        assert httpx.get(url, verify=trusted).text == "here"
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{port}/")
        with connect(port) as connection:  # says nothing
            assert is_closed(connection)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with connect(port) as connection, pytest.raises(OSError):  # noqa: PT011
            old.wrap_socket(connection)


def test_what_is_written_leaves_at_once():
    """Without Nagle's delay, which holds the end of an answer back for 40 ms."""
    delays = []

    async def visited(_, writer):
        visitor = writer.get_extra_info("socket")
        delays.append(not visitor.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def story():
        door = Door(socket.AF_INET, QUICK)
        door.bind(("127.0.0.1", 0))
        async with await asyncio.start_server(visited, sock=door):
            reader, writer = await asyncio.open_connection(*door.getsockname())
            await reader.read()
            writer.close()

    asyncio.run(story())
    assert delays == [False]
