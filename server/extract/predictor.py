"""How right a net will be that nobody has asked yet, from nets that were: a Gaussian process.

Its kernel looks at the logarithms of a net's weights, products and widths, and at its depth. It has
seen test records alone, which a run takes as public.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from server.extract.candidates import Candidate


class Predictor:
    """Accuracy of nets of one supernet.

    Args:
        candidates: that were asked.
        accuracies: of each.
    """

    def __init__(self, candidates: Sequence[Candidate], accuracies: Sequence[float]) -> None:
        features = _features(candidates)
        self._centre, self._scale = features.mean(0), features.std(0) + 1e-9
        kernel = ConstantKernel() * RBF(np.ones(features.shape[1]), (1e-1, 1e3)) + WhiteKernel(
            1e-2, (1e-5, 1.0)
        )
        self._process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(self._scaled(features), np.asarray(accuracies))

    def __call__(self, candidates: Sequence[Candidate]) -> tuple[NDArray, NDArray]:
        """Expected accuracy of each [N], and its standard deviation [N]."""
        mean, deviation = self._process.predict(
            self._scaled(_features(candidates)), return_std=True
        )
        return mean, deviation

    def _scaled(self, features: NDArray) -> NDArray:
        return (features - self._centre) / self._scale


def _features(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    rows = []
    most = max(len(c.model.hidden) for c in candidates)
    for c in candidates:
        widths = [*c.model.hidden, *[1] * (most - len(c.model.hidden)), max(1, c.model.width)]
        depth = len(c.model.hidden) + c.model.depth
        rows.append([np.log(c.weights), np.log(c.macs), depth, *np.log(widths)])
    return np.array(rows, np.float64)
