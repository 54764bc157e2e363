"""What the server prunes of weights that were released: post-processing, which spends nothing."""

from collections.abc import Collection

import numpy as np
from safetensors.numpy import save

from clients.training.pruning import Weights, is_pruned
from server.experiment.experiment import Experiment

MASKS = "masks.safetensors"  # in a run: which weights of the last round are kept


def prune(
    experiment: Experiment,
    weights: Weights,
    before: Weights,
    number: int,
    frozen: Collection[str] = (),
) -> Weights:
    """The global weights of round `number`, as they are sent to clients next.

    Args:
        before: those that the round began with, whose zeros stay; of round 0 the same.
        frozen: names of weights that are not trained, and so not pruned.
    """
    pruning = experiment.pruning
    if not pruning.weight:
        return weights
    trained = {name: array for name, array in weights.items() if name not in frozen}
    if number:
        trained = pruning.hold(trained, before)
    return weights | pruning.prune(trained, number, experiment.federation.rounds)


def masks_of(weights: Weights) -> bytes:
    """Of each layer 1 where a weight is kept, uint8 like the weights, as safetensors."""
    layers = {name: array for name, array in weights.items() if is_pruned(array)}
    return bytes(save({name: (array != 0).astype(np.uint8) for name, array in layers.items()}))
