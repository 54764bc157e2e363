"""The inference service: an ASGI app over ciphertexts. It holds no secret key, and cannot decrypt.

    GET  /health       what works, and what it has done
    GET  /v1/offer     how to pack, encrypt and make keys for the model
    PUT  /v1/keys      a frame of evaluation keys; the answer is their identity
    POST /v1/answers   a frame with an encrypted image; the answer is a frame
    POST /v1/batches   a frame with many images, one pixel a ciphertext

Frames are checked in this process, in Python; what is in them is parsed in a worker's. What is
wrong with a request is told in one line with a 4xx.
"""

import asyncio
import shutil
import tempfile
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from privacy.encrypted.wire import Frame, Kind, read_frame, read_offer
from privacy.errors import WireError
from privacy.files import write_atomically
from privacy.settings import Section
from server.inference.worker import CHECK_KEYS, EVALUATE, EVALUATE_BATCH
from server.inference.workers import Answer, Overloaded, Pool

MEMORY = Path("/dev/shm")
REMEMBERED_NONCES = 100_000


class Limits(Section):
    """What a service lets its clients do.

    Attributes:
        workers: processes that compute.
        threads: of each.
        request_bytes, keys_bytes: the largest image and the largest evaluation keys.
        stored_keys_bytes: of all clients; the keys that were used least lately give way.
        request_s: to receive a request; answer_s: to compute its answer.
        waiting: requests that may wait for a worker.
        memory_bytes: address space of a worker; 0 is no limit.
    """

    workers: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    request_bytes: int = Field(default=64 << 20, ge=1)
    keys_bytes: int = Field(default=256 << 20, ge=1)
    stored_keys_bytes: int = Field(default=2 << 30, ge=1)
    request_s: float = Field(default=30.0, gt=0)
    answer_s: float = Field(default=30.0, gt=0)
    waiting: int = Field(default=256, ge=1)
    memory_bytes: int = Field(default=8 << 30, ge=0)


