"""Published measurements of chips that clients.chip is held against, and the fit of a board."""

import numpy as np

from clients.chip import reference
from clients.chip.dataflows.microcontroller import class_of

# JSSC 2017, Table V: batch 4, 200 MHz. Processing ms, active elements of 168.
ALEXNET = {
    "conv1": (16.5, 154),
    "conv2": (39.2, 135),
    "conv3": (21.8, 156),
    "conv4": (16.0, 156),
    "conv5": (10.0, 156),
}
# Table III: e, n, m, p, q, r, t.
MAPPINGS = {
    "conv1": (7, 1, 96, 16, 1, 1, 2),
    "conv2": (27, 1, 64, 16, 2, 1, 1),
    "conv3": (13, 4, 64, 16, 4, 1, 4),
    "conv4": (13, 4, 64, 16, 3, 2, 2),
    "conv5": (13, 4, 64, 16, 3, 2, 2),
}
# Table VI: batch 3. The element count of conv5-1 is printed as 163 (100%): 168 is meant.
VGG = {
    "conv1-1": (38.0, 156),
    "conv1-2": (810.6, 156),
    "conv2-1": (405.3, 156),
    "conv2-2": (810.8, 156),
    "conv3-1": (204.0, 156),
    "conv3-2": (408.1, 156),
    "conv3-3": (408.1, 156),
    "conv4-1": (105.1, 168),
    "conv4-2": (210.0, 168),
    "conv4-3": (210.0, 168),
    "conv5-1": (48.3, 168),
    "conv5-2": (48.5, 168),
    "conv5-3": (48.5, 168),
}
# ISCA 2016, Fig. 10, batch 16, in units of 1e9 MACs: ALU, DRAM, register file; as tabulated in the
# tests of nn_dataflow (Gao et al., ASPLOS 2017), which reproduce the figure.
ENERGY = {
    "conv1": (1.69, 2.46, 6.75),
    "conv2": (3.58, 2.27, 14.33),
    "conv3": (2.39, 2.02, 9.57),
    "conv4": (1.79, 1.57, 7.18),
    "conv5": (1.20, 1.05, 4.78),
    "fc1": (0.60, 7.78, 2.42),
    "fc2": (0.27, 3.39, 1.07),
    "fc3": (0.07, 0.84, 0.26),
}

# STM32H743 with CMSIS-NN (TinyEngine's README): ms, kB of SRAM. The five rows that are predicted,
# and the others, which gave the chip file its constants.
ROWS = {  # ms, kB of SRAM
    "mcunet-vww0": (53, 163),
    "mcunet-vww2": (478, 390),
    "mcunet-in0": (51, 161),
    "mcunet-in2": (642, 469),
    "proxyless-w0.3-r176": (380, 453),
}
CALIBRATION = {
    "mcunet-vww1": (97, 220),
    "mcunet-in1": (103, 219),
    "mcunet-in3": (770, 493),
    "proxyless-w0.3-r64": (54, 136),
    "mbv2-w0.3-r64": (43, 173),
}
# NUCLEO-L4R5ZI, MLPerf Tiny v1.1, microTVM with CMSIS-NN: inferences a second. Image classification
# (2.567) and person detection (3.324) gave the chip file its constants.
MLPERF_TINY = {"mlperf-kws": 10.019, "mlperf-ad": 116.212}


CLOCK_MHZ, ELEMENT = 480, 10.0  # of the chip file: cycles an element of pooling and addition


def features(name):
    """Millions: products but depthwise ones, depthwise products, and element-wise cycles."""
    network = reference(name)
    deep = other = elements = 0
    for layer in network.layers:
        if layer.nest is None:
            elements += network.words_into(layer)
        elif class_of(layer.nest) == "depthwise":
            deep += layer.nest.macs
        else:
            other += layer.nest.macs
    return other / 1e6, deep / 1e6, ELEMENT * elements / 1e6


def fit(rows):
    """Cycles a product of the two classes: least squares of the relative error."""
    cycles = np.array([ms * CLOCK_MHZ / 1e3 for ms, _ in rows.values()])
    counts = np.array([features(name) for name in rows])
    shares = 1 - counts[:, 2] / cycles
    return np.linalg.lstsq(counts[:, :2] / cycles[:, None], shares, rcond=None)[0]


def predict_ms(name, constants):
    """Latency of a network by two constants from `fit`."""
    other, deep, elements = features(name)
    return float(other * constants[0] + deep * constants[1] + elements) / CLOCK_MHZ * 1e3
