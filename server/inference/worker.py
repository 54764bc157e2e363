"""One worker process: foreign ciphertexts are parsed and computed on here, and only here.

A native parser or kernel that dies takes this process with it and not the service, which starts
another. Requests come on stdin and answers leave on stdout, length by length; no object is ever
unpickled. At the end of stdin the worker ends.

    request   operation (1), identity of keys (32), length (8), content
    answer    status (2), seconds computed (8), length (8), content

run as: python -m server.inference.worker FOLDER KEYS_FOLDER MEMORY_BYTES
"""

import json
import os
import resource
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from privacy.encrypted.wire import Frame, Kind, read_frame, read_offer
from privacy.errors import PrivetError, WireError

REQUEST, ANSWER = struct.Struct("<B32sQ"), struct.Struct("<HdQ")
CHECK_KEYS, EVALUATE, EVALUATE_BATCH = 1, 2, 3
KEPT_KEYS = 8  # clients whose keys stay parsed


class Engine(Protocol):
    """What computes on ciphertexts of one scheme."""

    def load_keys(self, parts: tuple[bytes, ...]) -> Any:
        """Evaluation keys from a frame's parts."""

    def run(self, parts: tuple[bytes, ...], keys: Any) -> tuple[bytes, ...]:
        """Answers to an image's ciphertexts."""


class BatchEngine(Protocol):
    """What computes on batches, without evaluation keys."""

    def run(self, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Answers to a batch's ciphertexts."""


def _open_ckks(folder: Path) -> Engine:
    from privacy.encrypted.ckks import Program
    from privacy.encrypted.programs import plan_from_bytes

    return Program(plan_from_bytes((folder / "program.safetensors").read_bytes()))


def _open_boolean(folder: Path) -> Engine:
    from privacy.encrypted.boolean import Circuit

    input_bytes = json.loads((folder / "scheme.json").read_text())["input_bytes"]
    return Circuit(folder / "server.zip", input_bytes)


def _open_batch(folder: Path) -> BatchEngine | None:
    if not (folder / "batch.safetensors").exists():
        return None
    from privacy.encrypted.batch import BatchProgram, batch_from_bytes

    return BatchProgram(batch_from_bytes((folder / "batch.safetensors").read_bytes()))


ENGINES: dict[str, Callable[[Path], Engine]] = {"ckks": _open_ckks, "boolean": _open_boolean}


class Desk:
    """What a worker does with one request after another."""

    def __init__(self, folder: Path, keys_folder: Path) -> None:
        self._engine = ENGINES[json.loads((folder / "scheme.json").read_text())["scheme"]](folder)
        self._batch = _open_batch(folder)
        self._model = read_offer((folder / "offer.json").read_bytes()).digest
        self._keys_folder = keys_folder
        self._keys: OrderedDict[bytes, Any] = OrderedDict()

    def answer(self, operation: int, identity: bytes, content: bytes) -> bytes:
        """The frame that answers a frame.

        Raises:
            WireError: the frame, or what is in it, is not what it should be.
        """
        if operation == CHECK_KEYS:
            self._engine.load_keys(read_frame(content, "keys", self._model).parts)
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

    def _load(self, identity: bytes) -> Any:
        if identity not in self._keys:
            path = self._keys_folder / identity.hex()
            try:
                content = path.read_bytes()
            except OSError:
                raise WireError("these keys are not here any more; upload them", 404) from None
            frame = read_frame(content, "keys", self._model)
            self._keys[identity] = self._engine.load_keys(frame.parts)
            if len(self._keys) > KEPT_KEYS:
                self._keys.popitem(last=False)
        self._keys.move_to_end(identity)
        return self._keys[identity]


def serve(desk: Desk, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    while header := requests.read(REQUEST.size):
        operation, identity, length = REQUEST.unpack(header)
        content = requests.read(length)
        start = time.perf_counter()
        try:
            status, answer = 200, desk.answer(operation, identity, content)
        except WireError as error:
            status, answer = error.status, str(error).encode()
        except (PrivetError, MemoryError, RuntimeError, ValueError) as error:
            status, answer = 422, f"could not be computed: {error}".encode()
        seconds = time.perf_counter() - start
        answers.write(ANSWER.pack(status, seconds, len(answer)) + answer)
        answers.flush()


def main(folder: str, keys_folder: str, memory_bytes: str) -> None:
    """Begin: libraries that print must not print into the answers."""
    if limit := int(memory_bytes):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    desk = Desk(Path(folder), Path(keys_folder))
    answers.write(ANSWER.pack(200, 0.0, 0))  # ready
    answers.flush()
    serve(desk, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
