"""The learning service: an ASGI app over ciphertexts. It holds no secret key, and cannot decrypt.

    GET    /health
    PUT    /v1/keys/DIGEST                a frame of a course and its public keys
    GET    /v1/courses/NAME               the blocks that are here, and the step that is next
    PUT    /v1/courses/NAME/blocks/B      a frame with a block of encrypted records
    POST   /v1/courses/NAME/steps/K       a frame with encrypted weights; the answer is a frame
    DELETE /v1/courses/NAME               forget it

A course is called by the identity of its keys. Its steps come one after another: weights for a step
that was answered, for one that is not next, or under other keys are refused, and change nothing;
the very frame that was answered last is answered again, as it was.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from privacy.encrypted.learning.course import Course
from privacy.encrypted.learning.steps import part_bytes
from privacy.encrypted.wire import CHECKSUM_BYTES, HEADER, Head
from privacy.errors import WireError
from server.inference.gate.application import Handlers, application
from server.inference.gate.intake import Budget, Intake
from server.inference.gate.reception import Reception
from server.inference.gate.refusal import Refusal
from server.inference.gate.stores import Room, shares
from server.inference.learning.courses import Courses, Kept
from server.inference.learning.worker import BEGIN, BLOCK, STEP
from server.inference.limits import Limits
from server.inference.pool import Pool
from server.inference.replies import require_answered
from server.inference.workers import WorkerDied

WORKER = "server.inference.learning.worker"
MOST_KEYS_BYTES = 1 << 27
LEARNING_LIMITS = Limits(in_flight_bytes=1 << 30, request_s=300.0, waiting_s=600.0, answer_s=600.0)
DIED = "a worker ended during this request, which may have been the cause; try again"


class LearningService:
    """Courses behind HTTP.

    Args:
        folder: where courses are kept; a service that is started again there goes on.
        scratch: empty, of this service alone, for what is under way.
        tokens: of its clients; None lets everyone in.
    """

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        limits: Limits,
        tokens: Mapping[bytes, str] | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_failure = on_failure
        self._reception = Reception(limits, tokens)
        self._accounts = self._reception.accounts
        self._tokens = tokens
        room = Room(scratch, limits.kept_free_bytes)
        _, in_flight_bytes = shares(room, 0, limits.in_flight_bytes)
        self._budget = Budget(in_flight_bytes)
        self._intake = Intake(scratch / "arriving", self._budget, room, limits.request_s)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._room = Room(folder, limits.kept_free_bytes)
        self._courses = Courses(folder / "courses", self._room)
        self._busy: Counter[str] = Counter()
        self.pool = Pool(folder, self._courses.folder, limits, WORKER)

    def app(self) -> FastAPI:
        """The ASGI application; its lifespan is that of the workers."""
        handlers: Handlers = {
            ("PUT", "/v1/keys/{digest}"): self._begin,
            ("GET", "/v1/courses/{name}"): self._tell,
            ("PUT", "/v1/courses/{name}/blocks/{block}"): self._take_block,
            ("POST", "/v1/courses/{name}/steps/{step}"): self._step,
            ("DELETE", "/v1/courses/{name}"): self._end,
        }
        refuse = self._reception.refuse
        return application(self.pool, handlers, refuse, self._allow, self._on_failure)

    def _allow(self, _: Mapping[str, int]) -> None:
        self._budget.allow(MOST_KEYS_BYTES)

    def _who(self, request: Request) -> str:
        """A token's name; without tokens, whoever knows a course's name may use it."""
        who = self._reception.who(request)
        return who if self._tokens is not None else "anyone"

    def _find(self, request: Request, name: str, others: bool = False) -> Kept:
        """Of whoever began it, or of `others` as well who know its name."""
        who = self._who(request)
        self._accounts.require_calm(who)
        return self._courses.find(name, who, others)

    async def _begin(self, request: Request, digest: str) -> JSONResponse:
        who = self._who(request)
        self._accounts.require_calm(who)
        try:
            model = bytes.fromhex(digest)
        except ValueError:
            raise WireError("the digest of a course belongs here, in hex") from None
        async with self._intake.receive(request, who, "keys", model, MOST_KEYS_BYTES) as arrived:
            name = arrived.head.identity
            await self._ask(who, BEGIN, name, arrived.path)
            self._courses.begin(name.hex(), arrived.path, who)
        return JSONResponse({"course": name.hex()})

    async def _tell(self, request: Request, name: str) -> JSONResponse:
        kept = self._find(request, name, others=True)
        return JSONResponse({"blocks": kept.blocks, "step": kept.last[0] + 1})

    async def _take_block(self, request: Request, name: str, block: str) -> JSONResponse:
        kept, number = self._find(request, name, others=True), _number(block)
        course = kept.course
        if number >= course.blocks:
            raise WireError(f"block {number}; the course has {course.blocks}", 422)
        if kept.block(number).exists():
            raise WireError(f"block {number} is here already", 409)
        who, most = self._who(request), course_bytes(course)["block"]
        self._budget.allow(most)
        async with self._intake.receive(request, who, "block", course.digest, most) as arrived:
            _require_own(arrived.head, name, number)
            await self._ask(who, BLOCK, arrived.head.keys, arrived.path)
            self._room.require(arrived.head.size_bytes)
            part = kept.folder / f".{number}.part"
            shutil.copyfile(arrived.path, part)
            part.rename(kept.block(number))
        return JSONResponse({"block": number})

    async def _step(self, request: Request, name: str, step: str) -> Response:
        kept, number = self._find(request, name), _number(step)
        course, who = kept.course, self._who(request)
        if missing := set(range(course.blocks)) - set(kept.blocks):
            raise WireError(f"block {min(missing)} of records is not here yet", 409)
        most = course_bytes(course)["weights"]
        self._budget.allow(most)
        async with self._intake.receive(request, who, "weights", course.digest, most) as arrived:
            _require_own(arrived.head, name, number)
            weights = hashlib.sha256(arrived.path.read_bytes()).hexdigest()
            if self._busy[name]:
                raise Refusal("a step of this course is being computed; ask again", 503)
            self._busy[name] += 1
            try:
                content = await self._answer(kept, number, weights, who, arrived.path)
            finally:
                del self._busy[name]
        return Response(content, media_type="application/octet-stream")

    async def _answer(self, kept: Kept, step: int, weights: str, who: str, path: Path) -> bytes:
        last, answered = kept.last
        if (step, weights) == (last, answered):
            return kept.answer
        if step != last + 1:
            late = "was answered before, to other weights" if step <= last else "is not next"
            raise WireError(f"step {step} {late}; step {last + 1} is next", 409)
        content = await self._ask(who, STEP, bytes.fromhex(kept.folder.name), path)
        kept.note(step, weights, content)
        return content

    async def _end(self, request: Request, name: str) -> JSONResponse:
        self._courses.end(self._find(request, name))
        return JSONResponse({"course": name})

    async def _ask(self, who: str, operation: int, identity: bytes, frame: Path) -> bytes:
        try:
            answer = await self.pool.ask(who, operation, identity, frame)
        except WorkerDied as death:
            if death.crashed:
                self._accounts.note_crash(who)
            raise Refusal(DIED) from None
        return require_answered(answer).content


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise WireError(f"{text[:20]!a}: a number belongs here")
    return int(text)


def _require_own(head: Head, name: str, number: int) -> None:
    """Refuse a frame that bears another course's keys, or another number."""
    if head.keys.hex() != name:
        raise WireError("the frame is under other keys than this course's", 409)
    if head.nonce != number.to_bytes(16, "little"):
        raise WireError(f"the frame does not bear the number {number}", 409)


def course_bytes(course: Course) -> dict[str, int]:
    """The most bytes of a frame with a block, and of one with weights."""
    part = part_bytes(course)[-1]
    return {
        kind: HEADER.size + CHECKSUM_BYTES + num * (part + 8)
        for kind, num in (("block", course.features + course.outputs), ("weights", course.letters))
    }
