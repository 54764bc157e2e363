"""C for a microcontroller that only answers: no private step, and words packed in flash."""

from collections.abc import Sequence
from pathlib import Path

from clients.firmware.answers import Answered
from clients.firmware.contract import FLAGS
from clients.firmware.emulator import KEY
from clients.firmware.front.check import Turned
from clients.firmware.front.made import front_vectors, told_of
from clients.firmware.numbers.device import device_of
from clients.firmware.sources import C
from privacy.documents import to_json
from server.export.firmware import Board, public_records, write_folder


def write_answers(
    board: Board, folder: Path, found: Sequence[Answered], turned: Sequence[Turned] = ()
) -> None:
    """Write C of answers alone: whole, or not at all.

    Args:
        found, turned: by `board.check_answers` and `check_front`; empty if they were not made.

    Raises:
        RunError: the folder exists, or cannot be written.
    """
    contract = board.contract
    _, (inputs, _) = public_records(contract)
    said = device_of(contract, board.layers, KEY, board.records).predict(inputs)
    rows = (x.astype("<i2").tobytes() + bytes([y]) for x, y in zip(inputs, said, strict=True))
    told = contract.as_dict()
    about = {
        "chip": board.chip,
        **{key: told[key] for key in ("sizes", "scale", "numbers", "plan")},
        "flags": list(FLAGS),
        "verified": "on emulated targets" if found else "not verified on the target",
        "measured": [one.as_dict() for one in found],
        **told_of(board.front, [one.as_dict() for one in turned]),
    }
    texts = board.sources(answers=True) | {
        "README.md": (C / "ANSWERS.md").read_text(),
        "answers.json": to_json(about, indent=1) + "\n",
    }
    vectors = {"vectors.bin": b"".join(rows)} | front_vectors(board.front, contract.scale)
    write_folder({name: text.encode() for name, text in texts.items()} | vectors, folder)
