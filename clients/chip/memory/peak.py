"""The most memory that a step holds at once, and whether the device has it.

Inference holds the weights and the largest set of live tensors; on a microcontroller weights are in
flash and the arena is planned as its runtime does. A training step holds weights, all activations
that the backward pass needs, and gradients in 32 bits: `batch` times those for per-sample clipping.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from clients.chip.dataflows.microcontroller import plan_memory
from clients.chip.hardware import Chip
from clients.chip.precision import Precision
from clients.chip.workloads.training import gradient_words, gradient_words_of
from clients.chip.workloads.workload import Network, Workload

GRADIENT_BYTES = 4


@dataclass(frozen=True)
class Memory:
    """Bytes held at the worst moment.

    Attributes:
        peak_bytes: all of it, of the memory that is written (a microcontroller's SRAM; else DRAM).
        weight_bytes: of the weights, fixed ones too; in flash on a microcontroller that only
            infers.
        gradient_bytes: of gradients, 4 bytes a word.
        limit_bytes: what there is; 0 is no limit.
        fits: the verdict: False is out of memory.
    """

    peak_bytes: int
    weight_bytes: int
    gradient_bytes: int
    limit_bytes: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What a layer holds in memory.

    Attributes:
        weight_bytes: of its weights. `gradient_bytes`: of their gradients, 4 bytes a word.
        live_bytes: of an inference: all tensors that are alive while it runs; of a training step:
            what its backward pass needs and no earlier layer keeps already.
    """

    layer: str
    weight_bytes: int
    gradient_bytes: int
    live_bytes: int


def by_layer(
    network: Network, workload: Workload, precision: Precision, batch: int
) -> tuple[Held, ...]:
    """What each layer of a step on a batch holds, in the order of the network."""
    words = network.kept_by_layer if workload.step != "inference" else alive(network)
    return tuple(
        Held(
            layer.name,
            _bytes(layer.stored, precision.weight_bits),
            GRADIENT_BYTES * gradient_words_of(layer, workload, batch),
            _bytes(batch * live, precision.activation_bits),
        )
        for layer, live in zip(network.layers, words, strict=True)
    )


@lru_cache(maxsize=256)
def alive(network: Network) -> tuple[int, ...]:
    """Words of the tensors that are alive while each layer infers one record."""
    sizes = [network.input_size, *(layer.size for layer in network.layers)]
    last = [max(i, 0) for i in range(-1, len(network.layers))]
    for index, layer in enumerate(network.layers):
        for source in layer.inputs:
            last[source + 1] = max(last[source + 1], index)
    return tuple(
        sum(sizes[t] for t in range(index + 2) if last[t] >= index)
        for index in range(len(network.layers))
    )


def peak(
    network: Network, chip: Chip, workload: Workload, precision: Precision, batch: int
) -> Memory:
    """Peak memory of a step on a batch."""
    weights = _bytes(network.stored, precision.weight_bits)
    gradients = GRADIENT_BYTES * gradient_words(network, workload, batch)
    word = precision.activation_bits / 8
    if workload.step == "inference":
        live = ceil(_arena(network) * word) * max(batch, 1)
    else:
        live = int(batch * network.activations * word)
    if chip.microcontroller is None:
        total = weights + gradients + live
    else:
        stored = 0 if workload.step == "inference" else weights
        total = chip.microcontroller.runtime_bytes + stored + gradients + live
    return _judged(total, weights, gradients, chip)


def in_turn(first: Memory, then: Memory, chip: Chip) -> Memory:
    """Of two networks that infer one after the other: both weights stay, all else takes turns."""
    weights = first.weight_bytes + then.weight_bytes
    if chip.microcontroller is None:
        live = max(part.peak_bytes - part.weight_bytes for part in (first, then))
        return _judged(weights + live, weights, 0, chip)
    return _judged(max(first.peak_bytes, then.peak_bytes), weights, 0, chip)


def _judged(total: int, weights: int, gradients: int, chip: Chip) -> Memory:
    limit, flash = chip.memory.dram_bytes, 0
    if chip.microcontroller:
        limit, flash = chip.memory.buffer_bytes, chip.memory.dram_bytes
    fits = (not limit or total <= limit) and (not flash or weights <= flash)
    return Memory(total, weights, gradients, limit, fits)


@lru_cache(maxsize=256)
def _arena(network: Network) -> int:
    """Words; planned once for bytes, so that wider words are laid out alike."""
    return plan_memory(network)


def _bytes(words: int, bits: int) -> int:
    return -(-words * bits // 8)
