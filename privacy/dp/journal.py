"""A device's ledger as a file: what its data have spent, over restarts, runs and servers.

One JSON line for each noisy release, written and on disk before anything is computed, and another
when its result is on disk and may leave. Lines are only ever appended, under a lock, and form a
chain: each is sealed with HMAC-SHA256 (RFC 2104) over itself and the seal before it, under a key in
a file beside; a third file, the end, holds the number of lines and the last seal, and a seal of its
own. A key comes with an end of no lines, so that from then on each file misses the others.

What that detects, by who cannot read the key: a line changed, removed, added or out of order; a
file cut short, emptied or removed, the end too, and an end written anew. What it cannot: the ledger
and its end put back as they were together on another day, and all files removed. Then only a copy
kept elsewhere helps.
"""

import fcntl
import glob
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy.documents import from_json, to_json
from privacy.dp.discrete import epsilon_of_sum
from privacy.dp.ledger import Ledger, Spent, row_of
from privacy.errors import BudgetExhausted, LedgerError
from privacy.files import write_atomically

START = "0" * 64  # the seal before the first line
SHARED = "shared"


@dataclass(frozen=True)
class Limit:
    """What the owner of the data allows, over all that is ever computed on them.

    Attributes:
        epsilon: None is no limit: only what each run allows itself.
    """

    epsilon: float | None
    delta: float

    def require(self, planned: Ledger, whose: str, shared: bool = False) -> None:
        """Refuse a plan.

        Args:
            shared: some of its noise is the sum of many devices' shares.

        Raises:
            BudgetExhausted: it would spend more than the limit.
        """
        if self.epsilon is None or (not shared and planned.within(self.epsilon, self.delta)):
            return
        epsilon = epsilon_of(planned, self.delta, shared)
        if not epsilon <= self.epsilon:
            raise BudgetExhausted(
                f"this round would bring epsilon to {epsilon:.4g} at delta "
                f"{self.delta:g}, over {whose} {self.epsilon:g}"
            )


def epsilon_of(spent: Ledger, delta: float, shared: bool) -> float:
    """Epsilon of a ledger, by an accountant that holds for all of its noise.

    Args:
        shared: some of it is the sum of many devices' shares, of discrete Gaussians. What is
            proved of those is proved by Renyi orders, and composes with other steps by them.
    """
    if not shared:
        return spent.epsilon(delta)
    if all(entry.sample_rate == 1 for entry in spent.entries):
        return epsilon_of_sum(spent.entries, delta)
    return spent.renyi_epsilon(delta)


