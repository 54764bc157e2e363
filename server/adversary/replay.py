"""Run -> Tape: what an adversary holds of a finished run, and the run's own code to train shadows.

The one place that knows both the devices' training and the attacks, which do not know each other.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.tape import Bools, Recipe, Tape
from clients.data.partitions import partition
from clients.data.sets import load
from clients.models import front_of
from clients.node.app import identify, load_net
from clients.training.gpu import where_there_is_one
from clients.training.job import Job
from clients.training.net import build
from clients.training.records import Records, records
from clients.training.smaller.cutting import cut
from clients.training.train import Round, train
from privacy.dp.ledger import Ledger
from privacy.errors import Interrupted, RunError
from server.adversary.archive import Archive
from server.adversary.pools import held_whole, nature_of, persons_of, sample_of
from server.adversary.signature import shares_of, signature
from server.experiment.experiment import Experiment
from server.experiment.lessons import Learnt
from server.federation.aggregation import Released, Update, gather
from server.federation.grid import Cohort, CohortGrid
from server.federation.pruned import prune, spared_of
from server.federation.strategies import bounded, build_strategy, configure
from server.run.directory import Run, Weights
from server.run.origin import trained_as


def replay(run: Run) -> Tape:
    """A finished run as a tape.

    Raises:
        RunError: not finished, or of other data than are here.
    """
    experiment, done = run.experiment, run.rounds
    if isinstance(experiment, Learnt):
        raise RunError(
            f"{run.path}: was learnt on encrypted records: there is no federation to be replayed; "
            "attack its model, with records that you name: privet attack model FILE"
        )
    trained_by = trained_as(run.path, experiment)
    if len(done) < experiment.federation.rounds:
        raise RunError(
            f"{run.path}: {len(done)} of {experiment.federation.rounds} rounds are done; go on "
            f"with: privet resume {run.path.name}"
        )
    run.require_same_data()
    dataset, manifest = load(experiment.data), run.manifest
    training, test = records(experiment.data, experiment.model)
    at = np.flatnonzero(manifest.owner >= 0)  # numpy takes a tensor of one number for a number
    pool, owner, held_out = torch.from_numpy(at), manifest.owner[at], manifest.held_out[at]
    trained = {c.client for r in done for c in r.clients if not c.failure}
    everything, fresh = torch.arange(len(test)), builder(experiment)
    kept = Archive(run, fresh(0))
    front = front_of(experiment.model, dataset.form)
    person, reference_person = persons_of(dataset, at)
    whole = held_whole(person, held_out)
    return Tape(
        pool=sample_of(training, pool, dataset, dataset.train_x),
        owner=owner,
        shares=shares_of(experiment, owner),
        member=~held_out & np.isin(owner, sorted(trained)),
        reference=sample_of(test, everything, dataset, dataset.test_x),
        nature=nature_of(dataset),
        front=front and front.apply,
        person=person,
        reference_person=reference_person,
        whole=whole,
        num_classes=dataset.num_classes,
        build=fresh,
        weights=kept.weights,
        update=kept.update if experiment.record.updates or experiment.record.masked else None,
        sums_only=experiment.federation.secure_aggregation != "none",
        released=frozenset((r.round, c.client) for r in done for c in r.clients if not c.failure),
        recipe=recipe(trained_by),
        fit=_Fit(run.path, pool.numpy()),
        signature=signature(experiment, owner, dataset.sha256, whole, trained_by),
        epsilon=done[-1].epsilon,
        delta=experiment.budget.delta,
    )


def builder(experiment: Experiment) -> Callable[[int], nn.Module]:
    """Fresh models of an experiment, from seeds."""
    dataset = load(experiment.data)

    def fresh(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(experiment.model, dataset.form, experiment.arithmetic, experiment.pruning)

    return fresh


def recipe(experiment: Experiment) -> Recipe:
    """How the run trains, in the adversary's words."""
    strategy, budget, federation = experiment.strategy, experiment.budget, experiment.federation
    training = experiment.training
    return Recipe(
        cohorts=experiment.cohorts,
        local_steps=training.local_steps,
        sample_rate=training.sample_rate,
        momentum=training.momentum,
        learning_rates=[experiment.learning_rate(i + 1) for i in range(federation.rounds)],
        noise_multiplier=budget.noise_multiplier if budget.unit == "record" else None,
        clip=budget.clip,
        gradient_norm=training.gradient_norm,
        server_momentum=strategy.server_momentum or 0.0,
        server_learning_rate=strategy.server_learning_rate or 1.0,
        plain=strategy.name in ("fedavg", "fedavgm")
        and budget.unit != "client"
        and training.optimizer == "sgd"
        and not training.distortion
        and not experiment.pruning.final
        and not experiment.supernet.trains,
    )


