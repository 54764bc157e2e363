"""Inversion by the server: from the release of one record's step to the record."""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.reconstruction.inversion import first_dense, invert, invert_dense
from attacks.reconstruction.likeness import FIGURES, alike, nearest, sign_flip_p, typical
from attacks.reconstruction.pictures import png
from attacks.tape import Nature, Sample, Tape
from clients.data.sets import load
from clients.layers import MaxPool2d
from clients.training.job import Job
from clients.training.net import fill
from clients.training.records import Records
from clients.training.train import Round, net_of, train
from privacy.dp.ledger import Ledger
from server.adversary.reconstruction.exhibits import exhibits_of
from server.adversary.reconstruction.victims import Found, likeness_of, open_ended, some_of
from server.run.directory import Run

VICTIMS = {True: 32, False: 4}  # analytic inversion is quick, iterative is not
STRANGERS = 2000


def invert_updates(run: Run, tape: Tape, seed: int) -> Found:
    """Victims with one record each, who release one step of the run's own training."""
    model = tape.build(0)
    fill(model, tape.weights(0))
    twin = _twice_differentiable(model)
    nature, pool = tape.nature, tape.pool
    dense = first_dense(model)
    if dense and dense[1].in_features != math.prod(nature.shape):
        dense = None  # it reads the record in pieces, or a mean of neighbours
    rng = np.random.default_rng(seed)
    eligible = np.flatnonzero(tape.member & _has_strangers(tape))
    if not len(eligible):
        return {"left_out": "no member is of a class that the test set has: nobody is a stranger"}
    victims = rng.choice(eligible, min(VICTIMS[dense is not None], len(eligible)), replace=False)
    strangers = some_of(tape.reference, STRANGERS, rng)
    made, near, mean = [], [], []
    indices = torch.from_numpy(victims)
    originals = pool.originals(indices)
    for number, i in enumerate(indices):
        change = _one_step(run.experiment.job, model, pool, i, number)
        y = pool.y[i : i + 1]
        if dense:
            name = dense[0]
            made.append(invert_dense(change[f"{name}.weight"], change[f"{name}.bias"], nature))
        else:
            target = [change[n] for n, p in model.named_parameters() if p.requires_grad]
            said = None if pool.task == "itself" else y
            made.append(invert(twin, target, said, nature, seed + number, pool.loss))
        same = strangers[0][strangers[1] == y] if pool.task == "classes" else strangers[0]
        near.append(_nearest(originals[number : number + 1], same, nature))
        mean.append(typical(same, nature))
    rows = {
        "reconstruction": torch.stack(made),
        "nearest_stranger": torch.stack(near),
        "class_mean": torch.stack(mean),
    }
    scores = {name: likeness_of(drawn, originals, nature) for name, drawn in rows.items()}
    figure = FIGURES[nature.kind]
    control = "nearest_stranger"
    if nature.kind != "picture":  # what is typical may come nearer than any one stranger
        control = max(("nearest_stranger", "class_mean"), key=lambda name: scores[name][figure])
    near_ones = [alike(rows[name], originals, nature) for name in ("reconstruction", control)]
    ahead = near_ones[0].clamp(-100, 100) - near_ones[1].clamp(-100, 100)
    found = {
        "method": "analytic" if dense else "iterative",
        "victims": len(victims),
        "figure": figure,
        **scores,
        "p_nearer_than_strangers": sign_flip_p(ahead.double().numpy()),
    }
    shown = {"original": originals, **rows}
    dataset = load(run.experiment.data)
    found["exhibits"] = exhibits_of(run.experiment.data, dataset, nature, pool.y[indices], shown)
    if nature.kind != "picture":
        return found
    pictures = [originals, rows["reconstruction"], rows["nearest_stranger"]]
    run.keep_bytes("attack/inversion.png", png([p[:16] for p in pictures]))
    return found | {
        "picture": "attack/inversion.png",
        "rows": ["original", "reconstruction", "nearest stranger of the class"],
    }


def _has_strangers(tape: Tape) -> NDArray[np.bool_]:
    """Which candidates are of a class that the test set has too."""
    if tape.pool.task != "classes":
        return np.ones(len(tape.pool), dtype=bool)
    return np.isin(tape.pool.y.numpy(), tape.reference.y.numpy())


def _nearest(original: Tensor, strangers: Tensor, nature: Nature) -> Tensor:
    """The stranger that is most like a record [1, ...]."""
    if nature.kind == "picture":
        return strangers[nearest(original, strangers)[1][0]]
    return strangers[alike(original.expand_as(strangers), strangers, nature).argmax()]


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


def _twice_differentiable(model: nn.Module) -> nn.Module:
    """The same function; our compiled pooling has no second derivative."""
    twin = copy.deepcopy(model)
    for parent in twin.modules():
        for name, child in parent.named_children():
            if type(child) is MaxPool2d:
                setattr(parent, name, nn.MaxPool2d(child.size, child.stride))
    return twin
