"""The peer of encrypted inference: TenSEAL's tutorial 4, through its high-level API."""

import statistics
import time

import numpy as np
import tenseal as ts

TUTORIAL = {"channels": 4, "hidden": 64}


def tutorial(weights: dict[str, np.ndarray], image: list, repeats: int) -> dict:
    """TenSEAL's tutorial 4 on one image: encrypt, convolve, square, mm, square, mm, decrypt.

    On one core, as our own worker: TenSEAL would take all.
    """
    context = ts.context(
        ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[31, *[26] * 6, 31], n_threads=1
    )
    context.global_scale = 2**26
    context.generate_galois_keys()
    keys_bytes = len(context.serialize(save_secret_key=False))
    totals, server = [], []
    kernels = [kernel.tolist() for kernel in weights["conv"]]
    for _ in range(repeats):
        start = time.perf_counter()
        x, windows = ts.im2col_encoding(context, image, 7, 7, 3)
        encrypted = time.perf_counter()
        channels = [
            x.conv2d_im2col(kernel, windows) + float(bias)
            for kernel, bias in zip(kernels, weights["conv_bias"], strict=True)
        ]
        y = ts.CKKSVector.pack_vectors(channels)
        y.square_()
        y = y.mm(weights["w1"].T.tolist()) + weights["b1"].tolist()
        y.square_()
        y = y.mm(weights["w2"].T.tolist()) + weights["b2"].tolist()
        answered = time.perf_counter()
        y.decrypt()
        totals.append((time.perf_counter() - start) * 1e3)
        server.append((answered - encrypted) * 1e3)
    return {
        "total_ms": statistics.median(totals),
        "total_ms_all": totals,
        "server_ms": statistics.median(server),
        "keys_bytes": keys_bytes,
    }


def random_tutorial() -> dict[str, np.ndarray]:
    """The tutorial's own net; its time does not depend on its weights."""
    rng, c, h = np.random.default_rng(0), TUTORIAL["channels"], TUTORIAL["hidden"]
    return {
        "conv": rng.normal(0, 0.1, (c, 7, 7)),
        "conv_bias": rng.normal(0, 0.1, c),
        "w1": rng.normal(0, 0.05, (h, 64 * c)),
        "b1": rng.normal(0, 0.1, h),
        "w2": rng.normal(0, 0.1, (10, h)),
        "b2": rng.normal(0, 0.1, 10),
    }


class TutorialStep:
    """TenSEAL's tutorial 1, logistic regression on encrypted records, one record at a time.

    As it is written: N = 8192, moduli [40, 21 x 6, 40], scale 2^21, the sigmoid 0.5 + 0.197 x -
    0.004 x^3; on one core.
    """

    def __init__(self, features: int) -> None:
        self._context = ts.context(
            ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[40, *[21] * 6, 40], n_threads=1
        )
        self._context.global_scale = 2**21
        self._context.generate_galois_keys()
        rng = np.random.default_rng(0)
        self._weight = ts.ckks_vector(self._context, rng.normal(0, 0.1, features).tolist())
        self._bias = ts.ckks_vector(self._context, [0.0])
        self._x = ts.ckks_vector(self._context, rng.random(features).tolist())
        self._y = ts.ckks_vector(self._context, [1.0])

    def record(self) -> None:
        """Forward and backward of a record."""
        out = (self._x.dot(self._weight) + self._bias).polyval([0.5, 0.197, 0, -0.004])
        error = out - self._y
        self._gradient = self._x * error