# ---- the run's own code, on other records


class _Fit:
    """`Tape.fit`: train shadows by the run's own code, one thread a core, as its clients were.

    Flower's central DP draws from numpy's one generator: there, a process a core.
    """

    def __init__(self, path: Path, pool: NDArray) -> None:
        self._path, self._pool = path, pool

    def __call__(
        self, member: Bools, seeds: Sequence[int], rounds: Sequence[int]
    ) -> list[list[Weights]]:
        run = Run.open(self._path)
        experiment = trained_as(run.path, run.experiment)
        fresh = builder(experiment)  # here, one after another: torch has one generator
        states = ({k: v.numpy() for k, v in fresh(seed).state_dict().items()} for seed in seeds)
        tasks = [
            (str(self._path), self._pool[row], start, seed, list(rounds))
            for row, start, seed in zip(member, states, seeds, strict=True)
        ]
        workers = min(os.cpu_count() or 1, len(tasks))
        if experiment.budget.unit == "client":
            with get_context("spawn").Pool(workers, _leave_interrupts) as processes:
                return processes.starmap(fit_one, tasks)  # which leaving ends, done or not
        stop = Event()
        pool = ThreadPoolExecutor(workers)
        try:
            return list(pool.map(fit_one, *zip(*tasks, strict=True), repeat(stop)))
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True, eq=False)
class _Stoppable(Records):
    """Records that are read until it is said to stop: each step asks for some."""

    stop: Event | None = None

    def inputs(self, indices: Tensor) -> Tensor:
        """As of any records.

        Raises:
            Interrupted: it was said to stop.
        """
        if self.stop and self.stop.is_set():
            raise Interrupted("stopped")
        return super().inputs(indices)


def fit_one(
    path: str,
    chosen: NDArray,
    start: Weights,
    seed: int,
    rounds: list[int],
    stop: Event | None = None,
) -> list[Weights]:
    """Weights after each of `rounds` of the run at `path`, trained on the records `chosen`."""
    torch.set_num_threads(1)
    run = Run.open(path)
    experiment = trained_as(run.path, run.experiment)
    in_it = np.zeros(len(load(experiment.data).train_y), dtype=bool)
    in_it[chosen] = True
    split = partition(experiment.data, experiment.federation.clients, _split_seed(experiment))
    whole, _ = records(experiment.data, experiment.model)
    training = _Stoppable(whole.x, whole.y, whole.encoding, stop)
    job = where_there_is_one(experiment.job).model_copy(update={"seed": seed})
    job = job.model_copy(
        update={
            "budget": job.budget.model_copy(update={"epsilon": None}),
            # A shadow has other records, and not as many: its own number keeps its steps as long.
            "data": job.data.model_copy(update={"nominal_records": 0}),
        }
    )
    app = ClientApp()

    @app.train()
    def train_shadow(message: Message, context: Context) -> Message:
        client, _ = identify(context)
        mine = torch.from_numpy(np.flatnonzero((split.owner == client) & in_it))
        return train_as_asked(message, job, client, training, mine)

    seen = dict(simulate(experiment, app, start, seed))
    return [_as_in(run, experiment, seen[number]) for number in rounds]


