"""Hostile clients of an inference service on this machine, of every kind that the tests know.

run as: python tests/acceptance/hostile.py URL SECONDS CLIENTS SEED INSIDER_TOKEN...

Each is a thread with an address of its own (127.0.1.N); every second one has a token.
"""

import contextlib
import random
import socket
import sys
import threading
import time

import httpx

from clients.data.sets import load
from clients.data.settings import Data
from privacy.encrypted.keys import CkksKeys
from privacy.encrypted.wire import Frame, read_offer

HUGE_BYTES = 200 << 20


class Hostile:
    """One of them: where it comes from, what it knows, and what it does."""

    def __init__(self, number, url, token, rng):
        self.address = f"127.0.1.{number + 1}"
        self.where = (httpx.URL(url).host, httpx.URL(url).port)
        self.url, self.token, self.rng = url, token, rng
        headers = {"authorization": f"Bearer {token}"} if token else {}
        limits = httpx.Limits(max_connections=100)
        transport = httpx.HTTPTransport(local_address=self.address, limits=limits)
        self.http = httpx.Client(base_url=url, headers=headers, transport=transport, timeout=20)
        self.offer = read_offer(OFFER)
        self.keys = Frame("keys", self.offer.digest, KEYS.evaluation())
        self.image = KEYS.encrypt(IMAGE)

    def head(self, method, path, length):
        """A request's header, with the token, as bytes."""
        token = f"authorization: Bearer {self.token}\r\n" if self.token else ""
        text = f"{method} {path} HTTP/1.1\r\nhost: x\r\n{token}content-length: {length}\r\n\r\n"
        return text.encode()

    def connect(self):
        return socket.create_connection(self.where, 5, (self.address, 0))

    def question(self, **changes):
        return Frame("image", self.offer.digest, self.image, self.keys.identity, **changes)

    def half_headers(self):
        """Many connections, each with half a header, and a byte now and then."""
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(self.connect()) for _ in range(100)]
            for _ in range(20):
                for connection in held:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"GET / HT" if self.rng.random() < 0.5 else b"a: b\r\n")
                time.sleep(0.2)

    def huge_uploads(self):
        """200 MB of keys, on several connections, as far as they are taken."""
        start = Frame("keys", self.offer.digest, (b"",)).to_bytes()[:72]
        start += (HUGE_BYTES - 96).to_bytes(8, "little")
        with contextlib.ExitStack() as stack:
            for _ in range(12):
                connection = stack.enter_context(self.connect())
                connection.sendall(self.head("PUT", "/v1/keys", HUGE_BYTES) + start)
                with contextlib.suppress(OSError):
                    for _ in range(50):
                        connection.sendall(bytes(1 << 16))

    def large_uploads(self):
        """As many bytes as are allowed, on several connections, the last of them never sent."""
        content = self.keys.to_bytes()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                connection = stack.enter_context(self.connect())
                head = self.head("PUT", "/v1/keys", len(content))
                connection.sendall(head + content[: -self.rng.randrange(1, 1000)])
            time.sleep(2)

    def questions(self):
        """Sound ones, as fast as they go, on 32 connections."""
        self.http.put("/v1/keys", content=self.keys.to_bytes())

        def ask():
            for _ in range(20):
                with contextlib.suppress(httpx.HTTPError):
                    self.http.post("/v1/answers", content=self.question().to_bytes())

        threads = [threading.Thread(target=ask) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def new_keys(self):
        """A key set after another."""
        for _ in range(5):
            evaluation = CkksKeys(self.offer).evaluation()
            self.http.put(
                "/v1/keys", content=Frame("keys", self.offer.digest, evaluation).to_bytes()
            )

    def keys_of_no_use(self):
        """Of a circuit, of nothing, of noise, without what the model needs."""
        sound = self.keys.parts
        hostile = [(), (b"",), (b"", b""), sound[::-1], (sound[0], b""), (sound[0][:-8], sound[1])]
        hostile.append((self.rng.randbytes(len(sound[0])), sound[1]))
        for parts in hostile:
            content = Frame("keys", self.offer.digest, parts).to_bytes()
            self.http.put("/v1/keys", content=content)

    def damaged(self):
        """Frames in which bytes were changed."""
        sound = self.question().to_bytes()
        for _ in range(100):
            content = bytearray(sound)
            for _ in range(self.rng.randrange(1, 9)):
                content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
            self.http.post("/v1/answers", content=bytes(content))

    def replays(self):
        """One question, again and again."""
        content = self.question().to_bytes()
        for _ in range(50):
            self.http.post("/v1/answers", content=content)

    def drips(self):
        """A body, a byte at a time."""
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(self.connect()) for _ in range(30)]
            for connection in held:
                connection.sendall(self.head("POST", "/v1/answers", 50_000))
            for _ in range(40):
                for connection in held:
                    with contextlib.suppress(OSError):
                        connection.sendall(b"P")
                time.sleep(0.1)

    def readers_of_nothing(self):
        """Ask for what is large, many times, and read none of it."""
        request = self.head("GET", "/v1/offer", 0)
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                connection = stack.enter_context(self.connect())
                with contextlib.suppress(OSError):
                    connection.sendall(request * 100)
            time.sleep(3)

    def leavers(self):
        """Gone in the middle of a request, or before its answer."""
        content = self.question().to_bytes()
        for _ in range(50):
            with self.connect() as connection:
                cut = self.rng.choice([len(content) // 2, len(content)])
                connection.sendall(self.head("POST", "/v1/answers", len(content)) + content[:cut])

    def nonsense(self):
        """What is no HTTP, or none of this service's."""
        for path in ("/", "/v1/nothing", "/../../etc/passwd", "/status", "/v1/keys?" + "x" * 9000):
            self.http.request(self.rng.choice(["GET", "PUT", "DELETE"]), path)
        for _ in range(20):
            with self.connect() as connection, contextlib.suppress(OSError):
                connection.sendall(self.rng.randbytes(self.rng.randrange(1, 5000)) + b"\r\n\r\n")
                connection.recv(100)

    def batches(self):
        """Large frames of nothing."""
        parts = tuple(self.rng.randbytes(1000) for _ in range(64))
        for _ in range(20):
            content = Frame("batch", self.offer.digest, parts).to_bytes()
            self.http.post("/v1/batches", content=content)


TOOLS = ("head", "connect", "question")
KINDS = [name for name in vars(Hostile) if not name.startswith("_") and name not in TOOLS]


def main(url, seconds, clients, seed, *tokens):
    """Be hostile for so long."""
    global OFFER, KEYS, IMAGE
    with httpx.Client(headers={"authorization": f"Bearer {tokens[0]}"}) as http:
        OFFER = http.get(f"{url}/v1/offer").content
    KEYS = CkksKeys(read_offer(OFFER))
    data = load(Data())
    IMAGE = data.test_x[0] / data.scale
    deadline = time.monotonic() + float(seconds)

    def work(number):
        rng = random.Random(f"{seed} {number}")
        token = tokens[number // 2 % len(tokens)] if number % 2 else ""
        client, turn = Hostile(number, url, token, rng), number
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, httpx.HTTPError):
                getattr(client, KINDS[turn % len(KINDS)])()
            turn += 1
            time.sleep(0.05)

    for number in range(int(clients)):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    time.sleep(max(0.0, deadline - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
