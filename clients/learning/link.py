"""The service that computes on what it cannot read, as an owner asks it."""

import random
import time

import httpx

from clients.node.query import BUSY, CUT, FIRST_WAIT_S, MOST_WAIT_S
from privacy.encrypted.wire import Frame, read_frame
from privacy.errors import CiphertextError, ServiceError

PATIENCE_S = 300.0  # with a service that is busy, or being started again


class Link:
    """One course at a service.

    Attributes:
        bytes_up, bytes_down: sent and received until now, of frames.
    """

    def __init__(
        self, http: httpx.Client, model: bytes, name: bytes, patience_s: float = PATIENCE_S
    ) -> None:
        """Args:
        http: with the service's base URL.
        model: the course's digest. name: the identity of its keys.
        patience_s: how long one request is tried again.
        """
        self._http, self._model, self._name, self._patience_s = http, model, name, patience_s
        self._path = f"/v1/courses/{name.hex()}"
        self.bytes_up = self.bytes_down = 0

    def begin(self, course: Frame) -> None:
        """Make the course known, by the frame of its keys, if it is not.

        Raises:
            ServiceError: the service cannot be reached, or refuses.
        """
        if self._ask("GET", self._path, known=(200, 404)).status_code == 404:
            self._ask("PUT", f"/v1/keys/{self._model.hex()}", course.to_bytes())

    def blocks(self) -> set[int]:
        """Blocks of records that are there; raises as `begin`."""
        return {int(block) for block in self._ask("GET", self._path).json()["blocks"]}

    def put_block(self, block: int, parts: tuple[bytes, ...]) -> None:
        """Upload a block of records; raises as `begin`."""
        frame = self.frame("block", parts, block)
        self._ask("PUT", f"{self._path}/blocks/{block}", frame.to_bytes())

    def frame(self, kind: str, parts: tuple[bytes, ...], number: int) -> Frame:
        """A frame of this course that bears a number."""
        nonce = number.to_bytes(16, "little")
        return Frame(kind, self._model, parts, self._name, nonce)  # type: ignore[arg-type]

    @property
    def next_number(self) -> int:
        """That the service expects of the next weights; raises as `begin`."""
        return int(self._ask("GET", self._path).json()["step"])

    def gradient(self, letter: Frame) -> tuple[bytes, ...] | None:
        """The answer to a frame of weights; None if its number was used for others.

        Raises:
            ServiceError: as `begin`.
            WireError: what comes back is no answer to this.
        """
        number = int.from_bytes(letter.nonce, "little")
        path = f"{self._path}/steps/{number}"
        response = self._ask("POST", path, letter.to_bytes(), known=(200, 409))
        if response.status_code == 409:
            return None
        answer = read_frame(response.content, "gradient", self._model)
        if answer.keys != self._name or answer.nonce != letter.nonce:
            raise CiphertextError("the answer is to another step, or for other keys than these")
        return answer.parts

    def end(self) -> None:
        """Have the service forget the course; raises as `begin`."""
        self._ask("DELETE", self._path, known=(200, 404))

    def _ask(
        self, method: str, path: str, content: bytes = b"", known: tuple[int, ...] = (200,)
    ) -> httpx.Response:
        deadline, wait_s = time.monotonic() + self._patience_s, FIRST_WAIT_S
        while True:
            status, reason = 0, ""
            try:
                response = self._http.request(method, path, content=content)
                status = response.status_code
                reason = f"{status}: {next(iter(response.text.splitlines()), '')}"
                if status in known:
                    self.bytes_up += len(content)
                    self.bytes_down += len(response.content)
                    return response
            except (*CUT, httpx.ConnectError) as error:  # it may be on its way back
                reason = str(error)
            except httpx.HTTPError as error:
                raise ServiceError(f"{self._http.base_url}: {error}") from None
            pause_s = random.uniform(wait_s / 2, wait_s)
            if time.monotonic() + pause_s > deadline or (status and status not in BUSY):
                raise ServiceError(f"{self._http.base_url}: {reason}")
            time.sleep(pause_s)
            wait_s = min(2 * wait_s, MOST_WAIT_S)
