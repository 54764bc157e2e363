"""Rounds on their way to the disk, where the next may begin meanwhile.

A round is on disk when its line is, and told of then and no sooner. What waits for the disk is lost
when the process is killed, and a resumed run does it again. So only such rounds may wait as are the
same when done again, and of which nothing has left this process.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from privacy.errors import RunError
from server.run.directory import Run, Weights
from server.run.rounds import RoundRecord

MOST_WAITING = 4
MOST_WAITING_BYTES = 1 << 24  # of weights, in one of them
LONG_S = 0.5  # a round that takes as long is told of at once: the disk is a small part of it


class Writing:
    """The writer of a run's rounds; a context, which ends when all of them are on disk.

    Args:
        tell: told of each round that is.
        may_wait: a round that is lost is the same when done again, and nothing of it has left.
    """

    def __init__(self, run: Run, tell: Callable[[RoundRecord], None], may_wait: bool) -> None:
        self._run, self._tell, self._may_wait = run, tell, may_wait
        self._pool = ThreadPoolExecutor(1)  # has no thread before it is asked
        self._waiting: deque[tuple[RoundRecord, Future[None]]] = deque()
        self._failed = False

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.settle()
            else:  # which is what is told of; the rounds before it are done all the same
                with suppress(Exception):
                    self.settle()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def put(self, record: RoundRecord, weights: Weights, strategy_state: Weights) -> None:
        """Write a round; return when it is on disk, unless it may wait.

        Raises:
            RunError: it, or one before it, cannot be written; none after that one is.
        """
        size = sum(array.nbytes for part in (weights, strategy_state) for array in part.values())
        if not self._may_wait or record.seconds >= LONG_S or size > MOST_WAITING_BYTES:
            self.settle()
            self._run.append(record, weights, strategy_state)
            self._tell(record)
            return
        kept = {name: array.copy() for name, array in strategy_state.items()}
        written = self._pool.submit(self._write, record, weights, kept)
        self._waiting.append((record, written))
        while self._waiting and (self._waiting[0][1].done() or len(self._waiting) > MOST_WAITING):
            self._tell_first()

    def settle(self) -> None:
        """Wait until all rounds are on disk, and tell of them; raises as `put`."""
        while self._waiting:
            self._tell_first()

    def _tell_first(self) -> None:
        record, written = self._waiting.popleft()
        written.result()
        self._tell(record)

    def _write(self, record: RoundRecord, weights: Weights, strategy_state: Weights) -> None:
        if self._failed:  # its line would be out of order
            raise RunError(f"round {record.round} is not written: one before it is not")
        try:
            self._run.append(record, weights, strategy_state)
        except BaseException:
            self._failed = True
            raise
