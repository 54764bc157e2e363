"""The ClientApp: train, evaluate, and say who is here. A genuine Flower app on the Message API.

One message in, one message out. A simulated device keeps its ledger in Flower's `context.state`:
it is written back whatever happens, so that a round which fails after some steps has still spent
them. A device with its own records keeps it in a file (clients.node.holder). Within a round the
state also holds its secrets in a secure sum (clients.node.secure).
"""

import threading
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.data.partitions import Partition, partition
from clients.data.sets import load
from clients.data.settings import Data
from clients.draws import round_key
from clients.models.weights import recall
from clients.node import secure
from clients.node.holder import Holder
from clients.node.replies import Handler, answered
from clients.node.request import Request, read_weights, rehearse, require_fit
from clients.training.arrays import filled, held_flat, record_of, values_of
from clients.training.compression import Weights
from clients.training.flat import Start
from clients.training.job import Job
from clients.training.net import Net, build
from clients.training.records import Records, records
from clients.training.train import Round, evaluate, net_of, nominal_records, train
from privacy.dp.ledger import Ledger
from privacy.dp.noise import SEEDED
from privacy.errors import DataError

app = ClientApp()


class _Thread(threading.local):
    """What a thread that trains one client after another need not make anew."""

    key: object = None
    net: Net
    arrays: ArrayRecord | None = None
    start: Start  # the same
    cohort: tuple[Job, int] | None = None
    training: Records
    parts: Partition


_mine = _Thread()


@app.train()
@answered
def train_round(message: Message, context: Context) -> Message:
    """Train from the global weights for one round; reply with weights and ledger."""
    if torch.get_num_threads() != 1:  # sums are ordered alike in every engine, on every machine
        torch.set_num_threads(1)
    config: dict[str, Any] = values_of(record_of(message.content, "config", ConfigRecord))
    ledger = read_ledger(context)
    try:
        if "ledger" in config:  # a resumed run tells a simulated device what it knew
            ledger.restore(Ledger.from_json(str(config["ledger"])))
        client, num_clients = identify(context)
        place = secure.Place.of(context)
        in_sum = secure.require_sum(message.content, context.state, place)
        request, job = Request.of(config), Job.from_json(str(config["job"]))
        arrays = record_of(message.content, "arrays", ArrayRecord)
        holder, round_ = Holder.of(context), request.round(client)
        if holder:
            holder.require_promise(job, in_sum)
        elif in_sum and job.training.noise == SEEDED:
            ledger = secure.ledger_before(context.state, message.content, ledger)
        data, net = prepare(job, holder, arrays)
        if holder:
            training, _ = records(data, job.model)
            rehearse(net, job, round_, training, holder.told.form(job.data).outputs)
            net.load(_mine.start.state)
            mine, own = np.arange(len(training)), holder.told.records
            if holder.board:
                form = holder.told.form(job.data)
                holder.board.require(job, round_, net, form, training)
        else:
            training, parts = _of_cohort(job, num_clients)
            mine = parts.members(client)
            own = len(mine)
        told = nominal_records(job, own)

        def work(spent: Ledger) -> float | None:
            return train(net, training, torch.from_numpy(mine), job, round_, spent)

        if holder and job.budget.unit == "record":
            loss, board = None, holder.board
            there = board.training(holder.journal, training, net, job) if board else None
            ledger = holder.once(request.run, arrays, job, round_, net, there or nullcontext(work))
        else:
            if holder and in_sum and job.budget.unit == "client":
                digest = secure.digest_of(message.content)
                ledger = holder.charge_share(request.run, job, digest)
            loss = work(ledger)
        if in_sum:
            before = _mine.start.arrays
            content = secure.conceal(
                message.content, context.state, place, job, before, net.arrays(), told
            )
        else:
            sent = _sent(job, net, _mine.start.arrays, round_)
            measured = {"num-examples": told} | ({} if loss is None else {"train_loss": loss})
            metrics = filled(MetricRecord(), measured)
            content = filled(RecordDict(), {"arrays": sent, "metrics": metrics})
    finally:
        spent = ledger.to_json()
        filled(context.state, {"ledger": filled(ConfigRecord(), {"entries": spent})})
    told_spent = filled(ConfigRecord(), {"client": client, "ledger": spent})
    filled(content, {"spent": told_spent})
    return Message(content, reply_to=message)


def _sent(job: Job, net: Net, before: Weights, round_: Round) -> ArrayRecord:
    """What leaves of a net that was trained, where it is in no sum."""
    if net.layout is not None and job.compression.bits == 32 and not job.pruning.final:
        return held_flat(net.flat(), net.layout)
    key = round_key(job.seed, "compression", round_.number, round_.client)
    after = job.pruning.squeeze(net.arrays(), before)
    return job.compression.pack(job.pruning.squeeze(before, before), after, key)


