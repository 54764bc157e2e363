"""What is expected of something that nobody asked yet, from what was: a Gaussian process."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel


class Predictor:
    """A number, from features.

    Args:
        features: [N, F] of those that were asked.
        answers: [N]
    """

    def __init__(self, features: ArrayLike, answers: Sequence[float]) -> None:
        rows = np.asarray(features, np.float64)
        self._centre, self._scale = rows.mean(0), rows.std(0) + 1e-9
        kernel = ConstantKernel() * RBF(np.ones(rows.shape[1]), (1e-1, 1e3)) + WhiteKernel(
            1e-2, (1e-5, 1.0)
        )
        self._process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(self._scaled(rows), np.asarray(answers))

    def __call__(self, features: ArrayLike) -> tuple[NDArray, NDArray]:
        """Of others [M, F]: what is expected [M], and its standard deviation [M]."""
        rows = self._scaled(np.asarray(features, np.float64))
        mean, deviation = self._process.predict(rows, return_std=True)
        return mean, deviation

    def _scaled(self, rows: NDArray) -> NDArray:
        return (rows - self._centre) / self._scale
