"""A board on a serial port: what a line garbles, what strangers send, what its ledger must be."""

import os
import pty
import select
import struct
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.firmware.compiling import build, missing
from clients.firmware.contract import agree
from clients.firmware.net import Dense
from clients.firmware.numbers.device import device_of
from clients.firmware.serial.chain import RECORD, read_chain, require_known, require_longer
from clients.firmware.serial.emulated import SerialBoard, flash_in, fresh_key
from clients.firmware.serial.frames import MOST, MOST_CODED, Decoder, Frame, encode
from clients.firmware.serial.lines import DeviceLine, EmulatedLine
from clients.firmware.serial.remote import Ask, RemoteBoard, Status
from clients.firmware.sources import sources
from privacy.errors import BudgetExhausted, LedgerError, PrivetError

needs_tools = pytest.mark.skipif(
    bool(missing()), reason="not verified on the target: pip install 'privet[firmware]'"
)
DICE = np.random.default_rng(5)
SIZES, NUM = (13, 6, 3), 40
LAYERS = tuple(
    Dense(DICE.normal(0, 0.5, (o, i)).astype("f4"), DICE.normal(0, 0.1, o).astype("f4"))
    for i, o in pairwise(SIZES)
)
RECORDS = (
    DICE.integers(0, 256, (NUM, SIZES[0])).astype(np.int16),
    DICE.integers(0, SIZES[-1], NUM).astype(np.uint8),
)
CONTRACT = agree(
    LAYERS, scale=255, noise_multiplier=1.1, clip=0.7, learning_rate=0.5, sample_rate=0.2,
    num_records=NUM, steps=12, epsilon=None, delta=1e-5,
)  # fmt: skip
KEY = fresh_key()
FRAMES = st.builds(
    Frame, st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=MOST), st.integers(0, 255)
)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    for name, text in sources(CONTRACT, LAYERS).items():
        (folder / name).write_text(text)
    return build(folder, "m7", serial=True)


def board(program, flash=None):
    return SerialBoard(program, CONTRACT, KEY, RECORDS, flash)


def remote(one):
    return RemoteBoard(EmulatedLine(one), CONTRACT)


# ---- frames


@given(st.lists(FRAMES, max_size=4), st.binary(max_size=600), st.integers(1, 99))
@settings(max_examples=40, deadline=None)
def test_frames_come_through_whatever_lay_on_the_line(frames, garbage, size):
    """In pieces of any size; what is held is bounded."""
    line = garbage + b"".join(map(encode, frames))
    decoder, found = Decoder(), []
    for at in range(0, len(line), size):
        found += decoder.feed(line[at : at + size])
        assert len(decoder._held) <= MOST_CODED
    assert found[len(found) - len(frames) :] == frames


@given(FRAMES, st.data())
@settings(max_examples=40, deadline=None)
def test_a_garbled_frame_is_no_other_frame(frame, data):
    coded = bytearray(encode(frame))
    at = data.draw(st.integers(0, len(coded) - 1))
    coded[at] ^= data.draw(st.integers(1, 255))
    assert set(Decoder().feed(bytes(coded))) <= {frame}
    with pytest.raises(ValueError, match="a frame holds 240"):
        encode(Frame(1, 1, bytes(MOST + 1)))


# ---- the board's side


@needs_tools
def test_a_board_asked_over_the_line_is_the_simulation(program, tmp_path):
    """Bit by bit, over power cuts, with its flash in a file."""
    path = tmp_path / "flash"
    first = remote(board(program, flash_in(path, CONTRACT)))
    first.open(0)
    device = device_of(CONTRACT, LAYERS, KEY, RECORDS)
    other = tuple(Dense(-w, b) for w, b in LAYERS)
    device.layers = other
    first.write(device.raw)
    for _ in range(3):
        first.step()
        device.step()
    assert np.array_equal(first.read(), device.raw)
    again = remote(board(program, flash_in(path, CONTRACT)))
    with pytest.raises(LedgerError, match="cut short"):
        again.open(4)
    again.open(3)
    assert read_chain(CONTRACT, again.ledger()).steps == 3
    again.write(device.raw)
    for _ in range(CONTRACT.most_steps - 3):
        again.step()
        device.step()
    assert np.array_equal(again.read(), device.raw)
    with pytest.raises(BudgetExhausted, match="contract allows are spent"):
        again.step()


@needs_tools
@given(st.binary(max_size=300), st.lists(FRAMES, max_size=6))
@settings(max_examples=15, deadline=None)
def test_strangers_on_the_line(program, garbage, frames):
    """Random bytes, and well-formed frames of random content: no answer or a status, and after that
    the board is what it was."""
    one = board(program)
    said = list(Decoder().feed(one.exchange(garbage + b"".join(map(encode, frames)))))
    assert all(frame.type & 0x80 and len(frame.content) >= 4 for frame in said)
    sound = remote(one)
    sound.open(0)
    sound.write(np.arange(CONTRACT.num_weights, dtype=np.uint32))
    assert np.array_equal(sound.read(), np.arange(CONTRACT.num_weights))


