"""The net that a chip is left with: without pruned filters, and with the zeros that it may skip.

Zeros of weights are counted in the weights; those of what a layer reads, on test records: a ReLU
gives zeros whether anything is pruned or not.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from clients.chip import Chip, Network
from clients.chip.workloads.trace import trace
from clients.chip.workloads.workload import Zeros
from clients.data.sets import load
from clients.models import form_behind
from clients.training.net import build, fill
from clients.training.records import records
from clients.training.smaller.compact import compact
from server.experiment.experiment import Experiment
from server.federation.pruned import prune, spared_of
from server.run.directory import Run, Weights

ASKED = 256  # test records


class Left(NamedTuple):
    """What inference has to do.

    Attributes:
        network: without the filters that give nothing.
        zeros: of its layers, where they are known.
        weights: which fraction of its layers' weights is zero.
        activations: which fraction of its products has a zero activation.
        records: on which activations were counted; 0 if on none.
    """

    network: Network
    zeros: tuple[Zeros, ...] = ()
    weights: float = 0.0
    activations: float = 0.0
    records: int = 0


def left_of_run(run: Run, whole: Network) -> Left:
    """Of a run's last weights; of one without a round, all of `whole`."""
    experiment = run.experiment
    if not (last := len(run.rounds)) or not _counts(experiment):
        return Left(whole)
    net = filled(experiment, run.weights(last))
    _, test = records(experiment.data, experiment.model)
    return _left(net, whole, test.inputs(torch.arange(min(ASKED, len(test)))))


def left_of_plan(experiment: Experiment, whole: Network) -> Left:
    """Of an experiment that is not trained yet: what pruning will leave, whatever the weights."""
    if not experiment.pruning.final:
        return Left(whole)
    net = filled(experiment, None)
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    rounds = experiment.federation.rounds
    fill(net, prune(experiment, weights, weights, rounds, spared_of(experiment)))
    shape = form_behind(experiment.model, load(experiment.data).form).shape
    return _left(net, whole, torch.zeros(0, *shape))


def _counts(experiment: Experiment) -> bool:
    """Are there numbers that can be zero? Spikes, streams and signs are priced as they are."""
    return experiment.arithmetic.name in ("float", "fixed")


def filled(experiment: Experiment, weights: Weights | None) -> nn.Module:
    """The experiment's model with those weights, or with its first; in evaluation."""
    with torch.random.fork_rng(devices=[]):
        form = load(experiment.data).form
        net = build(experiment.model, form, experiment.arithmetic, experiment.pruning)
    if weights is not None:
        fill(net, weights)
    return net.eval()


def _left(net: nn.Module, whole: Network, x: Tensor) -> Left:
    """Args: x: records [N, ...] on which activations are counted; perhaps none."""
    small = compact(net)
    shape = tuple(x.shape[1:])
    network = whole if small is net else trace(small, shape, whole.name)
    read = _words_read(small, x if len(x) else torch.zeros(1, *shape))
    nests = [layer for layer in network.layers if layer.nest and layer.weights == "trained"]
    if len(read) != len(nests):  # recurrent layers, and weights that no layer has for its own
        return Left(network)
    zeros = tuple(
        Zeros(nest.name, words.weights, words.activations if len(x) else 0.0)
        for nest, words in zip(nests, read, strict=True)
    )
    weights = _mean([z.weights for z in zeros], [layer.stored for layer in nests])
    activations = _mean([z.activations for z in zeros], [layer.macs for layer in nests])
    return Left(network, zeros, weights, activations, len(x))


def _mean(values: list[float], counts: list[int]) -> float:
    return sum(v * c for v, c in zip(values, counts, strict=True)) / max(1, sum(counts))


def _words_read(net: nn.Module, x: Tensor) -> list[Zeros]:
    """Of each dense layer and convolution, as they are called: the zeros that it reads."""
    found: list[Zeros] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer.weight, Tensor)
        found.append(Zeros("", _share(layer.weight), _share(given[0])))

    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return found


def _share(values: Tensor) -> float:
    """Of zeros; one number is left, for a chip has to do something."""
    return min(float((values == 0).double().mean()), 1 - 1 / max(2, values.numel()))


def notes_on_zeros(chip: Chip, left: Left) -> tuple[str, ...]:
    """What a chip makes of zeros; of activations only where it makes anything."""
    array, found = chip.array, []
    if left.weights:
        skips = array.skips in ("weights", "both")
        does = "skips their products" if skips else "multiplies with them all the same"
        found.append(
            f"{left.weights:.1%} of the layers' weights are zero: of an inference this chip {does}"
        )
    skips = array.skips in ("activations", "both")
    if left.activations and (skips or array.gates or array.compresses):
        does = "skips" if skips else "saves energy on"
        found.append(
            f"{left.activations:.1%} of the products for {left.records} test records have a zero "
            f"activation: of an inference this chip {does} them"
        )
    return tuple(found)