class Journal:
    """The file, its key (`.key`) and its end (`.end`), and the last release of each run beside it.

    Args:
        path: made when something is first written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key_path = path.with_name(path.name + ".key")
        self._end_path = path.with_name(path.name + ".end")

    # ---- reading

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines, checked.

        Raises:
            LedgerError: the file is not as this program left it.
        """
        with self._locked():
            return self._read()

    @property
    def spent(self) -> Ledger:
        """All that the data have spent."""
        return _sum(self.lines)

    def epsilon(self, delta: float) -> float:
        """Epsilon of all that the data have spent."""
        lines = self.lines
        return epsilon_of(_sum(lines), delta, _shares(lines))

    @property
    def covered(self) -> tuple[str, ...]:
        """What was told of the epsilon of charges, each once."""
        return tuple(dict.fromkeys(line["of"] for line in self.lines if "of" in line))

    def spent_in(self, run: str, besides: str = "") -> Ledger:
        """What they have spent in one run, `besides` a request that is charged and not released."""
        lines = [e for e in self.lines if e["run"] == run]
        if _is_pending(lines, besides):
            del lines[-1]
        return _sum(lines)

    # ---- one release

    def turn(self) -> AbstractContextManager[None]:
        """From charge to release: one at a time, or two processes would answer one charge."""
        return self._locked(".turn")

    def charge(
        self,
        run: str,
        request: str,
        cost: Spent,
        limit: Limit,
        *,
        anew: bool = False,
        shared: bool = False,
        of: str = "",
    ) -> None:
        """Write down what a request will cost, once, before it is computed.

        A request that was charged, and whose result never left, is not charged again where it
        will have the same noise: whatever leaves, leaves once for each charge.

        Args:
            anew: its noise will be other noise. The draw that was lost may have been seen, so
                that each draw is charged.
            shared: its noise is the sum of many devices' shares.
            of: what its epsilon covers, in words; empty where that is a record.

        Raises:
            BudgetExhausted: over the owner's limit; nothing is written.
            LedgerError: the file is damaged, or cannot be written.
        """
        with self._locked():
            lines = self._read()
            if not anew and _is_pending([e for e in lines if e["run"] == run], request):
                return
            planned = Ledger([*_sum(lines).entries, cost])
            whose = "the limit of this device's owner, epsilon-limit ="
            limit.require(planned, whose, shared or _shares(lines))
            body = {"kind": "charge", "run": run, "request": request}
            if shared:
                body["noise"] = SHARED
            if of:
                body["of"] = of
            self._append(lines, body | {"cost": row_of(cost)})

    def release(self, run: str, request: str, content: bytes) -> None:
        """Keep what is about to leave, and note that it does."""
        with self._locked():
            lines = self._read()
            with write_atomically(self._release_path(run)) as file:
                file.write(content)
            digest = hashlib.sha256(content).hexdigest()
            self._append(
                lines, {"kind": "release", "run": run, "request": request, "sha256": digest}
            )

    def released(self, run: str, request: str) -> bytes | None:
        """What left for this very request, if it was the run's last: it may leave again for free.

        Raises:
            LedgerError: the ledger is damaged.
        """
        last = [e for e in self.lines if e["run"] == run][-1:]
        if not last or last[0]["kind"] != "release" or last[0]["request"] != request:
            return None
        try:
            content = self._release_path(run).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == last[0]["sha256"] else None

    def _release_path(self, run: str) -> Path:
        name = hashlib.sha256(run.encode()).hexdigest()[:16]
        return self.path.with_name(f"{self.path.name}.{name}.release")

    # ---- the file

    @contextmanager
    def _locked(self, which: str = ".lock") -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            name = self.path.with_name(self.path.name + which)
            lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            self._require_unwritten()
            return []
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        lines: list[dict[str, Any]] = []
        seal, key = START, self._key()
        for number, line in enumerate(text[:whole].splitlines(), start=1):
            try:
                body = from_json(line)
                found = body.pop("seal")
                if not hmac.compare_digest(found, _seal(key, seal, body)):
                    raise ValueError
            except (ValueError, KeyError, TypeError, AttributeError):
                raise self._damaged(f"line {number} is not what was written") from None
            seal = found
            lines.append(body | {"seal": found})
        num, last = self._read_end()
        if len(lines) < num or (lines[num - 1]["seal"] if num else START) != last:
            raise self._damaged("was cut short, or put back")
        if whole < len(text):  # a line that was being written when the power failed: of no effect
            os.truncate(self.path, whole)
        return lines

    def _append(self, lines: list[dict[str, Any]], body: dict[str, Any]) -> None:
        seal = _seal(self._key(), lines[-1]["seal"] if lines else START, body)
        line = to_json(body | {"seal": seal}) + "\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LedgerError(
                f"{self.path}: cannot be written: {error.strerror}; nothing was computed"
            ) from None
        lines.append(body | {"seal": seal})
        self._write_end(len(lines), seal, self._key())

    def _require_unwritten(self) -> None:
        """There is no ledger: then nothing beside it may speak of lines."""
        if any(self.path.parent.glob(f"{glob.escape(self.path.name)}.*.release")):
            raise self._damaged("is gone, but what it released is there")
        if self._key_path.exists():
            written = self._read_end() != (0, START)
        else:  # a first line may have been about to be written when the power failed
            written = self._end_path.exists() and not self._end_path.read_bytes().startswith(b"[0,")
        if written:
            raise self._damaged("is gone, but its end is there")

    def _read_end(self) -> tuple[int, str]:
        """The number of lines that are there at least, and the seal of the last of them."""
        try:
            num, last, seal = from_json(self._end_path.read_bytes())
            if not hmac.compare_digest(seal, _seal(self._key(), last, {"lines": num})):
                raise ValueError
        except (ValueError, TypeError, OSError):
            raise self._damaged("has lost its end, or has another's") from None
        return num, last

    def _write_end(self, num: int, last: str, key: bytes) -> None:
        with write_atomically(self._end_path) as end:
            end.write(to_json([num, last, _seal(key, last, {"lines": num})]).encode())

    def _key(self) -> bytes:
        try:
            return self._key_path.read_bytes()
        except FileNotFoundError:
            if self.path.exists():
                raise self._damaged("has lost its key") from None
        key = secrets.token_bytes(32)
        new = self._key_path.with_name(f".{self._key_path.name}.new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        self._write_end(0, START, key)
        new.rename(self._key_path)  # a key that is here was never without an end
        return key

    def _damaged(self, how: str) -> LedgerError:
        return LedgerError(
            f"{self.path}: the ledger {how}; nothing more is computed on these data until their "
            "owner has put back a good copy of it and of the files beside it"
        )


def _seal(key: bytes, before: str, body: dict[str, Any]) -> str:
    content = before + to_json(body, sort_keys=True)
    return hmac.new(key, content.encode(), hashlib.sha256).hexdigest()


def _is_pending(lines: list[dict[str, Any]], request: str) -> bool:
    """Does a run end with the charge for `request`, whose result never left?"""
    return bool(lines) and lines[-1]["request"] == request and lines[-1]["kind"] == "charge"


def _shares(lines: list[dict[str, Any]]) -> bool:
    return any(line.get("noise") == SHARED for line in lines)


def _sum(lines: Any) -> Ledger:
    return Ledger(Spent(*entry["cost"]) for entry in lines if entry["kind"] == "charge")
