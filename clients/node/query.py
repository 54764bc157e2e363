"""A client of encrypted inference: make or load keys, encrypt, ask, decrypt, release the label."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from privacy.encrypted.keys import CkksKeys, load_secret, make_keys, save_secret
from privacy.encrypted.net import Array
from privacy.encrypted.wire import Frame, read_frame, read_offer
from privacy.errors import CiphertextError, ModelError, ServiceError

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Answer:
    """One image's answer. The logits hold the encryption's noise and stay on the client.

    Attributes:
        times_s: encrypt, upload (and waiting for a worker), server, download, decrypt.
        bytes_up, bytes_down: of the frames.
    """

    label: int
    logits: Array = field(repr=False)
    times_s: dict[str, float]
    bytes_up: int
    bytes_down: int


class Client:
    """A client with a key, known to a service."""

    def __init__(self, http: httpx.Client, secret: bytes | None = None) -> None:
        """Fetch the offer, make keys (or take a secret key) and upload the evaluation keys.

        Args:
            http: with the service's base URL.

        Raises:
            ServiceError: the service cannot be reached, or refuses.
            WireError: its offer is not one.
            ModelError: its offer is below 128-bit security.
        """
        self._http = http
        self.offer = read_offer(self._ask("GET", "/v1/offer")[0].content)
        start = time.perf_counter()
        self.keys = make_keys(self.offer, secret)
        evaluation = self.keys.evaluation()
        self.key_generation_s = time.perf_counter() - start
        self._frame = Frame("keys", self.offer.digest, evaluation)
        self.keys_bytes = sum(map(len, evaluation))
        start = time.perf_counter()
        self._upload_keys()
        self.key_upload_s = time.perf_counter() - start

    def _upload_keys(self) -> None:
        told, _ = self._ask("PUT", "/v1/keys", self._frame.to_bytes())
        if self._frame.identity.hex() not in told.text:
            raise ServiceError("the service knows these keys by another name: it is not to be used")

    def ask(self, image: Array) -> Answer:
        """Have one image [H, W] in [0, 1] classified without showing it.

        Raises:
            ServiceError: the service cannot be reached, refuses, or failed.
            WireError: what it answers is not an answer to this, or not under this key.
        """
        start = time.perf_counter()
        parts = self.keys.encrypt(image)
        frame = Frame("image", self.offer.digest, parts, self._frame.identity)
        content = frame.to_bytes()
        encrypted = time.perf_counter()
        response, begun = self._ask("POST", "/v1/answers", content, retry=frame)
        received = time.perf_counter()
        answer = read_frame(response.content, "answer", self.offer.digest)
        if answer.keys != self._frame.identity:
            raise CiphertextError("the answer is for other keys than these")
        logits = self.keys.decrypt(answer.parts)
        decrypted = time.perf_counter()
        server_s = _server_s(response)
        return Answer(
            label=int(np.argmax(logits)),
            logits=logits,
            times_s={
                "encrypt": encrypted - start,
                "upload": max(0.0, begun - encrypted - server_s),
                "server": server_s,
                "download": received - begun,
                "decrypt": decrypted - received,
            },
            bytes_up=len(content),
            bytes_down=len(response.content),
        )

    def ask_batch(self, images: Array) -> tuple[Array, dict[str, float]]:
        """Have images [B, H, W] classified at once: labels int64 [B], and times as in `Answer`.

        Raises:
            ModelError: the service takes no batches.
            ServiceError, WireError: as `ask`.
        """
        if not isinstance(self.keys, CkksKeys):
            raise ModelError("a boolean service takes no batches; ask image by image")
        start = time.perf_counter()
        frame = Frame("batch", self.offer.digest, self.keys.encrypt_batch(images))
        content = frame.to_bytes()
        encrypted = time.perf_counter()
        response, begun = self._ask("POST", "/v1/batches", content)
        received = time.perf_counter()
        answer = read_frame(response.content, "answer", self.offer.digest)
        logits = self.keys.decrypt_batch(answer.parts, len(images))
        server_s = _server_s(response)
        times_s = {
            "encrypt": encrypted - start,
            "upload": max(0.0, begun - encrypted - server_s),
            "server": server_s,
            "download": received - begun,
            "decrypt": time.perf_counter() - received,
        }
        return logits.argmax(1), times_s

    def _ask(
        self, method: str, path: str, content: bytes = b"", retry: Frame | None = None
    ) -> tuple[httpx.Response, float]:
        """A response, whole, and when its first bytes were there."""
        try:
            with self._http.stream(method, path, content=content) as response:
                begun = time.perf_counter()
                response.read()
        except httpx.HTTPError as error:
            raise ServiceError(f"{self._http.base_url}: {error}") from None
        if response.status_code == 404 and retry is not None:  # our keys gave way to others'
            self._upload_keys()
            again = Frame(retry.kind, retry.model, retry.parts, retry.keys)
            return self._ask(method, path, again.to_bytes())
        if response.status_code != 200:
            reason = response.text.strip().splitlines()
            raise ServiceError(
                f"{self._http.base_url}: {response.status_code}: {reason[0] if reason else ''}"
            )
        return response, begun


def _server_s(response: httpx.Response) -> float:
    _, _, duration = response.headers.get("server-timing", "").partition("dur=")
    try:
        return float(duration) / 1e3
    except ValueError:
        return 0.0


def connect(url: str, key_file: Path | None = None) -> Client:
    """A client of the service at `url`, with the secret key in a file, or a new one kept there.

    Raises:
        KeysError: others may read the file.
    """
    http = httpx.Client(base_url=url, timeout=TIMEOUT_S)
    if key_file is None:
        return Client(http)
    if key_file.exists():
        return Client(http, load_secret(key_file))
    client = Client(http)
    save_secret(key_file, client.keys.secret_bytes())
    return client
