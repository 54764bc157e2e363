"""A device's training as an auditor's `Device`: the shipped code, on what the auditor brings."""

from typing import Any

import torch
from torch import Tensor, nn

from attacks.audit.claim import Asked, Device
from clients.data.sets import load
from clients.training.job import Job
from clients.training.net import build
from clients.training.pruning import Pruning
from clients.training.records import Records
from clients.training.smaller.supernet import Supernet
from clients.training.train import Round, net_of, train
from privacy.dp.grid import Grid
from privacy.dp.noise import SECURE


def step(clip: float, size: int) -> float:
    """What a whole number of a release stands for, of a device or of the server."""
    return Grid.of(clip, size).step


def device(job: Job, proximal: float = 0.0) -> Device:
    """`clients.training.train.train`, on whatever the auditor brings.

    Adam is left out: it sees noisy gradients only, and what it makes of them cannot be undone. So
    is pruning, which takes noisy gradients away: the auditor's own weights are zero. A net of the
    auditor's own has no smaller ones beside it.
    """

    like = {}
    if job.supernet.trains:
        like = shapes_of(build(job.model, load(job.data).form, job.arithmetic))

    def one_round(model: nn.Module, x: Tensor, y: Tensor, asked: Asked) -> None:
        training: dict[str, Any] = {
            "local_steps": asked.steps,
            "sample_rate": asked.sample_rate,
            "optimizer": "sgd",
        }
        if asked.plain:
            training["distortion"] = 0.0
        if asked.secret:
            training["noise"] = SECURE
        members = torch.tensor([i for i in range(len(x)) if i != asked.without], dtype=torch.int64)
        if asked.crowd:
            members = torch.zeros(1, dtype=torch.int64).expand(asked.crowd)
        nominal = asked.nominal or len(members)
        twin = job.model_copy(
            update={
                "seed": asked.seed,
                "data": job.data.model_copy(update={"nominal_records": nominal}),
                "training": job.training.model_copy(update=training),
                "budget": job.budget.model_copy(update=budget_of(job, asked)),
                "pruning": Pruning(),
                "supernet": job.supernet if shapes_of(model) == like else Supernet(),
            }
        )
        number, client = asked.path
        round_ = Round(number, client, asked.learning_rate, proximal)
        mine = Records(x, y)
        train(net_of(model, mine, twin), mine, members, twin, round_, asked.ledger)

    return one_round


def shapes_of(model: nn.Module) -> dict[str, torch.Size]:
    """Of all weights, by name."""
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def variants(job: Job) -> dict[str, Job]:
    """Jobs that differ from this one in one setting."""
    training, bits = job.training, job.compression.bits
    found: dict[str, dict[str, dict[str, Any]]] = {
        "another momentum": {"training": {"momentum": 0.5 if training.momentum < 0.5 else 0.0}},
        "another delta": {"budget": {"delta": job.budget.delta / 2}},
        "another compression": {"compression": {"bits": 8 if bits == 32 else 32}},
        "another number of hidden units": {"model": {"hidden": (*job.model.hidden, 1)}},
        "another width of words": {"arithmetic": {"bits": 7 if job.arithmetic.bits == 8 else 8}},
    }
    return {
        name: job.model_copy(
            update={
                section: getattr(job, section).model_copy(update=values)
                for section, values in changed.items()
            }
        )
        for name, changed in found.items()
    }


def budget_of(job: Job, asked: Asked) -> dict[str, Any]:
    """Changes of [budget], as is asked for."""
    clip = asked.clip or job.budget.clip
    return {"noise_multiplier": asked.noise_multiplier, "epsilon": None, "clip": clip}