def _as_in(run: Run, trained: Experiment, weights: Weights) -> Weights:
    """Weights of the net that a run has, out of those of the net that was trained."""
    if trained is run.experiment:
        return weights
    return cut(weights, builder(trained)(0), builder(run.experiment)(0))


def _split_seed(experiment: Experiment) -> int:
    return experiment.seed if experiment.data.limit else 0


def train_as_asked(
    message: Message, job: Job, client: int, training: Records, mine: Tensor
) -> Message:
    """A client's round, as `clients.node.app` does it, on records of the caller's choice."""
    config: dict[str, Any] = dict(message.content.config_records["config"])
    net = load_net(job, job.data, message.content.array_records["arrays"])
    round_ = Round(
        number=int(config["server-round"]),
        client=client,
        learning_rate=float(config["learning-rate"]),
        proximal=float(config.get("proximal-mu", 0.0)),
        plan=str(config.get("plan", "")),
    )
    loss = train(net, training, mine, job, round_, Ledger())
    return reply(message, net.module, len(mine), loss or 0.0)


def reply(message: Message, model: nn.Module, num_examples: int, loss: float = 0.0) -> Message:
    """What a client sends back."""
    content = RecordDict(
        {
            "arrays": ArrayRecord(model.state_dict()),
            "metrics": MetricRecord({"num-examples": num_examples, "train_loss": loss}),
        }
    )
    return Message(content, reply_to=message)


def simulate(
    experiment: Experiment, app: ClientApp, start: Weights, seed: int
) -> Iterator[tuple[int, Weights]]:
    """The run's federation, with its own strategy and any clients: each round's global weights."""
    logging.getLogger("flwr").setLevel(logging.ERROR)  # it is not the run that is being logged
    grid = CohortGrid(app, experiment.federation.clients, workers=1)
    strategy = build_strategy(experiment.strategy, experiment.training.learning_rate)
    seeded = experiment.training.model_copy(update={"noise": "seeded"})
    job = experiment.job.model_copy(
        update={"budget": experiment.budget_of_sum, "training": seeded, "seed": seed}
    )
    spared = spared_of(experiment)
    weights = prune(experiment, start, start, 0, spared)
    for number, clients in enumerate(experiment.cohorts, start=1):
        arrays = ArrayRecord({name: torch.from_numpy(w) for name, w in weights.items()})
        config = ConfigRecord({"learning-rate": experiment.learning_rate(number)})
        config["plan"] = experiment.plan
        cohort = Cohort(grid, {grid.clients[c]: c for c in clients})
        gathered = gather(strategy, weights, job, len(clients))
        asked = configure(strategy, number, arrays, config, cohort)
        asked = sorted(asked, key=lambda m: cohort.clients[m.metadata.dst_node_id])
        answers = {r.metadata.src_node_id: r for r in grid.send_and_receive(asked)}
        for r in (answers[m.metadata.dst_node_id] for m in asked):  # sums are ordered as in the run
            if r.has_error():
                raise RunError(f"a shadow's client failed: {r.error.reason}")
            after = {k: a.numpy() for k, a in r.content.array_records["arrays"].items()}
            if (bound := experiment.strategy.norm_bound) is not None:
                after = bounded(after, weights, bound)
            metrics = r.content.metric_records["metrics"]
            examples = metrics["num-examples"]
            assert isinstance(examples, int)
            gathered.add(Update(after, examples, metrics, Ledger(), 0))
        aggregated = gathered.aggregate(number)
        assert aggregated is not None
        if isinstance(gathered, Released):
            job = job.model_copy(update={"budget": gathered.next_budget})
        before = weights
        weights = {k: aggregated[k].numpy().astype(w.dtype) for k, w in weights.items()}
        weights = prune(experiment, weights, before, number, spared)
        yield number, weights
