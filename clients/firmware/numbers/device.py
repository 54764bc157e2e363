"""A simulated board, in the arithmetic of its contract."""

from clients.firmware.contract import Contract
from clients.firmware.net import Dense, Records
from clients.firmware.numbers.floats import Device
from clients.firmware.numbers.layers import LayersDevice
from clients.firmware.numbers.noise import Words32
from clients.firmware.numbers.words import WordsDevice


def device_of(
    contract: Contract, layers: tuple[Dense, ...], key: Words32, records: Records
) -> Device | WordsDevice:
    """Of float32 numbers, of words, or of a plan of layers.

    Args:
        key: uint32 [8], of its random generator.
        records: inputs int16 [N, inputs], labels uint8 [N].
    """
    if contract.numbers is not None:
        return WordsDevice(contract, layers, key, records)
    kind = Device if contract.plan is None else LayersDevice
    return kind(contract, layers, key, records)
