"""The in-process Grid: runs a cohort's ClientApp messages on a pool of threads, without Ray.

A client runs on one worker from message to reply, with its own Context, as it would in a process
of its own. With `clients.training.arrays` the only file that touches names which Flower does not
publish.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from threading import Condition

from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run as FlowerRun
from flwr.supercore.task_identity import TaskIdentity

from clients.training.compression import size_bytes

Nodes = Sequence[int] | Mapping[int, int]  # the node of each client
AT_ONCE, AT_ONCE_BYTES = 4, 1 << 19
CLIENT_APP_RAISED = 2  # flwr.common.constant.ErrorCode.CLIENT_APP_RAISED_EXCEPTION


def identify() -> None:
    """Flower's messages name the task that makes them: in this process there is one."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1


class CohortGrid(Grid):
    """`num_clients` simulated nodes in this process.

    Args:
        client_app: called once for each message.
        num_clients: node n is client n - 1 (Flower keeps node 0 for itself).
        workers: threads, one client to a thread. Which thread runs a client does not matter to it.
    """

    def __init__(self, client_app: ClientApp, num_clients: int, workers: int) -> None:
        self._client_app = client_app
        self._num_clients = num_clients
        self._workers = workers
        # For all rounds: what a thread has made of a job, it need not make again in the next. The
        # thread that asks for replies is one of them.
        self._pool = ThreadPoolExecutor(workers - 1) if workers > 1 else None
        if self._pool is not None:
            weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        self._contexts: dict[int, Context] = {}
        self._pushed: dict[str, Message] = {}
        self._ids = count(1)
        self._run = FlowerRun.create_empty(1)
        identify()

    @property
    def clients(self) -> Sequence[int]:
        """Node of each client."""
        return range(1, self._num_clients + 1)

    @property
    def run(self) -> FlowerRun:
        """Flower's own description of a run."""
        return self._run

    def set_run(self, run: FlowerRun) -> None:
        """Part of the Grid interface."""
        self._run = run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Part of the Grid interface; Flower now makes messages directly."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes."""
        return range(1, self._num_clients + 1)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Run the messages now; their replies wait to be pulled."""
        replies = list(self.send_and_receive(messages))
        self._pushed |= {reply.metadata.reply_to_message_id: reply for reply in replies}
        return [reply.metadata.reply_to_message_id for reply in replies]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies of earlier pushes, each given once."""
        return [self._pushed.pop(i) for i in message_ids if i in self._pushed]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Run the messages on the workers. Replies come in the order of the messages, each when it
        is asked for: a few more than there are workers exist at a time."""
        messages = list(messages)
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(next(self._ids))
        return self._replies_to(messages)

    def _replies_to(self, messages: list[Message]) -> Iterator[Message]:
        helpers = min(self._workers, len(messages)) - 1
        desk = _Desk(messages, self._deliver, _at_once(messages), 2 * helpers)
        others = [self._pool.submit(desk.work) for _ in range(helpers)] if self._pool else []
        try:
            yield from desk.replies()
        finally:
            desk.close()
            wait(others)

    def _deliver(self, message: Message) -> Message:
        try:
            return self._client_app(message, self._context(message.metadata.dst_node_id))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(code=CLIENT_APP_RAISED, reason=reason), reply_to=message)

    def _context(self, node: int) -> Context:
        if node not in self._contexts:
            self._contexts[node] = Context(
                run_id=1,
                node_id=node,
                node_config={"partition-id": node - 1, "num-partitions": self._num_clients},
                state=RecordDict(),
                run_config={},
            )
        return self._contexts[node]


class _Desk:
    """A cohort's messages, taken in their order by whichever thread is free.

    Args:
        at_once: so many replies are made, if nobody else makes them, before the first is given:
            what is done with several in a row is done from the processor's caches.
        ahead: so many more may be there, or be made, by others.
    """

    def __init__(
        self,
        messages: list[Message],
        deliver: Callable[[Message], Message],
        at_once: int,
        ahead: int,
    ) -> None:
        self._messages, self._deliver = messages, deliver
        self._at_once, self._most = at_once, at_once + ahead
        self._replies: dict[int, Message] = {}
        self._failure: BaseException | None = None
        self._taken = self._given = 0
        self._change = Condition()

    def work(self) -> None:
        """Deliver messages until all are taken; wait where there are replies enough."""
        while (place := self._take(self._most, patient=True)) is not None:
            try:
                self._put(place)
            except BaseException as error:  # an app's own exit, say: it ends the asker, too
                with self._change:
                    self._failure = error
                    self._change.notify_all()
                return

    def replies(self) -> Iterator[Message]:
        """All replies, in order. Who waits for one delivers messages meanwhile."""
        for place in range(len(self._messages)):
            while place not in self._replies:
                while (taken := self._take(self._at_once)) is not None:
                    self._put(taken)
                with self._change:
                    while place not in self._replies and self._failure is None:
                        self._change.wait()
                if self._failure is not None:
                    raise self._failure
            with self._change:
                self._given = place + 1
                self._change.notify_all()
            yield self._replies.pop(place)

    def close(self) -> None:
        """Let nobody take another message."""
        with self._change:
            self._taken = len(self._messages)
            self._change.notify_all()

    def _take(self, most: int, patient: bool = False) -> int | None:
        """The next message's place, if there is one, and no more than `most` replies wait."""
        with self._change:
            while patient and self._taken - self._given >= most and not self._all_taken:
                self._change.wait()
            if self._all_taken or self._taken - self._given >= most:
                return None
            self._taken += 1
            return self._taken - 1

    @property
    def _all_taken(self) -> bool:
        return self._taken == len(self._messages)

    def _put(self, place: int) -> None:
        reply = self._deliver(self._messages[place])
        with self._change:
            self._replies[place] = reply
            self._change.notify_all()


def _at_once(messages: list[Message]) -> int:
    """How many replies to such messages may wait: a few where they are small, else one."""
    if not messages or not messages[0].has_content():
        return 1
    records = messages[0].content.values()
    size = sum(size_bytes(one) for one in records if isinstance(one, ArrayRecord))
    return min(AT_ONCE, max(1, AT_ONCE_BYTES // max(1, size)))


class Cohort(Grid):
    """A grid in which only this round's cohort is there, so that any strategy takes just them."""

    def __init__(self, grid: Grid, clients: dict[int, int]) -> None:
        self.grid, self.clients = grid, clients

    def get_node_ids(self) -> Iterable[int]:
        """Nodes of the cohort."""
        return list(self.clients)

    def in_order(self, replies: Iterable[Message]) -> Iterable[Message]:
        """Replies in the order of the clients, which is that of their messages."""
        if isinstance(self.grid, CohortGrid):
            return replies
        return sorted(replies, key=lambda reply: self.clients[reply.metadata.src_node_id])

    @property
    def run(self) -> FlowerRun:
        return self.grid.run

    def set_run(self, run: FlowerRun) -> None:
        self.grid.set_run(run)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return self.grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """As the grid does; an answer that a SuperLink gives for a node counts as that node's."""
        messages = list(messages)
        for reply in self.grid.send_and_receive(messages, timeout=timeout):
            if reply.metadata.src_node_id not in self.clients:
                asked = {m.metadata.message_id: m.metadata.dst_node_id for m in messages}
                node = asked.get(reply.metadata.reply_to_message_id)
                if node is None:
                    continue
                reply.metadata.__dict__["_src_node_id"] = node
            yield reply