class KeyStore:
    """Evaluation keys in files named after their content; the least lately used give way."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._sizes: OrderedDict[bytes, int] = OrderedDict()

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(self._sizes.values())

    def touch(self, identity: bytes) -> None:
        """Note a use.

        Raises:
            WireError: 404, the keys are not here.
        """
        if identity not in self._sizes:
            raise WireError("no such evaluation keys here, or no longer; upload them", 404)
        self._sizes.move_to_end(identity)

    def add(self, identity: bytes, content: bytes) -> None:
        """Keep keys; others give way.

        Raises:
            WireError: 413, they are larger than all that may be kept.
        """
        if len(content) > self._most_bytes:
            raise WireError(f"keys of {len(content)} bytes; {self._most_bytes} are kept", 413)
        self._sizes.pop(identity, None)
        while self.size_bytes + len(content) > self._most_bytes:
            evicted, _ = self._sizes.popitem(last=False)
            (self.folder / evicted.hex()).unlink(missing_ok=True)
        with write_atomically(self.folder / identity.hex()) as file:
            file.write(content)
        self._sizes[identity] = len(content)


class Service:
    """A compiled model behind HTTP."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Args:
        folder: from `server.inference.program.compile_run`.
        """
        self.limits = limits
        self._offer_json = (folder / "offer.json").read_bytes()
        self._model = read_offer(self._offer_json).digest
        self._scratch = Path(
            tempfile.mkdtemp(prefix="privet-", dir=MEMORY if MEMORY.is_dir() else None)
        )
        self._store = KeyStore(self._scratch, limits.stored_keys_bytes)
        self._nonces: OrderedDict[bytes, None] = OrderedDict()
        self._statuses: Counter[int] = Counter()
        self._began = time.monotonic()
        self.pool = Pool(
            folder,
            self._scratch,
            workers=limits.workers,
            threads=limits.threads,
            timeout_s=limits.answer_s,
            waiting=limits.waiting,
            memory_bytes=limits.memory_bytes,
        )

    def app(self) -> FastAPI:
        """The ASGI application; its lifespan is that of the workers."""

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            try:
                await self.pool.open()
                yield
            finally:
                await self.pool.close()
                shutil.rmtree(self._scratch, ignore_errors=True)

        app = FastAPI(title="privet", lifespan=lifespan, docs_url=None, redoc_url=None)
        app.add_api_route("/health", self._health, methods=["GET"])
        app.add_api_route("/v1/offer", self._tell_offer, methods=["GET"])
        app.add_api_route("/v1/keys", self._take_keys, methods=["PUT"])
        app.add_api_route("/v1/answers", self._answer, methods=["POST"])
        app.add_api_route("/v1/batches", self._answer_batch, methods=["POST"])
        app.add_exception_handler(WireError, self._refuse)
        app.add_exception_handler(Overloaded, self._refuse)
        app.add_exception_handler(HTTPException, self._refuse)
        return app

    async def _health(self) -> JSONResponse:
        workers = [
            {"pid": w.pid, "alive": w.alive, "answered": w.answered} for w in self.pool.workers
        ]
        return JSONResponse(
            {
                "status": "ok" if any(w.alive for w in self.pool.workers) else "starting",
                "model": self._model.hex(),
                "uptime_s": round(time.monotonic() - self._began, 1),
                "workers": workers,
                "workers_replaced": self.pool.replaced,
                "waiting": self.pool.waiting,
                "answers_by_status": {str(k): v for k, v in sorted(self._statuses.items())},
                "stored_keys": len(self._store),
                "stored_keys_bytes": self._store.size_bytes,
            }
        )

    async def _tell_offer(self) -> Response:
        return Response(self._offer_json, media_type="application/json")

    async def _take_keys(self, request: Request) -> JSONResponse:
        content = await self._body(request, self.limits.keys_bytes)
        frame = read_frame(content, "keys", self._model)
        identity = frame.identity
        if identity not in self._store:
            self._passed(await self.pool.ask(CHECK_KEYS, identity, content))
            self._store.add(identity, content)
        self._store.touch(identity)
        self._statuses[200] += 1
        return JSONResponse({"keys": identity.hex()})

    async def _answer(self, request: Request) -> Response:
        return await self._evaluate(request, "image", EVALUATE)

    async def _answer_batch(self, request: Request) -> Response:
        return await self._evaluate(request, "batch", EVALUATE_BATCH)

    async def _evaluate(self, request: Request, kind: Kind, operation: int) -> Response:
        content = await self._body(request, self.limits.request_bytes)
        frame = read_frame(content, kind, self._model)
        if kind != "batch":  # which needs no keys
            self._store.touch(frame.keys)
        self._remember(frame)
        answer = self._passed(await self.pool.ask(operation, frame.keys, content))
        self._statuses[200] += 1
        return Response(
            answer.content,
            media_type="application/octet-stream",
            headers={"server-timing": f"answer;dur={answer.seconds * 1e3:.3f}"},
        )

    def _remember(self, frame: Frame) -> None:
        if frame.nonce in self._nonces:
            raise WireError("a replay: this frame has been answered before", 409)
        self._nonces[frame.nonce] = None
        if len(self._nonces) > REMEMBERED_NONCES:
            self._nonces.popitem(last=False)

    def _passed(self, answer: Answer) -> Answer:
        if answer.status != 200:
            raise WireError(answer.content.decode(errors="replace"), answer.status)
        return answer

    async def _body(self, request: Request, most_bytes: int) -> bytes:
        """A request's body, refused as soon as it is known to be too large or too slow."""
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > most_bytes:
            raise WireError(f"{declared} bytes; {most_bytes} are the most", 413)
        received = bytearray()

        async def receive() -> None:
            async for piece in request.stream():
                received.extend(piece)
                if len(received) > most_bytes:
                    raise WireError(f"more than {most_bytes} bytes", 413)

        try:
            await asyncio.wait_for(receive(), self.limits.request_s)
        except TimeoutError:
            raise WireError(f"not received within {self.limits.request_s:g} s", 408) from None
        return bytes(received)

    async def _refuse(self, request: Request, error: Exception) -> PlainTextResponse:
        status = 503
        if isinstance(error, WireError):
            status = error.status
        elif isinstance(error, HTTPException):
            status = error.status_code
        self._statuses[status] += 1
        text = error.detail if isinstance(error, HTTPException) else str(error)
        return PlainTextResponse(text + "\n", status)
