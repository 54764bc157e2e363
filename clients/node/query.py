"""A client of encrypted inference: make or load keys, encrypt, ask, decrypt, release the label."""

import ipaddress
import random
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from privacy.encrypted.keys import CkksKeys, load_secret, make_keys, save_secret
from privacy.encrypted.net import Array
from privacy.encrypted.wire import Frame, Offer, read_frame, read_offer
from privacy.errors import CiphertextError, KeysError, ModelError, ServiceError, SettingsError

TIMEOUT_S = 330.0  # longer than a service lets a question wait and takes to answer it
PATIENCE_S = 60.0  # with a service that is busy, for one request
FIRST_WAIT_S, MOST_WAIT_S = 0.25, 8.0  # before it is asked again, doubled each time
BUSY = (429, 502, 503, 504, 507)
CUT = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


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

    def __init__(
        self, http: httpx.Client, secret: bytes | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """Fetch the offer, make keys (or take a secret key) and upload the evaluation keys.

        Args:
            http: with the service's base URL.
            patience_s: how long one request is tried again while the service is busy.

        Raises:
            ServiceError: the service cannot be reached, or refuses.
            WireError: its offer is not one.
            ModelError: its offer is below 128-bit security.
        """
        self._http, self._patience_s = http, patience_s
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
        told, _ = self._ask("PUT", "/v1/keys", self._frame)
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
        encrypted = time.perf_counter()
        response, begun = self._ask("POST", "/v1/answers", frame)
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
            bytes_up=len(frame.to_bytes()),
            bytes_down=len(response.content),
        )

    @property
    def batch_images(self) -> int:
        """Images of a whole batch; raises ModelError where the service takes none."""
        if not isinstance(self.offer, Offer) or self.offer.batch is None:
            raise ModelError("this service takes no batches; ask image by image")
        return self.offer.batch.images

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
        encrypted = time.perf_counter()
        response, begun = self._ask("POST", "/v1/batches", frame)
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
        self, method: str, path: str, frame: Frame | None = None
    ) -> tuple[httpx.Response, float]:
        """A response, whole, and when its first bytes were there.

        While the service is busy it is asked again, later each time, at random times, so that
        those whom it turned away do not come back together; each time under a new nonce.
        """
        deadline, wait_s = time.monotonic() + self._patience_s, FIRST_WAIT_S
        while True:
            response, reason, begun = self._try(method, path, frame)
            if response is not None and response.status_code == 200:
                return response, begun
            status = None if response is None else response.status_code
            gave_way = status == 404 and frame is not None and frame.kind == "image"
            pause_s = max(_retry_after_s(response), random.uniform(wait_s / 2, wait_s))
            in_time = time.monotonic() + pause_s <= deadline
            if not in_time or not (gave_way or status in (None, *BUSY)):
                raise ServiceError(f"{self._http.base_url}: {reason}")
            if gave_way:  # our keys did, to others', or with a worker that ended
                self._upload_keys()
            else:
                time.sleep(pause_s)
            wait_s = min(2 * wait_s, MOST_WAIT_S)

    def _try(
        self, method: str, path: str, frame: Frame | None
    ) -> tuple[httpx.Response | None, str, float]:
        """One attempt: the response (None: the connection was cut), why not 200, and when."""
        content = frame.to_bytes() if frame is not None else b""
        try:
            with self._http.stream(method, path, content=content) as response:
                begun = time.perf_counter()
                response.read()
        except CUT as error:
            return None, str(error), time.perf_counter()
        except httpx.HTTPError as error:
            raise ServiceError(f"{self._http.base_url}: {error}") from None
        reason = response.text.strip().splitlines() if response.status_code != 200 else []
        return response, f"{response.status_code}: {reason[0] if reason else ''}", begun


def _retry_after_s(response: httpx.Response | None) -> float:
    told = response.headers.get("retry-after", "") if response is not None else ""
    return float(told) if told.isdecimal() else 0.0


def _server_s(response: httpx.Response) -> float:
    _, _, duration = response.headers.get("server-timing", "").partition("dur=")
    try:
        return float(duration) / 1e3
    except ValueError:
        return 0.0


def connect(
    url: str,
    key_file: Path | None = None,
    authority: Path | None = None,
    token_file: Path | None = None,
) -> Client:
    """A client of the service at `url`, with the secret key in a file, or a new one kept there.

    Args:
        authority: PEM file of who vouches for the service; none: those whom the system trusts.
        token_file: the bearer token by which the service knows us.

    Raises:
        SettingsError: the URL is none.
        KeysError: others may read a file of secrets, or one is not what it should be.
    """
    http = http_client(url, authority, token_file)
    if key_file is None:
        return Client(http)
    if key_file.exists():
        return Client(http, load_secret(key_file))
    client = Client(http)
    save_secret(key_file, client.keys.secret_bytes())
    return client


def http_client(
    url: str, authority: Path | None = None, token_file: Path | None = None
) -> httpx.Client:
    """An HTTP client of the service at `url`; arguments and errors as of `connect`."""
    headers, base = {}, _base(url)
    if token_file is not None:
        if not _is_private(base):
            raise KeysError(f"{url}: a token goes over https only, or not beyond this machine")
        words = load_secret(token_file).decode("ascii", "replace").split()
        if not words or not (words[-1].isascii() and words[-1].isprintable()):
            raise KeysError(f"{token_file}: no token in it, of letters, digits and signs")
        headers["authorization"] = f"Bearer {words[-1]}"  # a line of the service's file will do
    try:
        context = ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise KeysError(f"{authority}: not an authority's PEM file: {error}") from None
    return httpx.Client(base_url=base, timeout=TIMEOUT_S, headers=headers, verify=context)


def _base(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        base = httpx.URL("")
    if base.scheme not in ("http", "https") or not base.host:
        raise SettingsError(f"{url}: must be http://HOST:PORT or https://HOST:PORT, of a service")
    return base


def _is_private(url: httpx.URL) -> bool:
    """Can nobody on the way read what goes there?"""
    try:
        return url.scheme == "https" or ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return url.host == "localhost"
