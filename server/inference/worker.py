"""One worker process: foreign ciphertexts are parsed and computed on here, and only here.

A native parser or kernel that dies takes this process with it and not the service, which starts
another. Requests come on stdin and answers leave on stdout, length by length; no object is ever
unpickled. At the end of stdin the worker ends.

    request   operation (1), identity of keys (32), length (2), path of the frame's file
    answer    status (2), seconds computed (8), length (8), content

The first answer comes unasked, and tells the most bytes of each kind of frame, as JSON.

run as: python -m server.inference.worker FOLDER KEYS_FOLDER MEMORY_BYTES
"""

import ctypes
import errno
import json
import os
import resource
import signal
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from privacy.documents import to_json
from privacy.encrypted.wire import Frame, Kind, read_frame, read_offer
from privacy.errors import PrivetError, WireError

if TYPE_CHECKING:
    from privacy.encrypted.batch import BatchProgram

REQUEST, ANSWER = struct.Struct("<B32sH"), struct.Struct("<HdQ")
CHECK_KEYS, EVALUATE, EVALUATE_BATCH = 1, 2, 3
KEPT_KEYS = 64  # clients whose keys stay parsed (to parse them takes four times an answer),
KEPT_KEYS_BYTES = 128 << 20  # and as many bytes of theirs, before they are unpacked to three times
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
PR_SET_PDEATHSIG = 1  # prctl(2)


class Engine(Protocol):
    """What computes on ciphertexts of one scheme."""

    def load_keys(self, parts: tuple[bytes, ...]) -> Any:
        """Evaluation keys from a frame's parts."""

    def run(self, parts: tuple[bytes, ...], keys: Any) -> tuple[bytes, ...]:
        """Answers to an image's ciphertexts."""


@dataclass(frozen=True)
class Scheme:
    """An engine, and what is known of its clients' frames before any comes.

    Attributes:
        question: an image that nobody asked, on which new keys are tried.
        most_bytes: of a frame, by kind.
        require_form: refuses parts of keys that the native parser must not see.
    """

    engine: Engine
    question: bytes
    most_bytes: dict[Kind, int]
    require_form: Callable[[tuple[bytes, ...]], None]


def _open_ckks(folder: Path) -> Scheme:
    from privacy.encrypted import trial
    from privacy.encrypted.programs import plan_from_bytes
    from privacy.encrypted.ring.engine import engine

    program = engine(plan_from_bytes((folder / "program.safetensors").read_bytes()))
    keys = trial.frame_bytes(*trial.largest_keys(program.plan))
    image = trial.frame_bytes(trial.largest_image(program.plan))
    question = trial.random_question(program)
    return Scheme(program, question, {"keys": keys, "image": image}, lambda parts: None)


def _open_boolean(folder: Path) -> Scheme:
    from privacy.encrypted import trial
    from privacy.encrypted.boolean import SLACK_BYTES, Circuit

    input_bytes = json.loads((folder / "scheme.json").read_text())["input_bytes"]
    keys, image, question = trial.read_circuit_files(folder)
    most_bytes: dict[Kind, int] = {
        "keys": trial.frame_bytes(keys.size_bytes),
        "image": trial.frame_bytes(image.size_bytes + SLACK_BYTES),
    }

    def require_form(parts: tuple[bytes, ...]) -> None:
        for part in parts:
            keys.require(part, "evaluation keys")

    return Scheme(Circuit(folder / "server.zip", input_bytes), question, most_bytes, require_form)


def _open_batch(folder: Path) -> "BatchProgram | None":
    if not (folder / "batch.safetensors").exists():
        return None
    from privacy.encrypted.batch import BatchProgram, batch_from_bytes

    return BatchProgram(batch_from_bytes((folder / "batch.safetensors").read_bytes()))


SCHEMES: dict[str, Callable[[Path], Scheme]] = {"ckks": _open_ckks, "boolean": _open_boolean}


