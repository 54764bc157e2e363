"""What of a job has C, and what of it a board must have been made for."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from clients.boards.nets import net_of, words_of
from clients.data.encodings import Scaled
from clients.firmware.contract import Contract
from clients.models import front_of
from clients.protocol import Form
from clients.training.job import Job
from clients.training.net import Net
from clients.training.records import Records
from privacy.errors import ModelError, SettingsError

FINEST = 127  # of inputs that are not whole numbers already
FINER = 4096  # where gradients read floats
MOST_SCALE = 255


def require_c(job: Job, whose: str) -> None:
    """Refuse what has no C, whatever the net.

    Args:
        whose: an error begins with it.

    Raises:
        ModelError, SettingsError: name the key and what has C.
    """
    budget, training = job.budget, job.training
    if budget.unit != "record" or not budget.noise_multiplier:
        raise SettingsError(
            f"{whose}: [budget] unit = {budget.unit!r}: a private step needs unit = 'record' "
            "and noise; train with them"
        )
    for key, value, plain in (
        ("[training] optimizer", training.optimizer, "sgd"),
        ("[training] momentum", training.momentum, 0.0),
        ("[training] distortion", training.distortion, 0.0),
        ("[training] schedule", training.schedule, "constant"),
        ("[model] adapt", job.model.adapt, "all"),
    ):
        if value != plain:
            raise SettingsError(f"{whose}: {key} = {value!r}: has no C; train with {plain!r}")
    if job.data.task != "classes":
        raise ModelError(f"{whose}: [data] task = {job.data.task!r}: only classes have C")


def require_made_for(
    contract: Contract, job: Job, learning_rate: float, proximal: float, net: Net, form: Form
) -> None:
    """Refuse a job that is not the one that a board was made for: what it does is in its flash.

    Args:
        net: the job's. `form`: of the records.

    Raises:
        ModelError, SettingsError: name what differs, and both sides; they are public.
    """
    whose = "this device's board"
    require_c(job, whose)
    if front_of(job.model, form) is not None:
        raise ModelError(
            f"{whose}: [model] front: a board that is a client reads records as they are; ask for "
            "front = 'none'"
        )
    if job.training.noise != "secure":
        raise SettingsError(
            f"{whose}: [training] noise = {job.training.noise!r}: its noise is its own; ask for "
            "noise = 'secure'"
        )
    if job.pruning.final or job.supernet.trains or proximal or job.arithmetic.fault_rate:
        raise SettingsError(
            f"{whose}: [pruning], [supernet], FedProx's mu and [arithmetic] fault_rate have no C; "
            "leave them out"
        )
    plan, layers = net_of(net.module, job.arithmetic, form.shape)
    sizes = (layers[0].weights.shape[1], *(len(layer.biases) for layer in layers))
    theirs = (sizes if plan is None else contract.sizes, plan, words_of(job.arithmetic))
    if theirs != (contract.sizes, contract.plan, contract.numbers):
        raise ModelError(
            f"{whose}: [model], [arithmetic]: it was made for another net; ask for that, or export "
            "this one and flash it"
        )
    if not np.array_equal(flat_of(net), np.concatenate([w.ravel() for one in layers for w in one])):
        raise ModelError(f"{whose}: [model]: its weights lie in another order than on the board")
    rate, nominal = job.training.sample_rate, job.data.nominal_records
    for key, asked, made_for in (
        ("[budget] noise_multiplier", job.budget.noise_multiplier, contract.noise_multiplier),
        ("[budget] clip", job.budget.clip, contract.clip),
        ("[training] learning_rate", learning_rate, contract.learning_rate),
        ("[training] sample_rate, in 2^-32,", math.floor(rate * 2.0**32), contract.sample_rate),
        ("[data] nominal_records, by sample_rate,", rate * nominal, contract.expected_batch),
    ):
        if asked != made_for:
            raise SettingsError(
                f"{whose}: {key} = {asked}: it was made for {made_for}; ask for that, or export "
                "and flash it again"
            )


def scale_of(held: Records, in_floats: bool) -> int:
    """What stands for 1 in whole inputs: of whole numbers their own scale.

    Args:
        in_floats: gradients read floats (a plan of layers).
    """
    finest, encoding = FINER if in_floats else FINEST, held.encoding
    if held.x.is_floating_point() or not isinstance(encoding, Scaled):
        return finest
    scale = int(encoding.scale)
    return scale if scale == encoding.scale and 1 <= scale <= MOST_SCALE else finest


def whole(held: Records, indices: NDArray[np.int64], scale: int) -> NDArray[np.int16]:
    """Inputs of some records in units of 1 / scale, int16 [B, inputs]."""
    inputs = held.inputs(torch.from_numpy(np.asarray(indices, np.int64))).flatten(1).numpy()
    near = np.rint(np.nan_to_num(inputs.astype(np.float64)) * scale)
    return np.clip(near, -32767, 32767).astype(np.int16)


def flat_of(net: Net) -> NDArray[np.float32]:
    """All weights of a net, one after another."""
    parts = [p.detach().numpy().ravel() for p in net.module.parameters()]
    return np.concatenate(parts).astype(np.float32)


def put_flat(net: Net, weights: NDArray[np.float32]) -> None:
    """The inverse of `flat_of`."""
    at = 0
    with torch.no_grad():
        for p in net.module.parameters():
            p.copy_(torch.from_numpy(weights[at : at + p.numel()].copy()).reshape(p.shape))
            at += p.numel()
