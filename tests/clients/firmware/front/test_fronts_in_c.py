"""Fronts on a board: against what a run reads, against numpy's transforms, and in the emulator."""

import shutil
import subprocess

import numpy as np
import pytest

from clients.boards.fronts import front_in_c, read_of
from clients.data.dataset import Dataset
from clients.data.encodings import Scaled
from clients.firmware.compiling import WARNINGS, missing
from clients.firmware.contract import FLAGS, agree
from clients.firmware.fitting import Room
from clients.firmware.front.check import allowed, check_front
from clients.firmware.front.fourier import line_of, transform
from clients.firmware.front.log_mel import logarithm
from clients.firmware.front.made import front_vectors, require_front_fits, whole_features
from clients.firmware.net import Dense
from clients.firmware.sources import sources
from clients.models import Model
from privacy.errors import ModelError

SCALE, NUM = 4096, 6
HOST = """
#include <stdio.h>
#include "front.h"
int main(void) {
    static privet_raw_t raw[PRIVET_RAW];
    static int16_t made[PRIVET_FEATURES];
    while ((fread(raw, sizeof raw, 1, stdin) == 1) && (fread(made, sizeof made, 1, stdin) == 1)) {
        privet_front(raw, made);
        fwrite(raw, sizeof raw, 1, stdout);
        fwrite(made, sizeof made, 1, stdout);
    }
    return 0;
}
"""
needs_tools = pytest.mark.skipif(bool(missing()), reason="not verified: privet[firmware]")


def dataset(x, kind, full, rate=0.0):
    nothing = np.zeros(0, np.int64)
    y = np.zeros(len(x), np.int64)
    about = {"kind": kind, "rate_hz": rate}
    return Dataset(kind, x, y, x[:0], nothing, "ab", 3, Scaled(full), **about)


def sounds(rate=700, length=230):
    """Loud and soft, with an offset, half silent, silent."""
    dice = np.random.default_rng(1)
    x = dice.normal(0, 10 ** dice.uniform(0.5, 4, (NUM, 1)), (NUM, length))
    x += 3000 * np.sin(np.arange(length) * dice.uniform(0.1, 3, (NUM, 1)))
    x[0], x[1] = 0, x[1] + 700
    x[2, : length // 2] = 0
    x = np.clip(np.rint(x), -32768, 32767).astype(np.int16)
    return Model(name="gru"), dataset(x, "sound", 32768.0, rate)


def pictures(shape=(8, 12)):
    """Black, white, noise, half black, lines."""
    dice = np.random.default_rng(2)
    x = dice.integers(0, 256, (NUM, *shape)).astype(np.uint8)
    x[0], x[1], x[3, ..., :4], x[4, ..., ::2] = 0, 255, 0, 0
    return Model(name="scatter"), dataset(x, "picture", 255.0)


def colours():
    return pictures((3, 8, 8))


FRONTS = {"log-mel": sounds, "scatter": pictures, "scatter of colours": colours}


def made(kind):
    model, data = FRONTS[kind]()
    front = front_in_c(model, data)
    layers = (Dense(np.zeros((3, front.num_features), np.float32), np.zeros(3, np.float32)),)
    contract = agree(
        layers, scale=SCALE, noise_multiplier=1.0, clip=1.0, learning_rate=0.1, sample_rate=0.5,
        num_records=20, steps=2, epsilon=None, delta=1e-5,
    )  # fmt: skip
    return model, data, front, layers, contract


@pytest.mark.parametrize("size", [1, 7, 16, 22, 36, 45])
def test_a_line_is_numpys_transform(size):
    x = np.random.default_rng(size).normal(size=(2, 3, size)).astype(np.float32)
    for sign, expected in ((1, np.fft.fft(x[0] + 1j * x[1])), (-1, np.fft.ifft(x[0] + 1j * x[1]))):
        a, b = transform(line_of(size), x[0], x[1], sign)
        assert a.dtype == np.float32
        found = (a + 1j * b.astype(np.float64)) / (1 if sign == 1 else size)
        np.testing.assert_allclose(found, expected, atol=2e-6 * size)


def test_the_logarithm_is_numpys():
    x = np.geomspace(1, 1e12, 9999).astype(np.float32)
    np.testing.assert_allclose(logarithm(x), np.log(x.astype(np.float64)), rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("kind", FRONTS)
def test_features_are_those_of_the_run(kind):
    """Before they are rounded, but for silence, nearly all that is off is the run's float16."""
    model, data, front, *_ = made(kind)
    own = read_of(model, data, data.train_x).astype(np.float64).reshape(NUM, -1)
    ours = front.features(data.train_x)
    assert ours.dtype == np.float32
    far = np.abs(ours - own)
    assert (far <= allowed(own, SCALE) - 0.5 / SCALE).all()
    assert (far[2:] <= np.abs(own[2:]) * 2.0**-11 + 1e-4).all()
    assert np.abs(own[2:]).max() > 1


@needs_tools
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("log-mel", "", ""),
        ("log-mel", "0.693147182f", "0.6932f"),
        ("log-mel", "e * e", "e"),
        ("scatter", "", ""),
        ("scatter", "(part >> 1) * g->rows", "(part & 1u) * g->rows"),
        ("scatter of colours", "MIX[(3u * channel) + 1u]", "0.3f"),
    ],
)
def test_the_board_is_the_definition(kind, good, bad):
    model, data, front, layers, contract = made(kind)
    text = sources(contract, layers, answers=True, front=front)
    assert good in text["front.c"]
    text["front.c"] = text["front.c"].replace(good, bad)
    raw = data.train_x[:NUM] if kind == "log-mel" else data.train_x[3 if good else 2 : 4]
    own = read_of(model, data, raw)
    (found,) = check_front(text, contract, front, raw, own, targets=("m4",), counted=not good)
    assert found.passed == (not good)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("kind", FRONTS)
