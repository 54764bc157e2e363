"""Who asks, and how much: tokens, or addresses where there are none, and what each may have."""

import hashlib
import ipaddress
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from pathlib import Path

from privacy.errors import KeysError, WireError
from privacy.foreign import MOST_TEXT_BYTES, read_foreign
from server.inference.gate.refusal import Refusal

OPERATOR = "operator"  # whoever has the token of this name is told what the service does
TOKEN_LENGTH = 32  # of hexadecimal digits: 128 bits
DAY_H = 24
REMEMBERED = 100_000  # identities
MOST_CRASHES, CRASHES_WITHIN_S = 3, 60.0


def read_tokens(path: Path) -> dict[bytes, str]:
    """A file of lines `NAME TOKEN`; '#' begins a comment.

    Returns:
        Names by the SHA-256 of their tokens.

    Raises:
        KeysError: not there, others may read it, or a line is not a name and a long enough token.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise KeysError(f"{path}: others may read these tokens; run: chmod 600 {path}")
        lines = read_foreign(path, MOST_TEXT_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"{path}: cannot be read: {error}") from None
    names: dict[bytes, str] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or len(words[1]) < TOKEN_LENGTH or not line.isascii():
            raise KeysError(
                f"{path}:{number}: NAME TOKEN belongs here, the token of {TOKEN_LENGTH} characters "
                "or more; make one: openssl rand -hex 32"
            )
        if words[0] in names.values():
            raise KeysError(
                f"{path}:{number}: {words[0]} is there twice; each has a name of its own"
            )
        names[_digest(words[1])] = words[0]
    if not names:
        raise KeysError(f"{path}: no token in it; add a line: NAME TOKEN")
    return names


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Accounts:
    """Identities of a service's clients, their answers of the last day, and their crashes."""

    def __init__(self, tokens: Mapping[bytes, str] | None, answers_per_day: int) -> None:
        """Args:
        tokens: from `read_tokens`; None lets everyone in, known by their addresses.
        answers_per_day: 0 is no limit.
        """
        self._tokens, self._per_day = tokens, answers_per_day
        self._answers: OrderedDict[str, Counter[int]] = OrderedDict()  # by hour
        self._crashes: OrderedDict[str, deque[float]] = OrderedDict()

    def identify(self, authorization: str, address: str) -> str:
        """Who asks.

        Tokens are compared by their digests: how long that takes tells nothing of them.

        Args:
            authorization: the header of that name.

        Raises:
            WireError: 401, no token or an unknown one.
        """
        if self._tokens is None:
            return f"address {neighbourhood(address)}"
        scheme, _, token = authorization.partition(" ")
        name = self._tokens.get(_digest(token.strip())) if scheme.lower() == "bearer" else None
        if name is None:
            raise WireError("this service wants a token it knows: privet infer --token FILE", 401)
        return f"token {name}"

    def is_operator(self, who: str) -> bool:
        """May this identity see what the service does?"""
        return who == f"token {OPERATOR}"

    def charge(self, who: str, answers: int) -> None:
        """Count answers, before they are given.

        At most `answers_per_day` in any 24 hours: whole hours are counted, the first one too.

        Raises:
            Refusal: 429, they would be too many.
        """
        if not self._per_day:
            return
        hour = int(time.time() // 3600)
        hours = self._answers.setdefault(who, Counter())
        self._answers.move_to_end(who)
        for past in [h for h in hours if h < hour - DAY_H]:
            del hours[past]
        if hours.total() + answers > self._per_day:
            wait_s = 3600 * (min(hours, default=hour) + DAY_H + 1) - int(time.time())
            told = f"{self._per_day} answers a day are the most, {hours.total()} were given"
            raise Refusal(told, 429, max(1, wait_s))
        hours[hour] += answers
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)

    def refund(self, who: str, answers: int) -> None:
        """They were not given."""
        hours = self._answers.get(who)
        if hours:
            hours[max(hours)] -= answers

    def note_crash(self, who: str) -> None:
        """A worker crashed of what this identity sent."""
        crashes = self._crashes.setdefault(who, deque(maxlen=MOST_CRASHES))
        crashes.append(time.monotonic())
        if len(self._crashes) > REMEMBERED:
            self._crashes.popitem(last=False)

    def require_calm(self, who: str) -> None:
        """Refuse whoever has crashed several workers just now.

        Raises:
            Refusal: 429.
        """
        crashes = self._crashes.get(who, deque())
        if len(crashes) == MOST_CRASHES:
            wait_s = crashes[0] + CRASHES_WITHIN_S - time.monotonic()
            if wait_s > 0:
                told = f"{MOST_CRASHES} workers crashed of your requests; wait"
                raise Refusal(told, 429, int(wait_s) + 1)


def neighbourhood(address: str) -> str:
    """An address as an identity: of IPv6 the /64, all of which one subscriber has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
