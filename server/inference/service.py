"""The inference service: an ASGI app over ciphertexts. It holds no secret key, and cannot decrypt.

    GET  /health       does it live? nothing else is told
    GET  /status       what it has done, for who has the operator's token
    GET  /v1/offer     how to pack, encrypt and make keys for the model
    PUT  /v1/keys      a frame of evaluation keys; the answer is their identity
    POST /v1/answers   a frame with an encrypted image; the answer is a frame
    POST /v1/batches   a frame with many images, one pixel a ciphertext

Frames are checked in this process, in Python, as they come; what is in them is parsed in a
worker's. What is wrong with a request is told in one line with a 4xx; what can be asked again has
a `retry-after`.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from privacy.encrypted.wire import Kind, Offer, read_offer
from privacy.errors import WireError
from server.inference.gate.application import Handlers, application
from server.inference.gate.intake import Budget, Intake
from server.inference.gate.reception import Reception
from server.inference.gate.refusal import Refusal
from server.inference.gate.stores import KeyStore, Room, shares
from server.inference.limits import Limits
from server.inference.pool import Pool
from server.inference.replies import require_answered
from server.inference.worker import CHECK_KEYS, EVALUATE, EVALUATE_BATCH
from server.inference.workers import Answer, WorkerDied

REMEMBERED_NONCES = 100_000  # and keys that crashed a worker
DIED = "a worker ended during this request, which may have been the cause; try again"


class Service:
    """A compiled model behind HTTP."""

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        limits: Limits,
        tokens: Mapping[bytes, str] | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        folder: from `server.inference.program.compile_run`.
        scratch: empty, of this service alone, for what clients send.
        tokens: of its clients; None lets everyone in.
        on_failure: called once workers do not start any more.
        """
        self.limits, self._on_failure = limits, on_failure
        self._offer_json = (folder / "offer.json").read_bytes()
        offer = read_offer(self._offer_json)
        self._model = offer.digest
        batch = offer.batch if isinstance(offer, Offer) else None
        self._answers = {"image": 1, "batch": batch.images if batch else 1}
        self._reception = Reception(limits, tokens)
        self._accounts = self._reception.accounts
        self._most_bytes = {
            "keys": limits.keys_bytes,
            "image": limits.request_bytes,
            "batch": limits.request_bytes,
        }
        room = Room(scratch, limits.kept_free_bytes)
        stored_bytes, in_flight_bytes = shares(
            room, limits.stored_keys_bytes, limits.in_flight_bytes
        )
        self._store = KeyStore(scratch / "keys", stored_bytes, room)
        self._budget = Budget(in_flight_bytes)
        self._intake = Intake(scratch / "arriving", self._budget, room, limits.request_s)
        self._nonces: OrderedDict[bytes, None] = OrderedDict()
        self._crashers: OrderedDict[bytes, None] = OrderedDict()
        self._statuses: Counter[int] = Counter()
        self._began = time.monotonic()
        self.pool = Pool(folder, self._store.folder, limits)

    def app(self) -> FastAPI:
        """The ASGI application; its lifespan is that of the workers."""
        handlers: Handlers = {
            ("GET", "/status"): self._status,
            ("GET", "/v1/offer"): self._tell_offer,
            ("PUT", "/v1/keys"): self._take_keys,
            ("POST", "/v1/answers"): self._answer,
            ("POST", "/v1/batches"): self._answer_batch,
        }
        return application(self.pool, handlers, self._refuse, self._allow, self._on_failure)

    def _allow(self, needed: Mapping[str, int]) -> None:
        for kind, size_bytes in needed.items():
            self._most_bytes[kind] = min(self._most_bytes[kind], size_bytes)
        self._budget.allow(max(self._most_bytes.values()))

    async def _status(self, request: Request) -> JSONResponse:
        if not self._accounts.is_operator(self._reception.who(request)):
            raise HTTPException(404)
        workers = [{"pid": w.pid, "answered": w.answered} for w in self.pool.workers]
        return JSONResponse(
            {
                "model": self._model.hex(),
                "uptime_s": round(time.monotonic() - self._began, 1),
                "workers": workers,
                "workers_replaced": self.pool.replaced,
                "waiting": self.pool.waiting,
                "in_flight_bytes": self._budget.held_bytes,
                "answers_by_status": {str(k): v for k, v in sorted(self._statuses.items())},
                "stored_keys": len(self._store),
                "stored_keys_bytes": self._store.size_bytes,
            }
        )

    async def _tell_offer(self, request: Request) -> Response:
        self._reception.who(request)
        return Response(self._offer_json, media_type="application/json")

    async def _take_keys(self, request: Request) -> JSONResponse:
        who = self._reception.who(request)
        self._accounts.require_calm(who)
        most_bytes = self._most_bytes["keys"]
        async with self._intake.receive(request, who, "keys", self._model, most_bytes) as arrived:
            identity = arrived.head.identity
            if identity not in self._store:
                self._store.require_fitting(arrived.head.size_bytes)
                await self._ask(who, CHECK_KEYS, identity, arrived.path)
                self._store.add(identity, arrived.path, who)
            self._store.touch(identity)
        self._statuses[200] += 1
        return JSONResponse({"keys": identity.hex()})

    async def _answer(self, request: Request) -> Response:
        return await self._evaluate(request, "image", EVALUATE)

    async def _answer_batch(self, request: Request) -> Response:
        return await self._evaluate(request, "batch", EVALUATE_BATCH)

    async def _evaluate(self, request: Request, kind: Kind, operation: int) -> Response:
        who = self._reception.who(request)
        self._accounts.require_calm(who)
        most_bytes = self._most_bytes[kind]
        async with self._intake.receive(request, who, kind, self._model, most_bytes) as arrived:
            head = arrived.head
            if kind != "batch":  # which needs no keys
                self._store.touch(head.keys)
            with self._once(head.nonce), self._counted(who, self._answers[kind]):
                answer = await self._ask(who, operation, head.keys, arrived.path)
        self._statuses[200] += 1
        return Response(
            answer.content,
            media_type="application/octet-stream",
            headers={"server-timing": f"answer;dur={answer.seconds * 1e3:.3f}"},
        )

    @contextmanager
    def _once(self, nonce: bytes) -> Iterator[None]:
        """An answer is given once; what was refused may be asked again."""
        if nonce in self._nonces:
            raise WireError("a replay: this frame has been answered before", 409)
        _note(self._nonces, nonce)
        try:
            yield
        except BaseException:
            self._nonces.pop(nonce, None)
            raise

    @contextmanager
    def _counted(self, who: str, answers: int) -> Iterator[None]:
        self._accounts.charge(who, answers)
        try:
            yield
        except BaseException:
            self._accounts.refund(who, answers)
            raise

    async def _ask(self, who: str, operation: int, keys: bytes, frame: Path) -> Answer:
        """What a worker says of a frame.

        Raises:
            WireError: it refuses, or these keys have crashed a worker before.
            Refusal: not now.
        """
        if keys in self._crashers:
            raise WireError("a worker crashed of these keys; make others", 422)
        try:
            answer = await self.pool.ask(who, operation, keys, frame)
        except WorkerDied as death:
            self._store.forget(keys)
            if death.crashed:
                self._accounts.note_crash(who)
                if operation == CHECK_KEYS:
                    _note(self._crashers, keys)
            raise Refusal(DIED) from None
        return require_answered(answer)

    async def _refuse(self, request: Request, error: Exception) -> PlainTextResponse:
        refused = await self._reception.refuse(request, error)
        self._statuses[refused.status_code] += 1
        return refused


def _note(remembered: OrderedDict[bytes, None], what: bytes) -> None:
    remembered[what] = None
    if len(remembered) > REMEMBERED_NONCES:
        remembered.popitem(last=False)
