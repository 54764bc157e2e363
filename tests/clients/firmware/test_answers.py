"""A board that only answers: its weights lie in flash as it reads them, and its logits are those of
the board that learns."""

import pytest
from test_board import LAYERS, RECORDS, contract

from clients.arithmetic import Arithmetic
from clients.boards.nets import net_of, words_of
from clients.firmware.check import KEY
from clients.firmware.compiling import build, missing
from clients.firmware.emulator import Board
from clients.firmware.sources import sources
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build as build_net

pytestmark = pytest.mark.skipif(bool(missing()), reason="not verified: privet[firmware]")
INT4 = Arithmetic(name="fixed", bits=4)
SHAPE = (2, 11)  # as many numbers as RECORDS have


def compiled(folder, c, layers, answers):
    folder.mkdir()
    for name, text in sources(c, layers, answers=answers).items():
        (folder / name).write_text(text)
    board = Board(build(folder, "m4", answers=answers), "m4", c, KEY, RECORDS)
    if not answers:
        board.call("privet_begin")
        board.call("privet_open", 0)
    return board


def logits(board, c, x):
    board.predict(x)
    held = board.symbols["outputs" if c.plan is None else "values"]
    end = held.address + held.size
    return bytes(board._mu.mem_read(end - 4 * c.sizes[-1], 4 * c.sizes[-1]))


@pytest.mark.parametrize("kind", ["binary", "float", "int4 layers"])
def test_its_logits_are_those_of_a_board_that_learns(tmp_path, kind):
    layers, c = LAYERS, contract()
    if kind == "binary":
        c = contract(numbers=words_of(Arithmetic(name="binary", activation_bits=8)))
    if kind == "int4 layers":
        model = Model(name="cnn1d", width=4, depth=2, kernel=3)
        net = build_net(model, Form(SHAPE, c.sizes[-1], "window"), INT4)
        plan, layers = net_of(net, INT4, SHAPE)
        c = contract(layers=layers, numbers=words_of(INT4), plan=plan)
    alone, other = (
        compiled(tmp_path / name, c, layers, answers)
        for name, answers in (("alone", True), ("other", False))
    )
    told = [logits(alone, c, x) for x in RECORDS[0][:6]]
    assert told == [logits(other, c, x) for x in RECORDS[0][:6]]
    assert len(set(told)) == 6
    assert alone.flash_bytes < other.flash_bytes - 4 * c.num_weights * (kind != "float")
    assert alone.static_bytes < other.static_bytes / 2
