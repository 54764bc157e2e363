"""The service: no secret in it, foreign bytes refused with a clear 4xx, workers that may die."""

import asyncio
import os
import random
import signal

import numpy as np
import pytest
import served

from clients.data.sets import load
from clients.data.settings import Data
from privacy.encrypted.keys import CkksKeys
from privacy.encrypted.wire import HEADER, Frame, _checksum, read_frame, read_offer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return served.compiled(tmp_path_factory, "ckks", *served.SQUARES)


class Asker:
    """A client of the raw interface, who can also send nonsense."""

    def __init__(self, http, offer):
        self.http, self.offer = http, offer
        self.keys = CkksKeys(offer)
        self.frame = Frame("keys", offer.digest, self.keys.evaluation())
        data = load(Data())
        self.image = data.test_x[0] / data.scale

    @classmethod
    async def begin(cls, http):
        asker = cls(http, read_offer((await http.get("/v1/offer")).content))
        response = await http.put("/v1/keys", content=asker.frame.to_bytes())
        assert response.json() == {"keys": asker.frame.identity.hex()}
        return asker

    def question(self, **changes):
        parts = changes.pop("parts", None) or self.keys.encrypt(self.image)
        keys = changes.pop("keys", self.frame.identity)
        return Frame("image", self.offer.digest, parts, keys, **changes).to_bytes()

    async def ask(self, content):
        return await self.http.post("/v1/answers", content=content)

    async def require_right(self):
        response = await self.ask(self.question())
        assert response.status_code == 200, response.text
        return self.keys.decrypt(read_frame(response.content, "answer", self.offer.digest).parts)


