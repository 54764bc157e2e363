"""Workers that die, do not start again or hang; and the service's own end."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import served
from test_inference import Asker

from privacy.encrypted.wire import Frame, read_offer
from privacy.errors import ServiceError
from server.inference import pool

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return served.compiled(tmp_path_factory, "ckks", *served.SQUARES)


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def unreadable(folder):
    """For a moment; by another name, since root reads everything."""
    away = folder.with_name(folder.name + "-away")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


def test_a_restart_that_fails_is_tried_again(model):
    """Meanwhile the health check is red, and who waits is told in time."""

    async def story():
        async with served.serving(model[1], waiting_s=0.5) as (service, http):
            asker = await Asker.begin(http)
            assert (await http.get("/health")).status_code == 200
            with unreadable(model[1]):
                os.kill(service.pool.workers[0].pid, signal.SIGKILL)
                await until(lambda: not service.pool.workers)
                health = await http.get("/health")
                assert (health.status_code, health.json()) == (503, {"status": "no worker"})
                response = await asker.ask(asker.question())
                assert response.status_code == 504
                await asyncio.sleep(1.0)  # the first restart fails
            await until(lambda: service.pool.workers)
            await asker.require_right()
            assert (await http.get("/health")).json() == {"status": "ok"}

    served.run(story())


def test_a_service_whose_workers_do_not_start_ends(model, monkeypatch):
    monkeypatch.setattr(pool, "BACK_OFF_S", 0.001)
    monkeypatch.setattr(pool, "GIVE_UP", 2)

    async def story():
        ended = asyncio.Event()
        async with served.serving(model[1], on_failure=ended.set) as (service, _):
            with unreadable(model[1]):
                os.kill(service.pool.workers[0].pid, signal.SIGKILL)
                async with asyncio.timeout(PATIENCE_S):
                    await ended.wait()

    served.run(story())


def test_a_service_that_cannot_start_leaves_no_worker(model, tmp_path):
    async def story():
        with pytest.raises(ServiceError, match="did not start"):
            async with served.serving(model[1], place=tmp_path, workers=2, memory_bytes=1 << 20):
                pass

    served.run(story())
    assert not list(tmp_path.iterdir())


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_abandoned(folder):
    """Nobody holds its lock."""
    with contextlib.suppress(OSError), (folder / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def serve(run):
    """A service as a process of its own, its URL, and its worker, which is stopped."""
    command = [sys.executable, "-m", "server", "serve", str(run.path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = process.stdout.readline().partition('"url": "')[2].rstrip('"}\n')
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGSTOP)
    return process, url, worker


def test_whatever_end_it_takes_nothing_is_left(model, tmp_path, monkeypatch):
    """kill -9, a new start, and SIGTERM while a request waits; each with a worker that hangs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process, _, worker = serve(model[0])
    process.kill()
    process.wait()
    wait_for(lambda: not alive(worker))
    names, places = ("privet-model-*", "privet-keys-*"), (tmp_path, Path("/dev/shm"))  # its own
    found = [path for place in places for name in names for path in place.glob(name)]
    left = [path for path in found if is_abandoned(path)]
    assert len(left) >= 2
    process, url, worker = serve(model[0])
    try:
        assert not [path for path in left if path.exists()]
        offer = read_offer(httpx.get(f"{url}/v1/offer").content)
        head = Frame("keys", offer.digest, (b"x", b"y")).to_bytes()
        with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port)) as waiting:
            waiting.sendall(REQUEST % len(head) + head)
            time.sleep(0.5)
            process.terminate()
            process.wait(PATIENCE_S)
    finally:
        process.kill()
    wait_for(lambda: not alive(worker))
    assert not list(tmp_path.glob("privet-*"))


REQUEST = b"PUT /v1/keys HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
