"""Stochastic layers against a cycle loop in fp32, UnarySim and the machine's own limit; and a DP
step in few bits against one in float.

UnarySim is no package: put a checkout named `UnarySim` (and pylfsr) on PYTHONPATH to have it
compared. Its FSULinear is used as in its own test of the kernel: one record, one call a cycle. The
two differ: it draws Sobol numbers, adjusts the weight's stream to the input's bits and accumulates
to a unary output, in fp32; ours has registers, plain XNOR and a saturating counter, in bits.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import measure
import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import nn

from clients.arithmetic import Arithmetic
from clients.arithmetic.streams import kernels
from clients.arithmetic.streams import registers as streams
from clients.arithmetic.streams.kernels import num_words
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from privacy.dp.training import privatize

RECORDS, INPUTS, OUTPUTS, WIDTH, BOUND = 256, 784, 256, 8, 2048


def operands(length: int) -> tuple[Any, ...]:
    """Thresholds and register states of inputs and weights."""
    rng = np.random.default_rng(0)
    numbers = (rng.uniform(-1, 1, (n, INPUTS)).astype(np.float32) for n in (RECORDS, OUTPUTS))
    x, w = (streams.threshold(n, WIDTH) for n in numbers)
    phases = rng.integers(0, (1 << WIDTH) - 1, (2, INPUTS))
    states = [streams.read_registers(WIDTH, length, phases[i], bool(i)) for i in (0, 1)]
    return x, w, *states


def ours(length: int) -> Callable[[], Any]:
    """Comparators, XNOR, integral sums and counters of a hidden layer."""
    x, w, states_x, states_w = operands(length)
    K = num_words(INPUTS)
    words_x = np.empty((RECORDS, length, K), np.uint64)
    words = np.empty((RECORDS, length, num_words(OUTPUTS)), np.uint64)
    no_sums = np.empty((0, 0), np.int32)

    def layer() -> Any:
        kernels.encode_inputs(x, states_x, words_x)
        words_w = kernels.encode_weights(w, states_w)
        base, factor = kernels.base_and_factor(words_w, INPUTS, OUTPUTS, -1)
        kernels.multiply(words_x, words_w, base, factor, BOUND, words, no_sums)
        return words

    return layer


def cycle_loop(length: int) -> Callable[[], Any]:
    """The same in fp32: a matrix product of -1 and 1 in each cycle."""
    x, w, states_x, states_w = (torch.from_numpy(a.astype(np.float32)) for a in operands(length))

    def layer() -> Any:
        state, bits = torch.zeros(RECORDS, OUTPUTS), []
        for t in range(length):
            signs = (
                (states[t] <= n).float() * 2 - 1 for n, states in ((x, states_x), (w, states_w))
            )
            bits_x, bits_w = signs
            state = (state + bits_x @ bits_w.T).clamp_(-BOUND, BOUND - 1)
            bits.append(state >= 0)
        return torch.stack(bits, 1)

    return layer


def unary_sim(length: int) -> Callable[[], Any]:
    """UnarySim's FSULinear on one record."""
    kernel = importlib.import_module("UnarySim.kernel")
    stream = importlib.import_module("UnarySim.stream")
    bits = {"width": WIDTH, "rng": "Sobol", "dimr": 1, "mode": "bipolar", "scale": 1, "depth": 12}
    types = {"btype": torch.float, "rtype": torch.float, "stype": torch.float}
    weight = (torch.rand(OUTPUTS, INPUTS) * 2 - 1).mul(length).round().div(length)
    x = torch.rand(1, INPUTS).mul(length).round().div(length)

    def layer() -> Any:
        dense = kernel.FSULinear(
            INPUTS, OUTPUTS, bias=False, weight_ext=weight, hwcfg=dict(bits), swcfg=types
        )
        source = stream.BSGen(stream.BinGen(x, bits, types)(), stream.RNG(bits, types)(), types)
        index = torch.zeros(1, INPUTS, dtype=torch.long)
        with torch.no_grad():
            return [dense(source(index + t)) for t in range(length)]

    return layer