@app.evaluate()
@answered
def evaluate_round(message: Message, context: Context) -> Message:
    """Evaluate the global weights on the client's own held-out records.

    What it replies is a statistic of private records with no noise on it: the server asks only
    where the experiment says so, and a device with its own records answers only where its owner
    does.
    """
    job = Job.from_json(str(message.content.config_records["config"]["job"]))
    client, num_clients = identify(context)
    if holder := Holder.of(context):
        holder.refuse_statistics()
    data, net = prepare(job, holder, message.content.array_records["arrays"])
    training, test = records(data, job.model)
    if holder:
        own, mine = test, np.arange(len(test))
    else:
        own, mine = training, partition(data, num_clients, job.seed).non_members(client)
    loss, correct = evaluate(net, own, torch.from_numpy(mine), job.data.task)
    share = 1 / max(len(mine), 1)
    metrics = MetricRecord({"num-examples": len(mine), "loss": loss * share})
    if job.data.task == "classes":
        metrics["accuracy"] = correct * share
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@app.query()
@answered
def introduce(message: Message, context: Context) -> Message:
    """Say which client this node is and what its data have spent in the run that asks."""
    client, num_clients = identify(context)
    about = ConfigRecord({"client": client, "of": num_clients})
    ledger = read_ledger(context)
    asked = message.content.config_records.get("asked")
    if asked and (holder := Holder.of(context)):
        ledger = holder.journal.spent_in(str(asked["run"]))
    about["ledger"] = ledger.to_json()
    return Message(RecordDict({"about": about}), reply_to=message)


def answer_phase(step: secure.Phase) -> Handler:
    """A phase of a secure sum, as a handler of messages."""

    def answer(message: Message, context: Context) -> Message:
        told = step(message.content, context.state, secure.Place.of(context))
        return Message(RecordDict({secure.SUM: ConfigRecord(dict(told))}), reply_to=message)

    return answered(answer)


for _name, _step in secure.PHASES.items():
    app.query(_name)(answer_phase(_step))


def _of_cohort(job: Job, num_clients: int) -> tuple[Records, Partition]:
    """A simulated device's data set, and who holds what of it: found once by a thread."""
    known = _mine.cohort
    if known is None or known[0] is not job or known[1] != num_clients:
        _mine.training, _ = records(job.data, job.model)
        _mine.parts = partition(job.data, num_clients, job.seed)
        _mine.cohort = job, num_clients
    return _mine.training, _mine.parts


def identify(context: Context) -> tuple[int, int]:
    """This client's number, and how many clients there are."""
    return int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])


def read_ledger(context: Context) -> Ledger:
    """The ledger that this device has kept since the run's first round."""
    if "ledger" not in context.state:
        return Ledger()
    return Ledger.from_json(str(record_of(context.state, "ledger", ConfigRecord)["entries"]))


def prepare(job: Job, holder: Holder | None, arrays: ArrayRecord) -> tuple[Data, Net]:
    """Where this device's records are, and the job's model with the global weights in it.

    All that can be wrong with a job on records of their owner's schema is found before one is read.

    Raises:
        BudgetExhausted: the model is in a file that the owner did not name.
        DataError: there are no records, or others than were told of.
        ModelError, SettingsError: the model and its weights do not fit each other, or the records.
    """
    recall(job.model.weights_sha256)
    if holder is None:
        if job.data.partition == "nodes":
            raise DataError("this node has no data: start it with privet node --data PATH")
        return job.data, load_net(job, job.data, arrays)
    holder.admit(job.model)
    holder.told.require(job.data)
    data = holder.told.source(job.data)
    require_fit(job, holder.told.form(job.data), arrays)
    holder.told.load(job.data)
    return data, load_net(job, data, arrays)


def load_net(job: Job, data: Data, arrays: ArrayRecord) -> Net:
    """The job's model with the global weights in it; the thread's own.

    Raises:
        SettingsError: the weights are not the model's, or no numbers that a device computes with.
    """
    how = (job.training.per_sample, job.training.device)
    key = (data, job.model, job.arithmetic, job.pruning, job.supernet, how)
    if _mine.key != key:
        dataset = load(data)
        training, _ = records(data, job.model)
        model = build(job.model, dataset.form, job.arithmetic, job.pruning)
        _mine.net, _mine.key = net_of(model, training, job, dataset.form), key
        _mine.arrays = None
    if _mine.arrays is not arrays:  # the in-process grid hands the same record to a whole cohort
        _mine.start, _mine.arrays = Start(read_weights(arrays, _mine.net.state())), arrays
    _mine.net.start(_mine.start)
    return _mine.net