class Desk:
    """What a worker does with one request after another."""

    def __init__(self, folder: Path, keys_folder: Path) -> None:
        self._scheme = SCHEMES[json.loads((folder / "scheme.json").read_text())["scheme"]](folder)
        self._engine = self._scheme.engine
        self._batch = _open_batch(folder)
        self._model = read_offer((folder / "offer.json").read_bytes()).digest
        self._keys_folder = keys_folder
        self._keys: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()  # parsed, bytes

    @property
    def most_bytes(self) -> dict[Kind, int]:
        """Of a frame, by kind."""
        if self._batch is None:
            return self._scheme.most_bytes
        from privacy.encrypted.trial import frame_bytes, largest_batch_part

        pixels = [largest_batch_part()] * self._batch.net.w1.shape[1]
        return {**self._scheme.most_bytes, "batch": frame_bytes(*pixels)}

    def answer(self, operation: int, identity: bytes, content: bytes) -> bytes:
        """The frame that answers a frame.

        Raises:
            WireError: the frame, or what is in it, is not what it should be.
        """
        if operation == CHECK_KEYS:
            keys = self._parse(content)
            self._engine.run((self._scheme.question,), keys)
            self._keep(identity, keys, len(content))
            return b""
        kinds: dict[int, Kind] = {EVALUATE: "image", EVALUATE_BATCH: "batch"}
        frame = read_frame(content, kinds[operation], self._model)
        if operation == EVALUATE:
            parts = self._engine.run(frame.parts, self._load(identity))
        elif self._batch is not None:
            parts = self._batch.run(frame.parts)
        else:
            raise WireError("this model takes no batches; ask image by image")
        return Frame("answer", self._model, parts, identity, frame.nonce).to_bytes()

    def _parse(self, content: bytes) -> Any:
        parts = read_frame(content, "keys", self._model).parts
        self._scheme.require_form(parts)
        return self._engine.load_keys(parts)

    def _load(self, identity: bytes) -> Any:
        if identity not in self._keys:
            try:
                content = (self._keys_folder / identity.hex()).read_bytes()
            except FileNotFoundError:
                raise WireError("these keys are not here any more; upload them", 404) from None
            self._keep(identity, self._parse(content), len(content))
        self._keys.move_to_end(identity)
        return self._keys[identity][0]

    def _keep(self, identity: bytes, keys: Any, size_bytes: int) -> None:
        self._keys[identity] = (keys, size_bytes)
        while len(self._keys) > 1 and (
            len(self._keys) > KEPT_KEYS
            or sum(size for _, size in self._keys.values()) > KEPT_KEYS_BYTES
        ):
            self._keys.popitem(last=False)


class Answers(Protocol):
    """Who answers one request after another."""

    @property
    def most_bytes(self) -> dict[Kind, int]:
        """Of a frame, by kind."""

    def answer(self, operation: int, identity: bytes, content: bytes) -> bytes:
        """The frame that answers a frame."""


def serve(desk: Answers, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    while header := requests.read(REQUEST.size):
        operation, identity, length = REQUEST.unpack(header)
        path = Path(os.fsdecode(requests.read(length)))
        start = time.perf_counter()
        try:
            status, answer = 200, desk.answer(operation, identity, path.read_bytes())
        except WireError as error:
            status, answer = error.status, str(error).encode()
        except OSError as error:
            status = 507 if error.errno in FULL else 500
            answer = f"could not be computed: {error.strerror}".encode()
        except MemoryError:
            status, answer = 507, b"could not be computed: no memory left for it"
        except (PrivetError, RuntimeError, ValueError) as error:
            status, answer = 422, f"could not be computed: {error}".encode()
        seconds = time.perf_counter() - start
        answers.write(ANSWER.pack(status, seconds, len(answer)) + answer)
        answers.flush()


def die_with_parent() -> None:
    """A worker that hangs does not outlive a service that was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def work(begin: Callable[[], Answers], memory_bytes: int) -> None:
    """Begin, and serve: libraries that print must not print into the answers."""
    die_with_parent()
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    desk = begin()
    ready = to_json(desk.most_bytes).encode()
    answers.write(ANSWER.pack(200, 0.0, len(ready)) + ready)
    answers.flush()
    serve(desk, sys.stdin.buffer, answers)


def main(folder: str, keys_folder: str, memory_bytes: str) -> None:
    """A worker of encrypted inference."""
    work(lambda: Desk(Path(folder), Path(keys_folder)), int(memory_bytes))


if __name__ == "__main__":
    main(*sys.argv[1:])