@intrinsic  # type: ignore[untyped-decorator]
def popcount(typing_context: Any, word: Any) -> Any:
    """LLVM's population count of a uint64: one instruction, also on vectors."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), emit


def limit(length: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Our products and counters, and XNOR and popcount of as many words in the L1 cache.

    The compiler lays that loop's outputs side by side in vectors and keeps the input in registers:
    an XOR, a population count and an addition a vector, and nothing else. It counts whole words of
    64 features, and ours quarters: `ratio_of_bits` is the share by features that are any.
    """
    x, w, states_x, states_w = operands(length)
    K = num_words(INPUTS)
    words_x = np.empty((RECORDS, length, K), np.uint64)
    kernels.encode_inputs(x, states_x, words_x)
    words_w = kernels.encode_weights(w, states_w)
    base, factor = kernels.base_and_factor(words_w, INPUTS, OUTPUTS, -1)
    words = np.empty((RECORDS, length, num_words(OUTPUTS)), np.uint64)
    no_sums, out = np.empty((0, 0), np.int32), np.empty(OUTPUTS, np.uint64)
    row = words_x[0, 0].copy()
    cycle = kernels.zeros(K, 4 * OUTPUTS).view(np.uint64)
    cycle[:] = kernels.by_output(words_w[:1], OUTPUTS)[0].T

    @numba.njit
    def bare(row: Any, cycle: Any, times: int, out: Any) -> None:
        for n in range(times):
            row[0] ^= np.uint64(n)  # or the compiler would do it once
            for o in range(OUTPUTS):
                ones = np.uint64(0)
                for k in range(K):
                    ones += popcount(row[k] ^ cycle[k, o])
                out[o] = ones

    return (
        lambda: kernels.multiply(words_x, words_w, base, factor, BOUND, words, no_sums),
        lambda: bare(row, cycle, RECORDS * length, out),
    )


def dp_step(model: Model, size: int, arithmetic: Arithmetic) -> Callable[[], None]:
    """One DP-SGD step: forward, backward, clip, noise, update."""
    torch.manual_seed(0)
    net = build(model, Form((28, 28), 10), arithmetic).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    width = 81 * 49 if model.name == "scatter" else 784
    x = torch.rand(size, width) if model.name == "scatter" else torch.rand(size, 28, 28)
    y = torch.randint(0, 10, (size,))
    private = privatize(
        net,
        optimizer,
        Ledger(),
        budget=Budget(noise_multiplier=1.0),
        sample_rate=1.0,
        num_records=size,
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
    )

    def step() -> None:
        for batch in private.batches(1):
            private.step(
                lambda i: nn.functional.cross_entropy(net(x[i]), y[i], reduction="none"), batch
            )

    return step


STEPS = {
    "scatter-512": (Model(name="scatter"), 512),
    "mlp-256": (Model(hidden=(256,)), 256),
    "cnn-256": (Model(name="convnet"), 256),
}
QUANTIZED = {
    "int8": Arithmetic(name="fixed"),
    "int4": Arithmetic(name="fixed", bits=4, activation_bits=4, projection="optimised"),
    "ternary": Arithmetic(name="ternary"),
    "binary": Arithmetic(name="binary"),
}


def run() -> dict[str, object]:
    """Ratios within this run; larger is better, but for `times_float`."""
    torch.set_num_threads(1)
    results: dict[str, object] = {
        "sc layer against fp32 cycles, L = 64": measure.compare(ours(64), cycle_loop(64)),
    }
    mine, bare = limit(256)
    timed = measure.compare(mine, bare)
    timed["ratio_of_bits"] = timed["ratio"] * INPUTS / (64 * num_words(INPUTS))
    results["sc products and counters, share of the XNOR and popcount limit"] = timed
    if importlib.util.find_spec("UnarySim"):
        theirs, layer = unary_sim(256), ours(256)
        times = []
        for call in (layer, theirs):
            call()
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        results["sc layer against UnarySim FSULinear, L = 256"] = {
            "ratio": times[1] / (times[0] / RECORDS),
            "ours_s": times[0],
            "records": RECORDS,
            "theirs_s": times[1],
            "their_records": 1,
        }
    for workload, (model, size) in STEPS.items():
        for name, arithmetic in QUANTIZED.items():
            float_step = dp_step(model, size, Arithmetic())
            timed = measure.compare(float_step, dp_step(model, size, arithmetic))
            timed["times_float"] = statistics.median(timed["theirs_s"]) / statistics.median(
                timed["ours_s"]
            )
            results[f"{workload} DP step, {name}"] = timed
    return results
