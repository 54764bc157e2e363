"""Bytes under way: bounded over all connections, refused at the header, gone after the request."""

import asyncio

import httpx
import pytest
import served
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from privacy.encrypted.wire import Arriving, Frame
from privacy.errors import WireError
from server.inference.gate.intake import Budget, Intake

MODEL = bytes(16)


class Plenty:
    """A room that never fills."""

    def require(self, size_bytes):
        pass


def app_of(tmp_path, budget, most_bytes, hold):
    """An app that takes frames in and holds each until it is told."""
    intake = Intake(tmp_path / "arriving", budget, Plenty(), 60.0)
    app = FastAPI()

    async def take(request: Request):
        who = request.client.host
        async with intake.receive(request, who, "keys", MODEL, most_bytes) as arrived:
            await hold.wait()
            assert arrived.head.size_bytes == arrived.path.stat().st_size
        return PlainTextResponse(arrived.head.identity.hex())

    app.add_api_route("/", take, methods=["PUT"])
    refuse = lambda request, error: PlainTextResponse(str(error), error.status)  # noqa: E731
    app.add_exception_handler(WireError, refuse)
    return app


def test_many_uploads_at_once_stay_within_the_budget(tmp_path):
    """12 of 200 kB where 1 MB may be under way: some are refused, and one more client is not."""
    frame = Frame("keys", MODEL, (bytes(200_000),))

    async def story():
        budget, hold = Budget(1_000_000), asyncio.Event()
        budget.allow(250_000)
        app, seen = app_of(tmp_path, budget, 250_000, hold), []

        async def put(address, content):
            async with served.client_of(app, address) as http:
                return (await http.put("/", content=content)).status_code

        flood = [asyncio.ensure_future(put(f"192.0.2.{n}", frame.to_bytes())) for n in range(12)]
        for _ in range(500):  # until those that are one too many have been refused
            await asyncio.sleep(0.01)
            seen.append(budget.held_bytes)
            if sum(task.done() for task in flood) >= 8:
                break
        little = Frame("keys", MODEL, (bytes(1000),)).to_bytes()
        honest = asyncio.ensure_future(put("198.51.100.1", little))
        await asyncio.sleep(0.05)
        hold.set()
        statuses = [await task for task in flood]
        assert await honest == 200
        assert max(seen) <= 1_000_000
        assert statuses.count(200) in (3, 4)
        assert set(statuses) == {200, 503}
        assert budget.held_bytes == 0
        assert not budget._held

    served.run(story())
    assert not list((tmp_path / "arriving").iterdir())


def test_one_identity_holds_no_more_than_its_share():
    budget = Budget(1000)
    budget.allow(250)
    budget.take("one", 250)
    with pytest.raises(WireError) as error:
        budget.take("one", 1)
    assert error.value.status == 429
    budget.take("two", 250)
    budget.take("three", 250)
    with pytest.raises(WireError) as error:
        budget.take("four", 250)
    assert error.value.status == 503
    budget.take("four", 10)


def test_what_is_too_large_is_refused_at_its_header(tmp_path):
    """Nobody waits for 200 MB of keys where 3 MB are needed."""
    sent = []

    async def body(declared):
        head = Frame("keys", MODEL, (b"",)).to_bytes()[:72]
        yield head + declared.to_bytes(8, "little")
        for _ in range(1000):
            sent.append(1)
            yield bytes(1 << 16)

    async def story():
        hold = asyncio.Event()
        hold.set()
        app = app_of(tmp_path, Budget(1 << 30), 1 << 20, hold)
        async with served.client_of(app) as http:
            assert (await http.put("/", content=body(200 << 20))).status_code == 413
            assert (await http.put("/", content=body(2**64 - 1))).status_code == 413
            response = await http.put("/", content=b"", headers={"content-length": str(1 << 40)})
            assert response.status_code == 413

    served.run(story())


@pytest.mark.parametrize("size", [1, 7, 16, 100, 5000])
def test_a_frame_in_pieces_is_the_frame(size):
    parts = (b"", b"some", bytes(3000), b"", b"x" * 17, b"")
    frame = Frame("keys", MODEL, parts, bytes([7]) * 32)
    content = frame.to_bytes()
    arriving = Arriving("keys", MODEL, len(content))
    for start in range(0, len(content), size):
        arriving.feed(content[start : start + size])
    head = arriving.finish()
    assert (head.identity, head.keys) == (frame.identity, frame.keys)
    assert (head.size_bytes, head.nonce) == (len(content), content[24:40])
    for damaged in (content[:-1], content + b"x", content[:200] + b"!" + content[201:]):
        with pytest.raises(WireError):
            take_in(damaged, len(content) + 1)


def take_in(content, most_bytes):
    arriving = Arriving("keys", MODEL, most_bytes)
    arriving.feed(content)
    return arriving.finish()


def test_a_client_that_leaves_leaves_nothing(tmp_path):
    async def story():
        budget = Budget(1 << 30)
        app = app_of(tmp_path, budget, 1 << 20, asyncio.Event())

        async def body():
            yield Frame("keys", MODEL, (bytes(1000),)).to_bytes()[:500]
            raise httpx.WriteError("gone")

        async with served.client_of(app) as http:
            assert not (await http.put("/", content=body())).is_success
        assert budget.held_bytes == 0

    served.run(story())
    assert not list((tmp_path / "arriving").iterdir())
