"""The rounds: Flower's strategy aggregates, and each round becomes a RoundRecord in the run.

Flower's own `Strategy.start` cannot begin at a later round, show who failed, or choose clients
reproducibly; its `configure_train` and `aggregate_train` do the work here all the same.
"""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from clients.data.sets import load
from clients.node.replies import REFUSED
from clients.node.secure import task_of
from clients.seeds import derive
from clients.training.arrays import MOST_WEIGHT, held, is_within
from clients.training.net import frozen
from clients.training.pruning import zeros_of
from privacy.dp.clipping.split import after
from privacy.dp.ledger import Ledger
from privacy.dp.noise import SEEDED
from privacy.errors import FederationFailed
from server.experiment.experiment import Experiment
from server.experiment.secrecy import terms_of
from server.federation.aggregation import (
    Expected,
    Gathered,
    Gathering,
    Released,
    Update,
    gather,
)
from server.federation.grid import Cohort, CohortGrid, Nodes
from server.federation.groups import Sums
from server.federation.pruned import MASKS, masks_of, prune, spared_of
from server.federation.spending import Spending
from server.federation.strategies import bounded, build_strategy, configure, memory, remember
from server.federation.writing import Writing
from server.run.directory import Run, Weights
from server.run.divergence import all_diverged, stop
from server.run.draws import Draws
from server.run.figures import Score
from server.run.merit import NAME, merit_of
from server.run.rounds import ClientRecord, Observe, RoundRecord
from server.run.spikes import spikes_of
from server.run.summary import SPIKES

log = logging.getLogger("privet")

Evaluate = Callable[[Weights], Score]


def federate(run: Run, grid: Grid, nodes: Nodes, evaluate: Evaluate, observe: Observe) -> None:
    """Run what is left of a run's rounds, one after another.

    Args:
        grid: reaches the clients: in this process, on Ray, or through a SuperLink.
        nodes: the grid's node of each client.
        evaluate: global weights on the test set.
        observe: told of each round when it is safely on disk.

    Raises:
        FederationFailed: a round in which no client succeeded.
        RunError: the run is damaged, or written by another process.
    """
    with run.locked():
        done = run.rounds

        def tell(record: RoundRecord) -> None:
            log.info("round %d: %s", record.round, describe(record))
            observe(record)

        with Writing(run, tell, may_wait=_comes_again(run.experiment, grid)) as writing:
            rounds = _Rounds(run, grid, nodes, evaluate, done, writing)
            for number in range(len(done) + 1, run.experiment.federation.rounds + 1):
                rounds.next(number)


def _comes_again(experiment: Experiment, grid: Grid) -> bool:
    """Is a round that was lost the same when it is done again, and has nothing of it left?"""
    seeded = experiment.budget.unit == "none" or experiment.training.noise == SEEDED
    in_the_clear = experiment.federation.secure_aggregation == "none"
    return isinstance(grid, CohortGrid) and seeded and in_the_clear


def describe(record: RoundRecord) -> str:
    """One line on a round, for people."""
    failed = [c for c in record.clients if c.failure]
    parts = [f"{len(record.clients) - len(failed)} clients"]
    if failed:
        parts.append(f"{len(failed)} failed (client {failed[0].client}: {failed[0].failure})")
    if record.accuracy is not None:
        parts.append(f"accuracy {record.accuracy:.2%}")
    if record.epsilon is not None:
        parts.append(f"epsilon {record.epsilon:.3f}")
    if record.clipping:
        parts.append(f"clip {record.clipping['clip']:.3g}")
    return ", ".join(parts)


