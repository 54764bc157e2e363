"""The door to Opacus: all that is used of it.

Opacus imports two functions of scipy by name that nothing here makes it call, or seldom: a normal
distribution, for an accountant that is not asked, and a convolution, for ledgers of several
mechanisms. The modules that they stand in take half as long to load as torch does, so each is
loaded when it is called.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import scipy.fft
import scipy.integrate
import scipy.special  # noqa: F401  # the rest of what Opacus takes of scipy, in earnest
import torch  # noqa: F401

CALLED_LATER = {"scipy.stats": "norm", "scipy.signal": "convolve"}


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


@contextmanager
def _in_their_place() -> Iterator[None]:
    """Modules of one name each, until Opacus is imported."""
    missing = CALLED_LATER.keys() - sys.modules.keys()
    for module in missing:
        stand_in, name = ModuleType(module), CALLED_LATER[module]
        setattr(stand_in, name, _Later(module, name))
        sys.modules[module] = stand_in
    try:
        yield
    finally:
        for module in missing:
            del sys.modules[module]


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
