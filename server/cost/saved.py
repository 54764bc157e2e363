"""What pruning, and zeros that a chip may skip, save of an inference: in theory and by the model.

In theory a product with a zero takes no time, so that z zeros among them make a chip 1 / (1 - z)
times faster. An array waits for whoever of its elements has most left to do, and for its memory.
"""

from typing import NamedTuple

from clients.chip import Chip, Cost, Network, Precision, Workload, estimate
from server.cost.zeros import Left

ZEROS = (0.1, 0.3, 0.5, 0.7, 0.9)


class SpeedUp(NamedTuple):
    """How many times faster than the whole net without a zero.

    Attributes:
        zeros: share of the products that are gone, or have a zero that the chip skips.
        theory: 1 / (1 - zeros).
        array: the processing elements alone.
        inference: with the memory.
    """

    zeros: float
    theory: float
    array: float
    inference: float


class Saved(NamedTuple):
    """Of one record's inference.

    Attributes:
        weights: share of the whole net's weights that are left and not zero.
        products: share of its products that are left, of two numbers that are not zero (which are
            taken as independent).
        skips: whose zeros the chip skips.
        measured: with the zeros that were counted.
        curve: with as many zeros in every layer; empty where the chip skips none.
    """

    weights: float
    products: float
    skips: str
    measured: SpeedUp
    curve: tuple[SpeedUp, ...]


def saved(left: Left, whole: Network, chip: Chip, arithmetic: Precision) -> Saved | None:
    """What is saved of the layers' weights and products; None where no zeros were counted."""
    zeros = {found.layer: found for found in left.zeros}
    if not zeros:
        return None
    skips = chip.array.skips
    layers = [layer for layer in left.network.layers if layer.name in zeros]
    of = {layer.name: zeros[layer.name] for layer in layers}
    by_weights, by_activations = (skips in (kind, "both") for kind in ("weights", "activations"))
    products = sum(
        layer.macs * (1 - of[layer.name].weights) * (1 - of[layer.name].activations)
        for layer in layers
    )
    done = sum(
        layer.macs
        * (1 - by_weights * of[layer.name].weights)
        * (1 - by_activations * of[layer.name].activations)
        for layer in layers
    )
    gone = sum(layer.stored * of[layer.name].weights for layer in layers)

    def priced(network: Network, workload: Workload) -> Cost:
        return estimate(network, chip, workload, arithmetic, 1)

    dense, now = priced(left.network, Workload()), priced(left.network, Workload(zeros=left.zeros))
    curve = []
    for z in ZEROS if by_weights or by_activations else ():
        workload = Workload(activation_zeros=z * by_activations, weight_zeros=z * by_weights)
        share = (1 - z) ** (by_weights + by_activations)
        curve.append(_speed_up(share, dense, priced(left.network, workload)))
    return Saved(
        weights=(left.network.stored - gone) / whole.stored,
        products=products / whole.macs,
        skips=skips,
        measured=_speed_up(done / whole.macs, priced(whole, Workload()), now),
        curve=tuple(curve),
    )


def _speed_up(share: float, dense: Cost, now: Cost) -> SpeedUp:
    """Args: share: of the products of `dense` that are left to do `now`."""
    array = dense.processing_s / now.processing_s
    return SpeedUp(1 - share, 1 / share, array, dense.latency_s / now.latency_s)
