"""What the server prunes of weights that were released: post-processing, which spends nothing."""

from collections.abc import Collection

import numpy as np
import torch
from safetensors.numpy import save

from clients.data.sets import load
from clients.training.net import build, frozen
from clients.training.pruning import Pruning, Weights
from server.experiment.experiment import Experiment

MASKS = "masks.safetensors"  # in a run: which weights of the last round are kept


def prune(
    experiment: Experiment,
    weights: Weights,
    before: Weights,
    number: int,
    spared: Collection[str] = (),
) -> Weights:
    """The global weights of round `number`, as they are sent to clients next.

    Args:
        before: those that the round began with, whose zeros stay; of round 0 the same.
        spared: names of weights that are not pruned: see `spared_of`.
    """
    pruning = experiment.pruning
    if not pruning.final:
        return weights
    trained = {name: array for name, array in weights.items() if name not in spared}
    if number:
        trained = pruning.hold(trained, before)
    return weights | pruning.prune(trained, number, experiment.federation.rounds)


def spared_of(experiment: Experiment) -> frozenset[str]:
    """Names of weights that are never pruned: of what is not trained, and, where filters go, of the
    layer whose filters are the answers."""
    form = load(experiment.data).form
    fixed = frozen(experiment.model, form, experiment.arithmetic)
    if experiment.pruning.structured != "filters":
        return fixed
    with torch.random.fork_rng(devices=[]):
        net = build(experiment.model, form, experiment.arithmetic)
    last = [name for name, p in net.named_parameters() if p.dim() > 1][-1]
    return fixed | {last, last.removesuffix("weight") + "bias"}


def masks_of(weights: Weights, pruning: Pruning) -> bytes:
    """Of each layer 1 where a weight is kept, uint8 like the weights, as safetensors."""
    masks = pruning.masks(weights)
    return bytes(save({name: kept.astype(np.uint8) for name, kept in masks.items()}))
