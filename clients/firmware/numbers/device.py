"""A simulated board, in the arithmetic of its contract, and what its weights' bits stand for."""

import numpy as np
from numpy.typing import NDArray

from clients.firmware.contract import Contract
from clients.firmware.net import Dense, Records
from clients.firmware.numbers.floats import Device, Floats
from clients.firmware.numbers.layers import LayersDevice
from clients.firmware.numbers.noise import Words32
from clients.firmware.numbers.word_layers import WordLayersDevice
from clients.firmware.numbers.words import WordsDevice, whole_of


def device_of(
    contract: Contract, layers: tuple[Dense, ...], key: Words32, records: Records
) -> Device | WordsDevice:
    """Of float32 numbers, of words, or of a plan of layers.

    Args:
        key: uint32 [8], of its random generator.
        records: inputs int16 [N, inputs], labels uint8 [N].
    """
    if contract.numbers is not None:
        of_words = WordsDevice if contract.plan is None else WordLayersDevice
        return of_words(contract, layers, key, records)
    kind = Device if contract.plan is None else LayersDevice
    return kind(contract, layers, key, records)


def raw_of(contract: Contract, weights: Floats) -> NDArray[np.uint32]:
    """All weights, bit by bit: of words the nearest whole numbers of units that are kept."""
    if contract.numbers is None:
        return weights.astype(np.float32).view(np.uint32)
    return whole_of(contract, weights).astype(np.int32).view(np.uint32)


def reals_of(contract: Contract, raw: NDArray[np.uint32]) -> Floats:
    """What all weights stand for, float32."""
    if contract.numbers is None:
        return raw.view(np.float32)
    return raw.view(np.int32).astype(np.float32) * contract.rate