def test_gcc_has_no_warning_and_the_same_bits(kind, tmp_path):
    """On the host, of the records that an export has for strangers."""
    *_, front, layers, contract = made(kind)
    for name, text in sources(contract, layers, answers=True, front=front).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "host.c").write_text(HOST)
    flags = [flag for flag in FLAGS if flag != "-ffreestanding"]
    files = [str(tmp_path / name) for name in ("front.c", "host.c")]
    command = ["gcc", *flags, *WARNINGS, *files, "-o", str(tmp_path / "host")]
    subprocess.run(command, check=True)
    (vectors,) = front_vectors(front, SCALE).values()
    done = subprocess.run([tmp_path / "host"], input=vectors, capture_output=True, check=True)
    assert len(vectors) > 0
    assert done.stdout == vectors


def test_what_has_no_c_is_refused():
    model, data = sounds()
    with pytest.raises(ModelError, match="'spectrum': has no C yet; log-mel"):
        front_in_c(Model(name="perceptron", front="spectrum"), data)
    with pytest.raises(ModelError, match=r"sounds of 65,537 samples; 65,536 have C: .* length_s"):
        front_in_c(model, sounds(length=(1 << 16) + 1)[1])
    floats = dataset(data.train_x.astype(np.float32), "sound", 1.0, 700)
    with pytest.raises(ModelError, match="reads int16 on a board, and these records are float32"):
        front_in_c(model, floats)


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [("log-mel", "cut sounds of length_s = 0."), ("scatter", r"train with \[data\] crop = 2")],
)
def test_a_front_that_does_not_fit_is_refused_with_both_sides(kind, remedy):
    front = front_in_c(*(pictures((16, 16)) if kind == "scatter" else sounds()))
    ram = front.room.ram + front.sizes()["RAW"] * front.raw_type.itemsize + 2 * front.num_features
    flash, net = front.room.flash, Room(100, 200)
    require_front_fits(front, net, "mine", Room(ram + 100, flash + 200))
    told = f"needs {ram:,} bytes of RAM, with the net {ram + 100:,}, {ram + 99:,} are there; "
    with pytest.raises(ModelError, match=told + remedy):
        require_front_fits(front, net, "mine", Room(ram + 99, flash + 200))
    told = f"needs {flash:,} bytes of flash, with the net {flash + 200:,}, {flash + 199:,} are"
    with pytest.raises(ModelError, match=told):
        require_front_fits(front, net, "mine", Room(ram + 100, flash + 199))


def test_features_are_kept_within_16_bits():
    *_, front, _, _ = made("log-mel")
    raw = np.zeros((1, 230), np.int16)
    raw[0, 100] = 32767
    assert np.abs(whole_features(front, raw, 1 << 14)).max() == 32767
