"""The node's own process before the auditor: a job comes as a message, and a reply leaves.

The very job of the run, in Flower's envelope, to the shipped ClientApp: as a simulated client, and
as a device with records and a ledger of its own. Its records are the auditor's, and teach the
weights that it is sent nothing (see `attacks.audit.lessons`): what comes back is noise.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from numpy.typing import NDArray
from scipy.stats import chi2, kstest
from torch import nn

from attacks.audit.claim import LEVEL, NOWHERE, Check, NotApplicable, amplification
from attacks.audit.lessons import is_certain, reach, silenced
from clients.arithmetic.local import LocalLayer
from clients.data.sets import load
from clients.data.settings import Data
from clients.data.sources.drawn import draw_records
from clients.data.told import pictures, source
from clients.models import Model
from clients.models.sources import is_own
from clients.node.app import app
from clients.training.arrays import held
from clients.training.job import Job
from clients.training.losses import LOSSES
from clients.training.records import records
from privacy.dp.ledger import Ledger, Spent
from privacy.files import write_atomically
from server.adversary.replay import builder
from server.experiment.experiment import Experiment
from server.experiment.loading import MODEL
from server.federation.grid import identify
from server.federation.pruned import prune, spared_of
from server.run.origin import keep_model

RECORDS, NOMINAL = 16, 20  # on the auditor's device, and said to be on it
ROUNDS = 3  # asked of each
SMALL = 0.05  # deviation of the noise on the weights, at most
MOST_DEVIATES = 50_000  # whose law is tested
HELD = {"limit": 0, "crop": 0, "held_out": 0.0, "nominal_records": NOMINAL}


@dataclass
class Answer:
    """What a node replied to a job.

    Attributes:
        moved: what was taken off the weights, in deviations of the charged noise; quiet ones only.
        whole: what was taken off all of them.
        num_records: that it tells.
        refused: the reason of a node that did not train.
    """

    ledger: Ledger
    moved: NDArray[np.float64]
    whole: NDArray[np.float64]
    num_records: int = 0
    refused: str = ""


class Node:
    """One node, as a process would keep it between messages.

    Args:
        own: the device has its own records and a ledger in a file; else it is simulated.
    """

    def __init__(
        self, experiment: Experiment, folder: Path, model: nn.Module, *, own: bool
    ) -> None:
        part = "nodes" if own else "iid"
        data = _write_records(experiment, folder).model_copy(update={"partition": part})
        self._quiet = quiet_of(model, Data.model_validate(data.model_dump()), experiment.model)
        config: dict[str, Any] = {"partition-id": 0, "num-partitions": 1}
        if own and data.name == "file":
            told = source.state(data, RECORDS)
            config |= told.config
            data = data.public.model_copy(update={"shape": told.record.shape})
        elif own:
            config |= pictures.state(folder, data.classes, RECORDS).config
        # The run's budget may be for fewer rounds than the auditor asks for.
        budget = experiment.budget.model_copy(update={"epsilon": None})
        data = Data.model_validate(data.model_dump())
        self.job = experiment.job.model_copy(update={"data": data, "budget": budget})
        weights = {n: t.numpy().copy() for n, t in model.state_dict().items()}
        # As in the last rounds; of pruned weights no noise leaves, nor anything else.
        rounds, spared = experiment.federation.rounds, spared_of(experiment)
        self._weights = prune(experiment, weights, weights, rounds, spared)
        masks = experiment.pruning.masks(self._weights)
        self._quiet = {n: quiet & masks.get(n, True) for n, quiet in self._quiet.items()}
        if own:
            config |= {
                "ledger": str(folder / "ledger.jsonl"),
                "no-epsilon-limit": True,
                "allow-seeded": True,
            }
            if is_own(experiment.model.name):
                config["model"] = str(folder / MODEL)
        self._context = Context(
            run_id=1, node_id=1, node_config=config, state=RecordDict(), run_config={}
        )
        self._proximal = experiment.strategy.proximal_mu or 0.0
        self._learning_rate = experiment.learning_rate(1)
        # Or an arithmetic would cut the noise off at the ends of its window.
        self._learning_rate *= min(1.0, SMALL / self._unit()) * reach(model, data.task)

    def ask(self, number: int) -> Answer:
        """Have it train round `number`."""
        config = ConfigRecord(
            {
                "job": self.job.model_dump_json(),
                "learning-rate": self._learning_rate,
                "server-round": number,
                "run": "audit",
            }
        )
        if self._proximal:
            config["proximal-mu"] = self._proximal
        content = RecordDict({"arrays": held(self._weights), "config": config})
        identify()
        reply = app(Message(content, dst_node_id=1, message_type="train"), self._context)
        if reply.has_error():
            return Answer(Ledger(), np.empty(0), np.empty(0), refused=str(reply.error.reason))
        pruning, weights = self.job.pruning, self._weights
        kept = pruning.squeeze(weights, weights)
        arrays = self.job.compression.unpack(reply.content.array_records["arrays"], kept)
        sent = pruning.spread({name: arrays[name].numpy() for name in kept}, weights)
        spent = str(reply.content.config_records["spent"]["ledger"])
        taken = {n: self._weights[n].astype(np.float64) - sent[n] for n in self._quiet}
        heard = np.concatenate([taken[n][quiet] for n, quiet in self._quiet.items()])
        whole = np.concatenate([array.ravel() for array in taken.values()])
        told = int(reply.content.metric_records["metrics"]["num-examples"])  # type: ignore[arg-type]
        return Answer(Ledger.from_json(spent), heard / self._unit(), whole, told)

    def _unit(self) -> float:
        """Deviation of the noise that is charged for a round, on the weights."""
        training, budget = self.job.training, self.job.budget
        assert budget.noise_multiplier is not None
        pull = self._learning_rate * self._proximal
        gain = amplification(training.local_steps, training.momentum, pull)
        expected = training.sample_rate * NOMINAL
        return self._learning_rate * budget.noise_multiplier * budget.clip / expected * gain


def checks(experiment: Experiment, seed: int) -> tuple[list[Check], list[str]]:
    """Of each kind of node that the run can have; and what could not be examined."""
    kinds = {"a device of its own": True}
    if experiment.federation.engine != "superlink":
        kinds = {"a simulated client": False} | kinds
    done: list[Check] = []
    missing: list[str] = []
    for name, own in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            keep_model(Path(folder), experiment.model)
            model = silenced(builder(experiment)(seed), experiment.data.task)
            node = Node(experiment, Path(folder), model, own=own)
            answers = [node.ask(number) for number in range(1, ROUNDS + 1)]
            again = node.ask(ROUNDS) if own else None
        if refused := next((a.refused for a in answers if a.refused), ""):
            missing.append(f"the process of {name}: it refused the job: {refused}")
            continue
        done.append(_charged(name, node.job, answers, again))
        if node.job.training.optimizer == "sgd":
            if not any(len(answer.moved) for answer in answers):
                missing.append(str(NotApplicable(f"node noise: {name}", NOWHERE)))
                continue
            done.append(_noisy(name, node.job, answers))
    return done, missing


def quiet_of(model: nn.Module, data: Data, kind: Model) -> dict[str, NDArray[np.bool_]]:
    """Which numbers of each trained weight no record of the auditor's moves: all of a model that is
    certain; of records that are told by themselves all but the last bias, for all else is zero.
    None of a layer that learns by itself, whatever the model is certain of."""
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    local = [layer for layer in model.modules() if isinstance(layer, LocalLayer)]
    loud = {id(p) for layer in local for p in layer.parameters()}
    if is_certain(model, data.task):
        return {n: np.full(tuple(p.shape), id(p) not in loud) for n, p in trained.items()}
    mine, _ = records(data, kind)
    x = mine.inputs(torch.arange(len(mine)))
    loss = LOSSES[data.task](model(x), mine.targets(torch.arange(len(mine)), x)).sum()
    moved = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return {
        n: np.ones(tuple(p.shape), bool) if g is None else (g == 0).numpy() & (id(p) not in loud)
        for (n, p), g in zip(trained.items(), moved, strict=True)
    }


def _charged(name: str, job: Job, answers: list[Answer], again: Answer | None) -> Check:
    """Is every round on the ledger that is sent, and one that is asked for again given again?"""
    sigma, steps = job.budget.noise_multiplier, job.training.local_steps
    assert sigma is not None
    due = [(Spent(sigma, job.training.sample_rate, steps * n),) for n in range(1, ROUNDS + 1)]
    right = [a.ledger.entries == entries for a, entries in zip(answers, due, strict=True)]
    told = {a.num_records for a in answers}
    said = f"{sum(right)} of {len(right)} rounds on its ledger, {min(told)} records told"
    free = True
    if again is not None:
        free = again.ledger.entries == due[-1] and np.array_equal(again.whole, answers[-1].whole)
        said += "; a round asked for again is " + ("the same" if free else "another release")
    return Check(
        f"node charging: {name}",
        all(right) and free and told == {NOMINAL},
        said,
        f"every round, the public {NOMINAL}" + ("; the same" if again is not None else ""),
        "the process around the step does not charge what it releases, releases twice, or tells "
        "how many records there are",
    )


def _noisy(name: str, job: Job, answers: list[Answer]) -> Check:
    """Has what leaves the node the deviation and law that its ledger charges?"""
    z = np.concatenate([a.moved for a in answers])
    total, size = float(np.square(z).sum()), len(z)
    chances = {"too little": float(chi2.cdf(total, size))}
    if job.compression.bits == 32:  # else there is more in it than noise
        chances["too much"] = float(chi2.sf(total, size))
        for first, second in _pairs([a.moved[:MOST_DEVIATES] for a in answers]):
            chances["law"] = min(chances.get("law", 1.0), float(kstest(first, "norm").pvalue))
            likeness = float(first @ second) / np.sqrt(len(first))
            p = float(chi2.sf(likeness**2, 1))
            chances["repeated"] = min(chances.get("repeated", 1.0), p)
    worst = min(chances, key=lambda k: chances[k])
    return Check(
        f"node noise: {name}",
        bool(chances[worst] > LEVEL / (4 * ROUNDS)),
        f"{np.sqrt(total / size):.4f} of what is charged; p = {chances[worst]:.2g} ({worst})",
        "1, Gaussian and new in each round, within what chance allows",
        "what leaves the node is not what its step released: less noise, or the same again",
    )


def _pairs(rows: list[NDArray]) -> Iterator[tuple[NDArray, NDArray]]:
    for i, row in enumerate(rows):
        yield row, rows[(i + 1) % len(rows)]


def _write_records(experiment: Experiment, folder: Path) -> Data:
    """Records of the run's form, all of class 0: the same in every audit; and how they are read."""
    dataset, data = load(experiment.data), experiment.data.model_copy(update=HELD)
    if data.name == "file":
        return draw_records(dataset, data, folder, RECORDS)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (RECORDS, *dataset.shape), dtype=np.uint8)
    y = np.zeros(RECORDS, np.uint8)
    with write_atomically(folder / "data.npz") as file:
        np.savez(file, train_x=x, train_y=y, test_x=x[:2], test_y=y[:2])
    told = {"name": "idx", "path": str(folder), "classes": dataset.num_classes}
    return data.model_copy(update=told)
