"""Keys that no circuit can use: refused before they are kept, at the price of no worker or one."""

import asyncio
import base64
import json
import os
import signal

import numpy as np
import pytest
import served

from privacy.encrypted.boolean import CALIBRATION, compile_net
from privacy.encrypted.boolean_keys import BooleanKeys
from privacy.encrypted.programs import digest
from privacy.encrypted.signs import BinaryNet, with_parity
from privacy.encrypted.trial import circuit_files
from privacy.encrypted.wire import BooleanOffer, Frame, read_frame, read_offer

IMAGE = np.random.default_rng(7).random((4, 4))


def compile_small(folder, hidden):
    """A small circuit as a service has it: in a second, where a trained one takes longer."""
    rng = np.random.default_rng(5)
    w, v = rng.choice([-1, 1], (hidden, 16)), rng.choice([-1, 1], (3, hidden))
    net = BinaryNet(w, np.zeros(hidden), v, np.zeros(3), (4, 4), 1, 0.5)
    compiled = compile_net(net)
    content, specs = compiled.server_bytes(), base64.b64encode(compiled.client_specs()).decode()
    offer = BooleanOffer(
        model=digest(content), shape=(4, 4), pool=1, threshold=0.5, num_classes=3, specs=specs,
        sum_bits=compiled.sum_bits, p_error=compiled.p_error, error_rate=compiled.error_rate,
        calibration=CALIBRATION,
    )  # fmt: skip
    about = {"scheme": "boolean", "input_bytes": compiled.input_bytes}
    files = circuit_files(compiled.circuit, with_parity(np.zeros((1, 16), np.int64))[0]) | {
        "server.zip": content,
        "offer.json": offer.model_dump_json().encode(),
        "scheme.json": json.dumps(about).encode(),
    }
    folder.mkdir()
    for name, written in files.items():
        (folder / name).write_bytes(written)
    return folder


@pytest.fixture(scope="module")
def circuits(tmp_path_factory):
    """Two of the same scheme, for other nets."""
    folder = tmp_path_factory.mktemp("circuits")
    return compile_small(folder / "small", 2), compile_small(folder / "other", 9)


def keys_of(folder):
    offer = read_offer((folder / "offer.json").read_bytes())
    return offer, BooleanKeys(offer)


def test_keys_of_no_use_are_refused_and_kill_nobody(circuits):
    """Of none, of another circuit, of another form: the parser that would die does not see them."""
    offer, keys = keys_of(circuits[0])
    _, others = keys_of(circuits[1])
    (sound,) = keys.evaluation()
    empty = bytes(8) + sound[8:40]
    hostile = {
        "no part": (),
        "empty": (b"",),
        "an empty set": (empty,),
        "another circuit's": others.evaluation(),
        "cut short": (sound[: len(sound) // 2],),
        "another form": (sound[:60] + bytes([sound[60] ^ 255]) + sound[61:],),
        "more than one": (sound, sound),
        "longer": (sound + bytes(8),),
    }

    async def story():
        async with served.serving(circuits[0]) as (service, http):
            pids = [w.pid for w in service.pool.workers]

            async def put(parts):
                content = Frame("keys", offer.digest, parts).to_bytes()
                return await http.put("/v1/keys", content=content)

            for name, parts in hostile.items():
                response = await put(parts)
                assert response.status_code in (413, 422), (name, response.text)
            assert len(service._store) == 0
            assert [w.pid for w in service.pool.workers] == pids
            assert (await put((sound,))).status_code == 200
            parts = keys.encrypt(IMAGE)
            identity = Frame("keys", offer.digest, (sound,)).identity
            frame = Frame("image", offer.digest, parts, identity)
            response = await http.post("/v1/answers", content=frame.to_bytes())
            assert response.status_code == 200, response.text
            keys.decrypt(read_frame(response.content, "answer", offer.digest).parts)
            assert [w.pid for w in service.pool.workers] == pids

    served.run(story())


def test_the_size_of_keys_is_known_before_they_come(circuits):
    """And is no limit to those who need it: what a client makes fits exactly."""
    offer, keys = keys_of(circuits[0])
    size = len(Frame("keys", offer.digest, keys.evaluation()).to_bytes())

    async def story():
        async with served.serving(circuits[0]) as (service, _):
            assert service._most_bytes["keys"] == size

    served.run(story())


def test_keys_that_crash_a_worker_do_so_once(circuits):
    """Whatever the checks miss: one worker, not two, and not the same keys again."""
    offer, keys = keys_of(circuits[0])
    content = Frame("keys", offer.digest, keys.evaluation()).to_bytes()

    async def story():
        async with served.serving(circuits[0]) as (service, http):
            worker = service.pool.workers[0]
            os.kill(worker.pid, signal.SIGSTOP)  # so that it crashes of just this request
            asked, ask = asyncio.Event(), worker.ask
            worker.ask = lambda *request: asked.set() or ask(*request)
            first = asyncio.ensure_future(http.put("/v1/keys", content=content))
            await asyncio.wait_for(asked.wait(), 60)
            os.kill(worker.pid, signal.SIGVTALRM)  # LLVM has handlers of its own for a crash's
            os.kill(worker.pid, signal.SIGCONT)
            assert (await first).status_code == 503
            second = await http.put("/v1/keys", content=content)
            assert second.status_code == 422
            assert "crashed of these keys" in second.text
            assert service.pool.replaced <= 1

    served.run(story())
