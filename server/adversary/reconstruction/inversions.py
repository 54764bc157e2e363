"""Inversion by the server: from the release of one record's step to the record, or its features."""

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.reconstruction.features import undo
from attacks.reconstruction.gradients import Gradients
from attacks.reconstruction.inversion import first_dense, fits_together, invert, invert_dense
from attacks.reconstruction.pictures import png
from attacks.reconstruction.strangers import held_against, nearest_of
from attacks.tape import Nature, Sample, Tape
from clients.arithmetic.rounding import RoundGradient
from clients.data.dataset import Dataset
from clients.data.sets import load
from clients.layers import MaxPool2d
from clients.models import name_front
from clients.models.settings import stands_on_backbone
from clients.training.gpu import where_there_is_one
from clients.training.job import Job
from clients.training.net import fill
from clients.training.records import Records
from clients.training.train import Round, net_of, train
from privacy.dp.ledger import Ledger
from privacy.errors import ModelError
from server.adversary.reconstruction.exhibits import exhibits_of
from server.adversary.reconstruction.victims import Found, open_ended
from server.run.directory import Run

VICTIMS = 32
ONE_BY_ONE = 8  # where each takes an iterative search of its own
UNDONE = 8  # of them, whose records are sought behind their features
STRANGERS = 2000


def invert_updates(run: Run, tape: Tape, seed: int) -> Found:
    """Victims with one record each, who release one step of the run's own training.

    Returns:
        `inversion`: of what the model reads; where that is a fixed transform of the records, also
        `inversion_of_features`: of the records behind it.
    """
    dataset, pool, others = load(run.experiment.data), tape.pool, tape.reference
    rng = np.random.default_rng(seed)
    chosen = torch.from_numpy(rng.permutation(len(others))[:STRANGERS])
    eligible = np.flatnonzero(tape.member & _has_strangers(pool, others.y[chosen]))
    if not len(eligible):
        left_out = "no member is of a class that the test set has: nobody is a stranger"
        return {"inversion": {"left_out": left_out}}
    strangers = others.inputs(chosen)
    nature = _features_like(strangers) if tape.front else tape.nature
    model = tape.build(0)
    fill(model, tape.weights(0))
    dense = first_dense(model)
    if dense and dense[1].in_features != math.prod(nature.shape):
        dense = None  # it reads the record in pieces, or a mean of neighbours
    num = min(VICTIMS, len(eligible))
    victims = torch.from_numpy(rng.choice(eligible, num, replace=False))
    try:
        gradients = None if dense else _gradients(model, pool, victims[:2])
    except ModelError as error:
        return {"inversion": {"left_out": str(error)}}
    if gradients and not fits_together(gradients, num):
        victims = victims[:ONE_BY_ONE]
    same = _same_class(pool, victims, others.y[chosen])
    changes = [
        _one_step(where_there_is_one(run.experiment.job), model, pool, i, number)
        for number, i in enumerate(victims)
    ]
    if gradients:
        drawn = _search(gradients, changes, pool, victims, nature, seed)
    else:
        assert dense
        pairs = [(change[f"{dense[0]}.weight"], change[f"{dense[0]}.bias"]) for change in changes]
        drawn = torch.stack([invert_dense(*pair, nature) for pair in pairs])
    rows, found = held_against(drawn, pool.inputs(victims), strangers, same, nature)
    found = {"method": "analytic" if dense else "iterative", **found}
    if tape.front is None:
        return {"inversion": found | _shown(run, dataset, tape, victims, rows)}
    if stands_on_backbone(run.experiment.model):
        left_out = "what a backbone's features tell of the pictures behind them is not measured"
        return {"inversion": found, "inversion_of_features": {"left_out": left_out}}
    few, drawn, same = victims[:UNDONE], drawn[:UNDONE], same[:UNDONE]
    behind = others.originals(chosen)
    near = [nearest_of(one, strangers[s], nature) for one, s in zip(drawn, same, strict=True)]
    starts = torch.stack([behind[s][i] for s, i in zip(same, near, strict=True)])
    nature = replace(tape.nature, behind=True)
    undone = undo(tape.front, drawn, starts, nature, seed)
    rows, told = held_against(undone, pool.originals(few), behind, same, nature)
    method = f"descent through {name_front(run.experiment.model, dataset.form)}"
    told = {"method": method, **told, **_shown(run, dataset, tape, few, rows)}
    return {"inversion": found, "inversion_of_features": told}


