"""20,000 requests that nobody should send, to every endpoint, as every kind of frame.

run as: python tests/acceptance/fuzz.py [--number 20000] [--seed 7]

In process, so that it is fast; seeded, so that a failure can be repeated: whatever breaks a promise
is kept in `--kept`, a file for each. Prints JSON; exit status 1 if a promise was broken: a status
of 500 or above, an answer that grows, a worker that ends, memory that grows, a service that does
not answer what is sound any more.
"""

import argparse
import json
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import served  # noqa: E402

from clients.data.sets import load  # noqa: E402
from clients.data.settings import Data  # noqa: E402
from privacy.encrypted.keys import CkksKeys  # noqa: E402
from privacy.encrypted.wire import HEADER, KINDS, Frame, _checksum, read_frame, read_offer  # noqa: E402
from server.inference.program import compile_run  # noqa: E402

ENDPOINTS = {
    "PUT /v1/keys": "keys",
    "POST /v1/answers": "image",
    "POST /v1/batches": "batch",
}
ELSEWHERE = ("/health", "/status", "/v1/offer", "/", "/v1", "/v1/keys/x", "/openapi.json", "//")
METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE")
MOST_ANSWER_BYTES = 1 << 20
MOST_GROWTH_BYTES = 256 << 20


def resealed(content):
    """With a checksum that holds again."""
    return bytes(content[:-16]) + _checksum(bytes(content[:-16]))


def mutate(sound, others, rng):
    """A frame that is not what it should be, and what was done to it."""
    content = bytearray(sound)
    kind = rng.choice(DAMAGE)
    if kind == "noise":
        return rng.randbytes(rng.randrange(3000)), kind
    if kind == "cut":
        return bytes(content[: rng.randrange(len(content))]), kind
    if kind == "longer":
        return bytes(content) + rng.randbytes(rng.randrange(1, 200)), kind
    if kind == "bits":
        for _ in range(rng.randrange(1, 9)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(content), kind
    if kind == "another":
        return bytes(rng.choice(others)), kind
    if kind == "header":
        content[rng.randrange(HEADER.size)] ^= rng.randrange(1, 256)
    elif kind == "lengths":
        struct.pack_into("<Q", content, HEADER.size, rng.choice(LENGTHS))
    elif kind == "parts":
        struct.pack_into("<H", content, 6, rng.choice((0, 1, 2, 3, 4096, 4097, 65535)))
    elif kind == "envelope":  # SEAL's, and the start of what it compressed
        content[HEADER.size + 8 + rng.randrange(60)] ^= rng.randrange(1, 256)
    elif kind == "inside":
        for _ in range(rng.randrange(1, 20)):
            content[rng.randrange(HEADER.size + 8, len(content) - 16)] = rng.randrange(256)
    else:
        struct.pack_into("<B", content, 5, rng.choice((*KINDS.values(), 0, 255)))
    return resealed(content), kind


DAMAGE = (
    "noise", "cut", "longer", "bits", "another", "header", "lengths", "parts", "envelope", "inside",
    "kind",
)  # fmt: skip
LENGTHS = (0, 1, 15, 2**16, 2**31, 2**32, 2**63, 2**64 - 1)


async def story(folder, asked):
    """Ask; what came of it."""
    rng, statuses, broken = random.Random(asked.seed), Counter(), []
    async with served.serving(folder, in_flight_bytes=64 << 20) as (service, http):
        offer = read_offer((await http.get("/v1/offer")).content)
        keys, data = CkksKeys(offer), load(Data())
        image = data.test_x[0] / data.scale
        evaluation = Frame("keys", offer.digest, keys.evaluation())
        few = keys.encrypt(image) * 3  # as many parts as no model has pixels
        sound = {
            "keys": evaluation.to_bytes(),
            "image": Frame(
                "image", offer.digest, keys.encrypt(image), evaluation.identity
            ).to_bytes(),
            "batch": Frame("batch", offer.digest, few).to_bytes(),
            "answer": Frame("answer", offer.digest, (b"x" * 100,)).to_bytes(),
        }
        assert (await http.put("/v1/keys", content=sound["keys"])).is_success
        pids = [worker.pid for worker in service.pool.workers]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        for number in range(asked.number):
            method, path = rng.choice(sorted(ENDPOINTS)).split()
            kind = ENDPOINTS[f"{method} {path}"]
            if kind == "keys" and rng.random() < 0.9:  # they are large: fewer of them
                method, path, kind = "POST", "/v1/answers", "image"
            content, damage = mutate(sound[kind], list(sound.values()), rng)
            if rng.random() < 0.05:
                method, path = rng.choice(METHODS), rng.choice((path, *ELSEWHERE))
            response = await http.request(method, path, content=content)
            statuses[response.status_code] += 1
            alive = pids == [worker.pid for worker in service.pool.workers]
            large = len(response.content) > MOST_ANSWER_BYTES
            if response.status_code >= 500 or large or not alive:
                broken.append(f"{number}: {method} {path}, {damage}: {response.status_code}")
                asked.kept.mkdir(parents=True, exist_ok=True)
                (asked.kept / f"{asked.seed}-{number}").write_bytes(content)
                pids = [worker.pid for worker in service.pool.workers]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - memory
        again = Frame("image", offer.digest, keys.encrypt(image), evaluation.identity)
        await http.put("/v1/keys", content=sound["keys"])
        answer = await http.post("/v1/answers", content=again.to_bytes())
        keys.decrypt(read_frame(answer.content, "answer", offer.digest).parts)
        held = service._budget.held_bytes
    promises = {
        "nothing broken": not broken,
        "memory does not grow": grown < MOST_GROWTH_BYTES,
        "no bytes held": held == 0,
    }
    told = {"broken": broken[:20], "grown_mb": grown >> 20, "promises": promises}
    return {"by_status": dict(sorted(statuses.items())), **told}


def main():
    """Train, serve, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kept", type=Path, default=Path("runs/fuzzed"))
    asked, begun = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as home:
        run = served.train(Path(home), *served.SQUARES)
        compile_run(run, "ckks", Path(home) / "served")
        told = served.run(story(Path(home) / "served", asked))
    print(json.dumps({"number": asked.number, "seed": asked.seed, **told}, indent=1))
    print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
    sys.exit(0 if all(told["promises"].values()) else 1)


if __name__ == "__main__":
    main()