class _Rounds:
    """The state that lives from round to round; all of it is read back from the run."""

    def __init__(
        self,
        run: Run,
        grid: Grid,
        nodes: Nodes,
        evaluate: Evaluate,
        done: list[RoundRecord],
        writing: Writing,
    ) -> None:
        self.writing = writing
        self.run, self.grid, self.nodes, self.evaluate = run, grid, nodes, evaluate
        self.experiment: Experiment = run.experiment
        self.spending = Spending(run.experiment, done, Draws(run.path))
        self.resumed = bool(self.spending.ledgers)  # before the first round, too, if one was lost
        self.weights = run.weights(len(done))
        self.strategy = build_strategy(
            self.experiment.strategy, self.experiment.training.learning_rate
        )
        remember(self.strategy, run.strategy_state(len(done)))
        self.job = self.experiment.message
        self.budget = self.experiment.budget  # with the clip of the next round
        if done and done[-1].clipping:
            self.budget = after(self.budget, **done[-1].clipping)
        form = load(self.experiment.data).form
        self.frozen = frozen(self.experiment.model, form, self.experiment.arithmetic)
        self.spared = spared_of(self.experiment)

    def next(self, number: int) -> RoundRecord:
        """Train, aggregate, evaluate and record round `number`."""
        started = time.perf_counter()
        experiment = self.experiment
        arrays = held(self.weights)
        learning_rate = experiment.learning_rate(number)
        config = ConfigRecord({"job": self.job, "learning-rate": learning_rate})
        config["run"], config["plan"] = self.run.identity, experiment.plan
        chosen = experiment.cohorts[number - 1]
        left_out = {c: self.spending.left_out(c) for c in chosen if not self.spending.affords(c)}
        clients = [c for c in chosen if c not in left_out]
        if not clients:
            raise FederationFailed(f"round {number}: {left_out[chosen[0]].failure}")
        cohort = Cohort(self.grid, {self.nodes[c]: c for c in clients})

        messages = configure(self.strategy, number, arrays, config, cohort)
        messages = sorted(messages, key=lambda m: cohort.clients[m.metadata.dst_node_id])
        if self.resumed:
            messages = [self._with_ledger(m, cohort) for m in messages]
        if experiment.budget.unit == "record" or experiment.shares_noise:
            self.spending.note_draw(number, clients)
        seen: dict[str, Any] = {}
        if experiment.federation.secure_aggregation == "none":
            replies = cohort.send_and_receive(messages, timeout=experiment.federation.timeout_s)
            entries, gathered = self._admit(number, replies, cohort)
        else:
            entries, gathered, seen = self._add_up(number, messages, cohort)
        if isinstance(gathered, Released):
            self.spending.note_draw(number, [c for c, e in entries.items() if not e.failure])
        entries |= left_out
        aggregated = gathered.aggregate(number) if gathered.num_updates else None
        if aggregated is None and all_diverged(entries.values()):
            raise self._stop(number, f"no client's weights are within {MOST_WEIGHT:g}")
        if aggregated is None:
            reasons = "; ".join(sorted({e.failure or "not aggregated" for e in entries.values()}))
            raise FederationFailed(f"round {number}: no client succeeded: {reasons}")
        before = self.weights
        self.weights = {
            name: old if name in self.frozen else aggregated[name].numpy().astype(old.dtype)
            for name, old in self.weights.items()
        }
        self.weights = prune(experiment, self.weights, before, number, self.spared)
        if not all(is_within(array) for array in self.weights.values()):
            raise self._stop(number, f"weights are not finite, or beyond {MOST_WEIGHT:g}")
        record = RoundRecord(
            round=number,
            learning_rate=learning_rate,
            seconds=0.0,
            clients=list(entries.values()),
            epsilon=self.spending.epsilon(entries),
            secure=seen,
        )
        if isinstance(gathered, Released) and gathered.share is not None:
            record.clipping = {"clip": self.budget.clip, "share": gathered.share}
            self.budget = gathered.next_budget
        federation = experiment.federation
        last = number == federation.rounds
        if last:  # what is written of the end is written after all rounds before it
            self.writing.settle()
        if experiment.pruning.final:
            record.zeros = zeros_of(self.weights)
            if last:
                self.run.keep_bytes(MASKS, masks_of(self.weights, experiment.pruning))
        if last or number % federation.evaluate_every == 0:
            score = self.evaluate(self.weights)
            record.loss, record.accuracy = score.loss, score.accuracy
            record.figures = score.figures
            if last and score.answers:
                data = experiment.data
                self.run.keep(NAME, merit_of(score.answers, load(data), data, number))
                if found := spikes_of(experiment, self.weights):
                    self.run.keep(SPIKES, found)
        if last and federation.client_evaluation:
            record.client_metrics = self._evaluate_on_clients(number, config)
        record.seconds = time.perf_counter() - started
        self.writing.put(record, self.weights, memory(self.strategy))
        if last:
            self.writing.settle()
            self.run.save_ledgers(self.spending.ledgers)
        return record

    def _stop(self, number: int, what: str) -> FederationFailed:
        self.writing.settle()
        return stop(self.run, number, what)

    def _with_ledger(self, message: Message, cohort: Cohort) -> Message:
        """Tell a simulated device, whose memory went with the process, what it has spent."""
        client = cohort.clients[message.metadata.dst_node_id]
        if client not in self.spending.ledgers:
            return message
        config = ConfigRecord(dict(message.content.config_records["config"]))
        config["ledger"] = self.spending.of(client).to_json()
        content = RecordDict({**message.content, "config": config})
        return Message(content, message.metadata.dst_node_id, message.metadata.message_type)

    def _admit(
        self, number: int, replies: Iterable[Message], cohort: Cohort
    ) -> tuple[dict[int, ClientRecord], Gathering]:
        """A record for each client of the cohort, and what may be aggregated."""
        entries = {c: ClientRecord(c, failure="no reply in time") for c in cohort.clients.values()}
        planned = self.experiment.federation.cohort_size
        job = self.experiment.job.model_copy(update={"budget": self.budget})
        gathered = gather(self.strategy, self.weights, job, planned)
        expected = Expected(self.weights, job.compression, job.pruning)
        for reply in cohort.in_order(replies):
            client = cohort.clients[reply.metadata.src_node_id]
            entry = entries[client]
            try:
                update = expected.unpack(reply)
            except ValueError as fault:
                entry.failure = str(fault)
                entry.refused = reply.has_error() and reply.error.code == REFUSED
                continue
            entry.failure = None
            entry.num_examples, entry.upload_bytes = update.num_examples, update.size_bytes
            if self.experiment.record.updates:
                self.run.save_update(number, client, dict(update.weights))
            if (bound := self.experiment.strategy.norm_bound) is not None:
                update = update._replace(weights=bounded(update.weights, self.weights, bound))
            gathered.add(update)
            self.spending.take_over(client, update.ledger)
        self._close(entries)
        return entries, gathered

    def _add_up(
        self, number: int, messages: list[Message], cohort: Cohort
    ) -> tuple[dict[int, ClientRecord], Gathering, dict[str, Any]]:
        """As `_admit`, where the server sees the survivors' sums alone: of each sum, its mean."""
        nodes = {client: node for node, client in cohort.clients.items()}
        experiment = self.experiment
        length = sum(array.size for array in self.weights.values())
        task = task_of(messages[0].content)
        terms = partial(terms_of, experiment, self.run.path.name, number, length, task)
        see = partial(self.run.save_update, number) if experiment.record.masked else None
        sums = Sums(self.grid, nodes, terms, experiment.federation.timeout_s, see)
        seed = derive(experiment.seed, "sums", number)
        summed = sums.run(messages, self.weights, experiment.secure, seed)
        entries = {}
        for client in sorted(nodes):
            failure, refused = summed.failures.get(client, (None, False))
            if client in summed.ledgers:
                self.spending.take_over(client, Ledger.from_json(summed.ledgers[client]))
            upload_bytes = summed.up_bytes.get(client, 0)
            entries[client] = ClientRecord(
                client, upload_bytes=upload_bytes, failure=failure, refused=refused
            )
        self._close(entries)
        gathered = Gathered(self.strategy)
        for mean, examples in summed.means:
            if (bound := experiment.strategy.norm_bound) is not None:
                mean = bounded(mean, self.weights, bound)
            # a liar names its group's weight too: of groups each counts the same
            counted = examples if experiment.secure.groups == 1 else 1
            metrics = MetricRecord({"num-examples": counted})
            gathered.add(Update(mean, counted, metrics, Ledger(), 0))
        assert summed.seen
        return entries, gathered, summed.seen.to_dict()

    def _close(self, entries: dict[int, ClientRecord]) -> None:
        """What all data of the cohort have spent by now, the failed clients' included."""
        self._ask_the_failed([c for c, e in entries.items() if e.failure])
        for client, entry in entries.items():
            entry.ledger = self.spending.of(client).to_json()

    def _ask_the_failed(self, clients: list[int]) -> None:
        """A client that failed may have spent some steps: ask; assume all of them if it is mute."""
        if self.experiment.budget.unit != "record" or not clients:
            return
        answers = {}
        asked = RecordDict({"asked": ConfigRecord({"run": self.run.identity})})
        messages = [Message(asked, self.nodes[client], "query") for client in clients]
        patience_s = min(60.0, self.experiment.federation.timeout_s)
        for reply in self.grid.send_and_receive(messages, timeout=patience_s):
            if not reply.has_error():
                about = reply.content.config_records["about"]
                answers[reply.metadata.src_node_id] = Ledger.from_json(str(about["ledger"]))
        for client in clients:
            self.spending.assume(client, answers.get(self.nodes[client]))

    def _evaluate_on_clients(self, number: int, config: ConfigRecord) -> dict[str, float]:
        messages = self.strategy.configure_evaluate(number, held(self.weights), config, self.grid)
        replies = self.grid.send_and_receive(messages, timeout=self.experiment.federation.timeout_s)
        told = [reply for reply in replies if reply.has_error() or _tells(reply)]
        metrics = self.strategy.aggregate_evaluate(number, told)  # which divides by their number
        return {k: float(v) for k, v in (metrics or {}).items() if isinstance(v, float)}


def _tells(reply: Message) -> bool:
    """Is it of any record? A client may hold none out."""
    told = [metrics.get("num-examples") for metrics in reply.content.metric_records.values()]
    return told != [0]