@needs_tools
def test_bounds_and_versions(program):
    one = board(program)
    sound = remote(one)
    sound.open(0)
    total, records = CONTRACT.num_weights, CONTRACT.most_steps + 1

    def status(kind, *numbers, version=1, more=b""):
        content = struct.pack(f"<{len(numbers)}I", *numbers) + more
        (frame,) = Decoder().feed(one.exchange(encode(Frame(kind, 7, content, version))))
        one.exchange(encode(Frame(Ask.HELLO, 8, b"")))
        return struct.unpack_from("<I", frame.content)[0]

    assert status(Ask.READ, total - 1, 1) == Status.OK
    beyond = [(Ask.READ, total, 1), (Ask.READ, 0, 60), (Ask.READ, 2**32 - 1, 2)]
    beyond += [(Ask.LEDGER, 2, 0, 1), (Ask.LEDGER, 0, records - 1, 2), (Ask.LEDGER, 0, 0, 8)]
    beyond += [(Ask.WRITE, total, 0), (Ask.WRITE, 2**32 - 1, 0), (Ask.STEP, 1), (99,)]
    for refused in beyond:
        assert status(*refused) == Status.REQUEST, refused
    assert status(Ask.READ, 0, 1, version=2) == Status.REQUEST
    assert status(Ask.WRITE, 0, more=b"abc") == Status.REQUEST


@needs_tools
def test_a_request_that_is_asked_again_takes_no_second_step(program):
    """The answer was lost: the same number gets the same answer."""
    one = board(program)
    sound = remote(one)
    sound.open(0)
    asked = encode(Frame(Ask.STEP, 41, b""))
    answers = [one.exchange(asked) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert read_chain(CONTRACT, sound.ledger()).steps == 1


@needs_tools
def test_over_a_pseudo_terminal(program):
    """The board's C at one end, a device file at the other; and somebody's noise between."""
    one, (master, slave) = board(program), pty.openpty()
    device, done = DeviceLine(os.ttyname(slave)), threading.Event()

    def serve():
        while not done.is_set():
            if select.select([master], [], [], 0.05)[0]:
                os.write(master, one.exchange(os.read(master, 4096)))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(PrivetError, match="another process has it"):
            DeviceLine(os.ttyname(slave))
        os.write(master, b"booting...\r\n\xff")
        found = RemoteBoard(device, CONTRACT)
        found.open(0)
        device.write(b"AT+\x00\xff\x01")
        found.step()
        assert np.array_equal(found.read(), one.raw)
        assert read_chain(CONTRACT, found.ledger()).steps == 1
    finally:
        done.set()
        thread.join()
        device.close()
        os.close(master)
        os.close(slave)


def test_no_board(tmp_path):
    class Silent:
        def write(self, data):
            pass

        def read(self, timeout_s):
            return b""

    with pytest.raises(PrivetError, match="does not answer HELLO"):
        RemoteBoard(Silent(), CONTRACT)
    with pytest.raises(PrivetError, match="No such file"):
        DeviceLine(tmp_path / "ttyUSB0")
    (tmp_path / "file").touch()
    with pytest.raises(PrivetError, match="file: "):
        DeviceLine(tmp_path / "file")
    (tmp_path / "flash").write_bytes(b"\xff" * 64)
    with pytest.raises(PrivetError, match="64 bytes of flash"):
        flash_in(tmp_path / "flash", CONTRACT)


# ---- its ledger


@needs_tools
def test_a_ledger_that_no_board_left_is_refused(program):
    one = board(program)
    sound = remote(one)
    sound.open(0)
    for _ in range(5):
        sound.step()
    area = sound.ledger()[0]
    told = read_chain(CONTRACT, (area, area))
    assert told == (5, 0)
    erased = b"\xff" * RECORD

    def refused(changed, says, other=None):
        with pytest.raises(LedgerError, match=says):
            require_known(read_chain(CONTRACT, (changed, other or changed)), 5, 5)

    def at(place, record):
        return area[: RECORD * place] + record + area[RECORD * (place + 1) :]

    def row(place):
        return area[RECORD * place : RECORD * (place + 1)]

    refused(at(5, erased), "4 steps, and 5 are known: cut short, or put back")
    refused(at(5, erased), "4 steps in one area and 5", area)
    refused(at(3, erased), "a hole")
    refused(at(6, row(5)), "step 5 twice")
    refused(at(4, row(3)), "step 3 twice")
    refused(area[:-RECORD], "bytes in an area")
    refused(b"\xff" * len(area), "never begun")
    refused(bytes(RECORD) * 13, "step 0 twice")
    strange = replace(CONTRACT, delta=1e-6)
    assert read_chain(strange, (area, area)).torn == 6  # begun by another contract
    with pytest.raises(LedgerError, match=r"5 steps, and --ledger knows of 4"):
        require_known(told, 0, 4)
    sound.step()
    longer = sound.ledger()[0]
    require_longer(area, longer)
    for other in (longer[: RECORD * 4] + row(5) + longer[RECORD * 5 :], at(5, erased)):
        with pytest.raises(LedgerError, match="does not go on"):
            require_longer(area, other)
