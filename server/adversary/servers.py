"""The server under `unit = "client"` as an auditor's `Device`, with the strategy of the run.

A record of the auditor's is a whole client, whose update is its gradient; one step is a round.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.audit.claim import Asked, Check, Device
from clients.node.app import app
from clients.training.arrays import held
from clients.training.job import Job
from clients.training.losses import LOSSES, Loss
from clients.training.records import Records
from privacy.dp.budget import Budget
from privacy.dp.clipping.split import SHARE
from privacy.dp.ledger import Ledger
from privacy.dp.noise import SECURE
from server.adversary.devices import budget_of
from server.experiment.experiment import Experiment
from server.federation.aggregation import Update, gather
from server.federation.grid import CohortGrid
from server.federation.spending import charge_client
from server.federation.strategies import build_strategy, configure

ROUNDS, CLIENTS = 3, 5  # of a federation that the auditor makes up


class Listening:
    """The run's own strategy, with an ear between the released mean and the strategy's work on it.

    Attributes:
        strategy: its ear is in its place.
        at_work: else it listens, and makes nothing of what it hears.
        heard: what the strategy was given: the arrays of each reply, round by round.
    """

    def __init__(self, experiment: Experiment, *, at_work: bool) -> None:
        self.at_work = at_work
        learning_rate = experiment.training.learning_rate
        self.strategy: flower.Strategy = build_strategy(experiment.strategy, learning_rate)
        self._grid = CohortGrid(app, 1, 1)  # whom nobody asks
        self._work = self.strategy.aggregate_train
        self.strategy.aggregate_train = self._listen  # type: ignore[method-assign]
        self.heard: list[list[ArrayRecord]] = []

    def begin(self, number: int, weights: dict[str, NDArray]) -> None:
        """Go on from these weights, as a round does."""
        configure(self.strategy, number, held(weights), ConfigRecord({}), self._grid)

    def _listen(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        self.heard.append([r.content.array_records["arrays"] for r in replies])
        return self._work(server_round, replies) if self.at_work else (None, None)


def aggregation(experiment: Experiment) -> Device:
    """The server's way from updates to the strategy of the run: what is released is what the
    strategy is given, for whatever it makes of that is post-processing.

    Where clients are counted as well, the sum has more noise than is charged. It is told in units
    in which it has what is charged; in these a client moves it by less than the clip.
    """
    job, unit = experiment.job, share_of_sums(experiment.budget)

    def one_round(model: nn.Module, x: Tensor, y: Tensor, asked: Asked) -> None:
        told = job.model_copy(
            update={
                "seed": asked.seed,
                "budget": job.budget.model_copy(update=budget_of(job, asked)),
                "training": job.training.model_copy(
                    update={"noise": SECURE} if asked.secret else {}
                ),
            }
        )
        number, client = asked.path
        there = [i for i in range(len(x)) if i != asked.without]
        for step in range(asked.steps):
            parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
            before = {n: p.detach().numpy().copy() for n, p in parameters.items()}
            listening = Listening(experiment, at_work=False)
            mine = Records(x[there], y[there])
            sent = updates(model, mine, LOSSES[job.data.task])
            at = number * 100 + client * 10 + step
            released(listening, before, sent, told, at, asked.nominal)
            (mean,) = listening.heard[-1]
            with torch.no_grad():
                for name, p in parameters.items():
                    moved = mean[name].numpy().astype(np.float64) - before[name]
                    p.add_(torch.from_numpy(asked.learning_rate * unit * moved))
            charge_client(asked.ledger, told.budget)

    return one_round


def share_of_sums(budget: Budget) -> float:
    """Noise that is charged, over the noise of a sum: less than 1 where clients are counted too."""
    return math.sqrt(1 - SHARE) if budget.clip_quantile else 1.0


def afterwards(experiment: Experiment, model: nn.Module, seed: int) -> Check:
    """Is all that the server's strategy does a function of the released means alone?

    What comes out of the rounds must be, bit by bit, what another strategy makes of the same means.
    """
    listening = Listening(experiment, at_work=True)
    rng = np.random.default_rng(seed)
    weights = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    means, told, given = 0, [], []
    for number in range(1, ROUNDS + 1):
        sent = [
            {n: w + rng.normal(size=w.shape).astype(w.dtype) for n, w in weights.items()}
            for _ in range(CLIENTS)
        ]
        start = {n: w.copy() for n, w in weights.items()}
        aggregated = released(listening, weights, sent, experiment.job, number)
        assert aggregated is not None
        means += len(listening.heard[-1])
        told.append(aggregated)
        given.append((number, start, listening.heard[-1]))
        weights = {n: aggregated[n].numpy().astype(w.dtype) for n, w in weights.items()}
    other = Listening(experiment, at_work=True)
    same = 0
    for (number, start, heard), aggregated in zip(given, told, strict=True):
        other.begin(number, start)
        made, _ = other.strategy.aggregate_train(number, [_reply(arrays) for arrays in heard])
        assert made is not None
        same += all(np.array_equal(made[n].numpy(), aggregated[n].numpy()) for n in made)
    return Check(
        "after the release",
        means == ROUNDS and same == ROUNDS,
        f"{means} means in {ROUNDS} rounds; {same} of {ROUNDS} are what "
        f"{experiment.strategy.name} makes of them",
        f"{ROUNDS}; all",
        "the strategy sees single updates, or noise is added to what it makes of them: its "
        "learning rate and momentum then amplify what the noise does not cover",
    )


def released(
    listening: Listening,
    before: dict[str, NDArray],
    sent: list[dict[str, NDArray]],
    job: Job,
    number: int,
    planned: int = 0,
) -> ArrayRecord | None:
    """What the server makes of clients' weights, by the code of `server.federation.rounds`."""
    if listening.at_work:
        listening.begin(number, before)
    gathered = gather(listening.strategy, before, job, planned or len(sent))
    for weights in sent:
        gathered.add(Update(weights, 1, MetricRecord({"num-examples": 1}), Ledger(), 0))
    return gathered.aggregate(number)


def updates(model: nn.Module, mine: Records, loss: Loss) -> list[dict[str, NDArray]]:
    """The weights of clients, each of which has one record and takes one step of rate 1."""
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    before = {n: p.detach().numpy() for n, p in parameters.items()}
    sent = []
    for i in torch.arange(len(mine)).split(1):
        x = mine.inputs(i)
        (one,) = loss(model(x), mine.targets(i, x))
        changes = torch.autograd.grad(one, list(parameters.values()))
        sent.append({n: before[n] - g.numpy() for n, g in zip(before, changes, strict=True)})
    return sent


def _reply(arrays: ArrayRecord) -> Message:
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": CLIENTS})})
    return Message(content, dst_node_id=0, message_type="train")
