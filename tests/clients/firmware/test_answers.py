"""A board that only answers: its weights lie in flash as it reads them, and its logits are those of
the board that learns."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from test_board import LAYERS, RECORDS, contract

from clients.arithmetic import Arithmetic
from clients.boards.nets import net_of, words_of
from clients.firmware.check import KEY
from clients.firmware.compiling import build, missing
from clients.firmware.emulator import Board
from clients.firmware.front.log_mel import LogMel
from clients.firmware.sources import sources
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build as build_net

needs_tools = pytest.mark.skipif(bool(missing()), reason="not verified: privet[firmware]")
INT4 = Arithmetic(name="fixed", bits=4)
SOUND = LogMel(8, 8, 2, np.ones(4, np.float32), np.ones((3, 1), np.float32), 99.0, *[1e-6] * 3)
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


def made(kind):
    """A contract and its layers."""
    if kind == "binary":
        return contract(numbers=words_of(Arithmetic(name="binary", activation_bits=8))), LAYERS
    if kind in ("float", "front"):
        return contract(), LAYERS
    about = {"cnn1d": {"depth": 2, "kernel": 3}, "gru": {}}
    name, numbers = ("gru", Arithmetic()) if kind == "gru" else ("cnn1d", INT4)
    model = Model(name=name, width=4, **about[name])
    net = build_net(model, Form(SHAPE, contract().sizes[-1], "window"), numbers)
    plan, layers = net_of(net, numbers, SHAPE)
    return contract(layers=layers, numbers=words_of(numbers), plan=plan), layers


@needs_tools
@pytest.mark.parametrize("kind", ["binary", "float", "int4 layers"])
def test_its_logits_are_those_of_a_board_that_learns(tmp_path, kind):
    c, layers = made(kind)
    alone, other = (
        compiled(tmp_path / name, c, layers, answers)
        for name, answers in (("alone", True), ("other", False))
    )
    told = [logits(alone, c, x) for x in RECORDS[0][:6]]
    assert told == [logits(other, c, x) for x in RECORDS[0][:6]]
    assert len(set(told)) == 6
    assert alone.flash_bytes < other.flash_bytes - 4 * c.num_weights * (kind != "float")
    assert alone.static_bytes < other.static_bytes / 2


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("kind", ["binary", "float", "int4 layers", "gru", "front"])
@pytest.mark.parametrize("answers", [True, False])
def test_whatever_is_written_is_included(tmp_path, kind, answers):
    """By the compiler's own word; and of answers nothing is told that a step reads."""
    c, layers = made(kind)
    front = SOUND if kind == "front" else None
    text = sources(c, layers, answers=answers, front=front)
    for name, content in text.items():
        (tmp_path / name).write_text(content)
    names = [name for name in text if name.endswith(".c")]
    told = subprocess.run(
        ["gcc", "-MM", *names], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    read = set(re.findall(r"[\w.]+\.[ch]\b", told))
    assert read == {name for name in text if name.endswith((".c", ".h"))}
    assert len(read & {"step.h", "ledger.h", "noise.h", "tables.h"}) == (0 if answers else 4)
    assert ("PRIVET_SENSITIVITY" in text["contract.h"]) == (not answers)