def mutate(content, rng):
    """Damage of every kind; some with a checksum that holds again."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(2000))
    if kind == 1:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    if kind == 2:
        for _ in range(rng.randrange(1, 9)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 3:
        place = rng.choice([p for p in range(HEADER.size + 8) if not 24 <= p < 40])
        changed[place] ^= rng.randrange(1, 256)
    elif kind == 4:
        at = HEADER.size + 8  # SEAL's envelope and the start of what it compressed
        changed[at + rng.randrange(40)] ^= rng.randrange(1, 256)
    else:
        changed += rng.randbytes(rng.randrange(1, 100))
    return bytes(changed[:-16]) + _checksum(bytes(changed[:-16]))


def test_ten_thousand_broken_requests_leave_a_service_that_answers(model):
    """Each gets a 4xx; but a sound ciphertext of nonsense gets its answer."""

    async def story():
        rng = random.Random(7)
        async with served.serving(model[1]) as (service, http):
            asker = await Asker.begin(http)
            sound = asker.question()
            pids = [w.pid for w in service.pool.workers]
            statuses = []
            for number in range(10_000):
                path = "/v1/answers" if number % 10 else "/v1/keys"
                method = http.post if number % 10 else http.put
                response = await method(path, content=mutate(sound, rng))
                statuses.append(response.status_code)
                assert len(response.content) < 2 * 8 * 8_192  # one ciphertext of one prime
            assert all(400 <= s < 500 or s == 200 for s in statuses), set(statuses)
            assert statuses.count(200) < 600
            await asker.require_right()
            assert pids == [w.pid for w in service.pool.workers]

    served.run(story())


def test_what_is_wrong_is_said(model):
    async def story():
        async with served.serving(model[1], request_bytes=200_000) as (_, http):
            asker = await Asker.begin(http)
            sound = asker.question()
            assert (await asker.ask(sound)).status_code == 200
            old = bytearray(sound)
            old[4] = 0
            cases = [
                (sound, 409, "replay"),
                (asker.question(keys=bytes(32)), 404, "upload them"),
                (bytes(old), 400, "version 0"),
                (sound[:-1], 400, "damaged"),
                (bytes(200_001), 413, "are the most"),
                (asker.question(parts=(b"",)), 422, "cut short"),
                (asker.question(parts=(b"x" * 100,)), 422, "not an object of SEAL"),
                (asker.question(parts=asker.keys.evaluation()[1:]), (413, 422), ""),
                (Frame("keys", asker.offer.digest, (b"k",)).to_bytes(), 400, "where image"),
            ]
            for content, status, text in cases:
                response = await asker.ask(content)
                assert response.status_code in np.atleast_1d(status), response.text
                assert text in response.text
                assert response.text.count("\n") == 1
            wrong = Frame("keys", asker.offer.digest, asker.keys.encrypt(asker.image) * 2)
            response = await http.put("/v1/keys", content=wrong.to_bytes())
            assert response.status_code == 422
            assert (await http.get("/nowhere")).status_code == 404
            await asker.require_right()

    served.run(story())


def test_a_body_that_never_ends_is_refused(model):
    async def drip():
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.05)

    async def flood(head):
        yield head
        for _ in range(100):
            yield bytes(100_000)

    async def story():
        async with served.serving(model[1], request_s=1.0, request_bytes=500_000) as (_, http):
            assert (await http.post("/v1/answers", content=drip())).status_code == 408
            offer = read_offer((await http.get("/v1/offer")).content)
            for part_bytes, status in ((500_000, 413), (1000, 400)):
                head = Frame("image", offer.digest, (bytes(part_bytes),)).to_bytes()[:80]
                response = await http.post("/v1/answers", content=flood(head))
                assert response.status_code == status

    served.run(story())


def test_a_killed_worker_is_replaced_and_its_request_can_be_asked_again(model):
    """The very frame; its keys went with the worker, which they may have killed."""

    async def story():
        async with served.serving(model[1]) as (service, http):
            asker = await Asker.begin(http)
            (worker,) = service.pool.workers
            os.kill(worker.pid, signal.SIGSTOP)  # so that the request is surely under way
            sound = asker.question()
            question = asyncio.ensure_future(asker.ask(sound))
            await asyncio.sleep(0.2)
            os.kill(worker.pid, signal.SIGKILL)
            response = await question
            assert response.status_code == 503
            assert "try again" in response.text
            assert response.headers["retry-after"] == "1"
            assert (await asker.ask(sound)).status_code == 404
            assert (await http.put("/v1/keys", content=asker.frame.to_bytes())).is_success
            assert (await asker.ask(sound)).status_code == 200
            assert (await asker.ask(sound)).status_code == 409
            assert service.pool.workers[0].pid != worker.pid
            os.kill(service.pool.workers[0].pid, signal.SIGKILL)  # while idle
            await asyncio.sleep(0.1)
            await asker.require_right()
            assert service.pool.replaced == 2

    served.run(story())


def test_an_answer_that_takes_too_long_costs_the_worker(model):
    async def story():
        async with served.serving(model[1]) as (service, http):
            asker = await Asker.begin(http)
            patient = service.pool._limits
            service.pool._limits = patient.model_copy(update={"answer_s": 0.5})
            os.kill(service.pool.workers[0].pid, signal.SIGSTOP)
            response = await asker.ask(asker.question())
            assert response.status_code == 504
            assert "not done within 0.5 s" in response.text
            service.pool._limits = patient  # half a second may be little on a loaded machine
            await asker.require_right()

    served.run(story())


def test_too_many_that_wait_are_turned_away(model):
    async def story():
        async with served.serving(model[1], waiting=2) as (service, http):
            asker = await Asker.begin(http)
            os.kill(service.pool.workers[0].pid, signal.SIGSTOP)
            asked = [asyncio.ensure_future(asker.ask(asker.question())) for _ in range(6)]
            while sum(each.done() for each in asked) < 3:
                await asyncio.sleep(0.01)
            os.kill(service.pool.workers[0].pid, signal.SIGCONT)
            statuses = sorted([(await each).status_code for each in asked])
            assert statuses == [200, 200, 200, 503, 503, 503]

    served.run(story())
