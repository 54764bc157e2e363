"""Inversion by the server: from the release of one record's step to the record."""

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from attacks.reconstruction.inversion import first_dense, invert, invert_dense
from attacks.reconstruction.likeness import (
    nearest,
    psnr,
    sign_flip_p,
)
from attacks.reconstruction.pictures import png
from attacks.tape import Sample, Tape
from clients.layers import MaxPool2d
from clients.training.job import Job
from clients.training.net import fill
from clients.training.records import Records
from clients.training.train import Round, net_of, train
from privacy.dp.ledger import Ledger
from server.adversary.victims import Found, likeness_of, open_ended, shape_of, some_of
from server.run.directory import Run

VICTIMS = {True: 32, False: 4}  # analytic inversion is quick, iterative is not
STRANGERS = 2000


def invert_updates(run: Run, tape: Tape, seed: int) -> Found:
    """Victims with one record each, who release one step of the run's own training."""
    model = tape.build(0)
    fill(model, tape.weights(0))
    twin = _twice_differentiable(model)
    shape = shape_of(tape)
    dense = first_dense(model)
    if dense and dense[1].in_features != math.prod(shape):
        dense = None  # it reads the record in pieces, or a mean of neighbours
    rng = np.random.default_rng(seed)
    known = np.isin(tape.pool.y.numpy(), tape.reference.y.numpy())  # of a class with strangers
    eligible = np.flatnonzero(tape.member & known)
    if not len(eligible):
        return {"left_out": "no member is of a class that the test set has: nobody is a stranger"}
    victims = rng.choice(eligible, min(VICTIMS[dense is not None], len(eligible)), replace=False)
    strangers = some_of(tape.reference, STRANGERS, rng)
    made, near, mean = [], [], []
    indices = torch.from_numpy(victims)
    originals = tape.pool.images(indices)
    for number, i in enumerate(indices):
        change = _one_step(run.experiment.job, model, tape.pool, i, number)
        label = int(tape.pool.y[i])
        if dense:
            name = dense[0]
            made.append(invert_dense(change[f"{name}.weight"], change[f"{name}.bias"], shape))
        else:
            target = [change[n] for n, p in model.named_parameters() if p.requires_grad]
            made.append(invert(twin, target, label, shape, seed + number))
        same = strangers[0][strangers[1] == label]
        near.append(same[nearest(originals[number : number + 1], same)[1][0]])
        mean.append(same.mean(0))
    rows = {
        "reconstruction": torch.stack(made),
        "nearest_stranger": torch.stack(near),
        "class_mean": torch.stack(mean),
    }
    scores = {name: likeness_of(images, originals) for name, images in rows.items()}
    ahead = psnr(rows["reconstruction"], originals) - psnr(rows["nearest_stranger"], originals)
    pictures = [originals, rows["reconstruction"], rows["nearest_stranger"]]
    run.keep_bytes("attack/inversion.png", png([p[:16] for p in pictures]))
    return {
        "method": "analytic" if dense else "iterative",
        "victims": len(victims),
        "picture": "attack/inversion.png",
        "rows": ["original", "reconstruction", "nearest stranger of the class"],
        **scores,
        "p_nearer_than_strangers": sign_flip_p(ahead.clamp(-100, 100).double().numpy()),
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


def _twice_differentiable(model: nn.Module) -> nn.Module:
    """The same function; our compiled pooling has no second derivative."""
    twin = copy.deepcopy(model)
    for parent in twin.modules():
        for name, child in parent.named_children():
            if type(child) is MaxPool2d:
                setattr(parent, name, nn.MaxPool2d(child.size, child.stride))
    return twin