def _has_strangers(pool: Sample, y: Tensor) -> NDArray[np.bool_]:
    """Which candidates are of a class that strangers, whose labels are `y`, have too."""
    if pool.task != "classes":
        return np.ones(len(pool), dtype=bool)
    return np.isin(pool.y.numpy(), y.numpy())


def _same_class(pool: Sample, victims: Tensor, y: Tensor) -> Tensor:
    """bool [V, S]: which strangers, whose labels are `y`, are of a victim's class."""
    if pool.task != "classes":
        return torch.ones(len(victims), len(y), dtype=torch.bool)
    return pool.y[victims, None] == y


def _features_like(strangers: Tensor) -> Nature:
    """What features of records are, between the least and the greatest of strangers'."""
    low, high = float(strangers.min()), float(strangers.max())
    return Nature("features", tuple(strangers.shape[1:]), low, high)


def _gradients(model: nn.Module, pool: Sample, some: Tensor) -> Gradients:
    x = pool.inputs(some)
    return Gradients(twice_differentiable(model), pool.loss, x, pool.targets(some, x))


def _search(
    gradients: Gradients,
    changes: list[dict[str, Tensor]],
    pool: Sample,
    victims: Tensor,
    nature: Nature,
    seed: int,
) -> Tensor:
    """What each victim's update tells of what the model reads [V, *nature.shape]."""
    target = torch.stack([gradients.flat(change) for change in changes])
    said = None if pool.task == "itself" else pool.y[victims]
    return invert(gradients, target, said, nature, range(seed, seed + len(victims)))


def _shown(
    run: Run, dataset: Dataset, tape: Tape, victims: Tensor, rows: dict[str, Tensor]
) -> Found:
    """A few victims' records beside what was drawn of them; pictures as a file of the run."""
    rows = {"original": tape.pool.originals(victims), **rows}
    nature, y = tape.nature, tape.pool.y[victims]
    exhibits = exhibits_of(run.experiment.data, dataset, nature, y, rows)
    if nature.kind != "picture":
        return {"exhibits": exhibits}
    pictures = [rows[name][:16] for name in ("original", "reconstruction", "nearest_stranger")]
    run.keep_bytes("attack/inversion.png", png(pictures))
    return {
        "exhibits": exhibits,
        "picture": "attack/inversion.png",
        "rows": ["original", "reconstruction", "nearest stranger of the class"],
    }


def _one_step(
    job: Job, model: nn.Module, pool: Sample, i: Tensor, number: int
) -> dict[str, Tensor]:
    """What the release of one record's step tells of its gradient, up to a factor."""
    twin = copy.deepcopy(model)
    one = i.view(1)
    loop = {"local_steps": 1, "sample_rate": 1.0, "momentum": 0.0}
    asked = job.model_copy(
        update={
            "training": job.training.model_copy(update=loop),
            "budget": open_ended(job.budget),
        }
    )
    round_ = Round(number=number + 1, client=0, learning_rate=job.training.learning_rate)
    mine = Records(pool.inputs(one), pool.y[one])
    train(net_of(twin, mine, asked), mine, torch.arange(1), asked, round_, Ledger())
    after = dict(twin.named_parameters())
    return {n: (p - after[n]).detach() for n, p in model.named_parameters()}


def twice_differentiable(model: nn.Module) -> nn.Module:
    """The same function, whose gradients have derivatives: torch's own pooling, unrounded."""
    twin = copy.deepcopy(model)
    for parent in twin.modules():
        for name, child in parent.named_children():
            if type(child) is MaxPool2d:
                setattr(parent, name, nn.MaxPool2d(child.size, child.stride))
            elif type(child) is RoundGradient:
                setattr(parent, name, nn.Identity())
    return twin
