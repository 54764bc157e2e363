"""The ClientApp: train, evaluate, and say who is here. A genuine Flower app on the Message API.

One message in, one message out. The only state is the device's ledger, kept in Flower's
`context.state`: it is written back whatever happens, so that a round which fails after some steps
has still spent them.
"""

from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from clients.data import load, partition
from clients.job import Job
from clients.models import build
from clients.records import records
from clients.train import Round, evaluate, train
from privacy.errors import BudgetExhausted, PrivetError
from privacy.ledger import Ledger

app = ClientApp()

# Reasons for an error reply, in Flower's Error.code (its own codes are below 100).
FAILED, REFUSED = 101, 102


@app.train()
def train_round(message: Message, context: Context) -> Message:
    """Train from the global weights for one round; reply with weights and ledger."""
    torch.set_num_threads(1)  # sums are then ordered alike in every engine, on every machine
    config: dict[str, Any] = dict(message.content.config_records["config"])
    ledger = read_ledger(context)
    if "ledger" in config:  # a resumed run tells a simulated device what it knew
        ledger.restore(Ledger.from_json(str(config["ledger"])))
    try:
        job = Job.from_json(str(config["job"]))
        model = build_model(job, message.content.array_records["arrays"])
        client, num_clients = identify(context)
        mine = partition(job.data, num_clients, job.seed).members(client)
        round_ = Round(
            number=int(config["server-round"]),
            client=client,
            learning_rate=float(config["learning-rate"]),
            proximal=float(config.get("proximal-mu", 0.0)),
        )
        training, _ = records(job.data, job.model)
        loss = train(model, training, torch.from_numpy(mine), job, round_, ledger)
    except Exception as error:
        code = REFUSED if isinstance(error, BudgetExhausted) else FAILED
        reason = (
            str(error) if isinstance(error, PrivetError) else f"{type(error).__name__}: {error}"
        )
        return Message(Error(code=code, reason=reason), reply_to=message)
    finally:
        context.state["ledger"] = ConfigRecord({"entries": ledger.to_json()})
    metrics = MetricRecord({"num-examples": len(mine)})
    if loss is not None:
        metrics["train_loss"] = loss
    content = RecordDict(
        {
            "arrays": ArrayRecord(model.state_dict()),
            "metrics": metrics,
            "spent": ConfigRecord({"client": client, "ledger": ledger.to_json()}),
        }
    )
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate_round(message: Message, context: Context) -> Message:
    """Evaluate the global weights on the client's own held-out records.

    What it replies is a statistic of private records with no noise on it: the server asks only
    where the experiment says so.
    """
    job = Job.from_json(str(message.content.config_records["config"]["job"]))
    model = build_model(job, message.content.array_records["arrays"])
    client, num_clients = identify(context)
    mine = partition(job.data, num_clients, job.seed).non_members(client)
    training, _ = records(job.data, job.model)
    loss, correct = evaluate(model, training, torch.from_numpy(mine))
    share = 1 / max(len(mine), 1)
    metrics = MetricRecord(
        {"num-examples": len(mine), "loss": loss * share, "accuracy": correct * share}
    )
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Say which client this node is and what its data have spent."""
    client, num_clients = identify(context)
    about = ConfigRecord({"client": client, "of": num_clients})
    about["ledger"] = read_ledger(context).to_json()
    return Message(RecordDict({"about": about}), reply_to=message)


def identify(context: Context) -> tuple[int, int]:
    """This client's number, and how many clients there are."""
    return int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])


def read_ledger(context: Context) -> Ledger:
    """The ledger that this device has kept since the run's first round."""
    if "ledger" not in context.state:
        return Ledger()
    return Ledger.from_json(str(context.state.config_records["ledger"]["entries"]))


def build_model(job: Job, arrays: ArrayRecord) -> nn.Module:
    """The job's model with the global weights in it."""
    dataset = load(job.data)
    model = build(job.model, dataset.shape, dataset.num_classes)
    state: dict[str, Tensor] = arrays.to_torch_state_dict()
    model.load_state_dict(state)
    return model
