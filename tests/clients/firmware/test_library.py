"""Kernels of CMSIS-NN in exported answers: the same sums, so the same logits, bit by bit.

Its code is not ours to keep. Here its one function is written out as its documentation tells it;
with CMSIS_NN=DIR in the environment the same is asked of the library itself.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from test_answers import logits
from test_board import NUM

from clients.arithmetic import Arithmetic
from clients.boards.nets import net_of, words_of
from clients.firmware.check import KEY
from clients.firmware.compiling import HEADERS, SOURCE, build, library_of, missing, require_library
from clients.firmware.contract import agree
from clients.firmware.emulator import Board
from clients.firmware.fitting import needed_to_answer
from clients.firmware.sources import sources
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build as build_net
from privacy.errors import ModelError, SettingsError

PROTOTYPE = """#include <stdint.h>
#include <string.h>
typedef int arm_cmsis_nn_status;
arm_cmsis_nn_status arm_nn_mat_mult_nt_t_s8_s32(
    const int8_t *lhs, const int8_t *rhs, int32_t *dst, const int32_t lhs_rows,
    const int32_t rhs_rows, const int32_t rhs_cols, const int32_t lhs_offset,
    const int32_t dst_idx_offset);
"""
OBVIOUS = """#include "arm_nnsupportfunctions.h"
arm_cmsis_nn_status arm_nn_mat_mult_nt_t_s8_s32(
    const int8_t *lhs, const int8_t *rhs, int32_t *dst, const int32_t lhs_rows,
    const int32_t rhs_rows, const int32_t rhs_cols, const int32_t lhs_offset,
    const int32_t dst_idx_offset) {
    for (int32_t i = 0; i < lhs_rows; i++)
        for (int32_t j = 0; j < rhs_cols; j++)
            for (int32_t k = 0; k < rhs_rows; k++)
                dst[(i * rhs_cols + j) * dst_idx_offset] +=
                    (lhs[i * rhs_rows + k] + lhs_offset) * rhs[j * rhs_rows + k];
    return 0;
}
"""
NETS = {
    "ds-cnn": (Form((1, 12, 7), 4), {"width": 5, "depth": 1}),
    "cnn1d": (Form((3, 22), 4, "window"), {"width": 4, "depth": 2, "kernel": 5}),
    "convnet": (Form((2, 21, 20), 4), {"width": 3}),
}
INT8 = Arithmetic(name="fixed")


@pytest.fixture
def stub(tmp_path):
    return written(tmp_path / "cmsis", OBVIOUS)


def written(folder, text):
    for name, content in ((f"{HEADERS}/arm_nnsupportfunctions.h", PROTOTYPE), (SOURCE, text)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return library_of(f"cmsis-nn={folder}")


def drawn(name):
    form, more = NETS[name]
    net = build_net(Model(name=name, **more), form, INT8)
    plan, layers = net_of(net, INT8, form.shape)
    contract = agree(
        layers, scale=255, noise_multiplier=1.5, clip=0.7, learning_rate=0.1, sample_rate=0.2,
        num_records=NUM, steps=9, epsilon=None, delta=1e-5, plan=plan, numbers=words_of(INT8),
    )  # fmt: skip
    dice = np.random.default_rng(4)
    some = dice.integers(-500, 500, (6, contract.sizes[0])).astype(np.int16)
    some[3:] = np.abs(some[3:])  # none negative: another offset
    return contract, layers, some


def told(folder, contract, layers, some, library):
    folder.mkdir()
    for name, text in sources(contract, layers, answers=True, library=library).items():
        (folder / name).write_text(text)
    program = build(folder, "m4", answers=True, library=library)
    board = Board(program, "m4", contract, KEY, (some[:0], np.zeros(0, np.uint8)))
    return [logits(board, contract, x) for x in some], board.static_bytes


needs_tools = pytest.mark.skipif(bool(missing()), reason="not verified: privet[firmware]")


@needs_tools
@pytest.mark.parametrize("name", NETS)
def test_answers_are_those_of_our_own_kernels(tmp_path, stub, name):
    made = drawn(name)
    (own, _), (theirs, held) = (
        told(tmp_path / where, *made, library) for where, library in (("a", None), ("b", stub))
    )
    assert theirs == own
    assert len(set(own)) == 6
    contract = made[0]
    assert held <= needed_to_answer(contract.sizes, contract.plan, contract.numbers, True).ram


@needs_tools
def test_a_kernel_that_is_wrong_is_seen(tmp_path):
    wrong = written(tmp_path / "cmsis", OBVIOUS.replace("+ lhs_offset", ""))
    made = drawn("cnn1d")
    own, theirs = (
        told(tmp_path / where, *made, library)[0] for where, library in (("a", None), ("b", wrong))
    )
    assert theirs != own


@needs_tools
@pytest.mark.skipif("CMSIS_NN" not in os.environ, reason="the library itself: set CMSIS_NN=DIR")
@pytest.mark.parametrize("name", NETS)
def test_the_library_itself_gives_the_same(tmp_path, name):
    made, library = drawn(name), library_of(f"cmsis-nn={os.environ['CMSIS_NN']}")
    own, theirs = (
        told(tmp_path / where, *made, one)[0] for where, one in (("a", None), ("b", library))
    )
    assert theirs == own


def test_what_is_no_library_is_refused(tmp_path):
    assert library_of("own") is library_of("") is None
    for asked, said in (
        ("cmsis", "say own, or cmsis-nn=DIR"),
        ("cmsis-nn", "say own, or cmsis-nn=DIR"),
        (f"cmsis-nn={tmp_path}", "has no Include/arm_nnsupportfunctions.h"),
    ):
        with pytest.raises(SettingsError, match=f"--kernels {asked}: {said}"):
            library_of(asked)


def test_what_it_does_not_compute_is_refused():
    require_library(True, words_of(INT8))
    with pytest.raises(ModelError, match="a perceptron has none"):
        require_library(False, words_of(INT8))
    for numbers in (None, words_of(Arithmetic(name="ternary"))):
        with pytest.raises(ModelError, match="multiplies words of 5 to 8 bits"):
            require_library(True, numbers)


def test_the_build_names_it(stub):
    contract, layers, _ = drawn("cnn1d")
    for library, said in ((None, "CMSIS_NN ?= \n"), (stub, f"CMSIS_NN ?= {stub.resolve()}\n")):
        made = sources(contract, layers, answers=True, library=library)
        assert said in made["Makefile"]
        assert ("library.h" in made) == (library is not None)
        assert "@" not in made["CMakeLists.txt"].replace("$@", "")
    assert Path(stub / SOURCE).is_file()
