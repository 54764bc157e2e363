"""The door to Opacus: all that is used of it.

What Opacus imports of scipy is given to it from `privacy.dp.accounting.parts`, for the packages
that those names stand in take half as long to load as torch does. Two are loaded in earnest when
they are called: a normal distribution and a root, for an accountant that is not asked here, and a
convolution, for ledgers of several mechanisms.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import scipy
import torch  # noqa: F401

from privacy.dp.accounting import parts


class _Later:
    """A function or object of a module that is loaded at its first use."""

    def __init__(self, module: str, name: str) -> None:
        self._where = module, name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._real()(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def _real(self) -> Any:
        module, name = self._where
        return getattr(import_module(module), name)


# Of each module that Opacus imports by name, what it takes of it.
TAKEN: dict[str, dict[str, Any]] = {
    "scipy.special": {n: getattr(parts, n) for n in ("binom", "erfc", "log_ndtr")},
    "scipy.integrate": {"quad": parts.quad},
    "scipy.fft": {"rfft": parts.rfft, "irfft": parts.irfft},
    "scipy.optimize": {"root_scalar": _Later("scipy.optimize", "root_scalar")},
    "scipy.stats": {"norm": _Later("scipy.stats", "norm")},
    "scipy.signal": {"convolve": _Later("scipy.signal", "convolve")},
}


@contextmanager
def _in_their_place() -> Iterator[None]:
    """Modules of a few names each, until Opacus is imported."""
    real = {module: sys.modules.get(module) for module in TAKEN}
    for module, names in TAKEN.items():
        sys.modules[module] = stand_in = ModuleType(module)
        vars(stand_in).update(names)
        setattr(scipy, module.partition(".")[2], stand_in)
    try:
        yield
    finally:
        for module, before in real.items():
            name = module.partition(".")[2]
            if before is None:
                del sys.modules[module]
                delattr(scipy, name)
            else:
                sys.modules[module] = before
                setattr(scipy, name, before)


with _in_their_place():
    from opacus import GradSampleModule
    from opacus.accountants.analysis.prv import (
        DiscretePRV,
        Domain,
        PoissonSubsampledGaussianPRV,
        TruncatedPrivacyRandomVariable,
        compose_heterogeneous,
        discretize,
    )
    from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent
    from opacus.optimizers import DPOptimizer
    from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed
    from opacus.validators import ModuleValidator

__all__ = [
    "DPOptimizer",
    "DiscretePRV",
    "Domain",
    "GradSampleModule",
    "ModuleValidator",
    "PoissonSubsampledGaussianPRV",
    "TruncatedPrivacyRandomVariable",
    "_check_processed_flag",
    "_mark_as_processed",
    "compose_heterogeneous",
    "compute_rdp",
    "discretize",
    "get_privacy_spent",
]
