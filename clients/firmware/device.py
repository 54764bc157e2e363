"""A simulated board, in the arithmetic of its contract."""

from clients.firmware.contract import Contract
from clients.firmware.net import Dense, Records
from clients.firmware.noise import Words32
from clients.firmware.simulation import Device
from clients.firmware.words import WordsDevice


def device_of(
    contract: Contract, layers: tuple[Dense, ...], key: Words32, records: Records
) -> Device | WordsDevice:
    """Of float32 numbers, or of words.

    Args:
        key: uint32 [8], of its random generator.
        records: inputs int16 [N, inputs], labels uint8 [N].
    """
    kind = Device if contract.numbers is None else WordsDevice
    return kind(contract, layers, key, records)
