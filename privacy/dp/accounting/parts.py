"""Parts of scipy without the rest of the packages that they stand in.

A run asks scipy for a root, an integral, three functions, a transform and a BLAS. Each is one
compiled module, and lies in a package whose `__init__` loads a hundred others: together a third of
what torch takes. Here such a package is entered as what it is and not yet begun: its modules can be
had one by one, and its own `__init__` runs when anything else is asked of it, by whoever asks.
"""

import math
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BEGINNING = threading.RLock()


class _Package(ModuleType):
    """A package that begins when it is asked for what it has not."""

    def __getattr__(self, name: str) -> Any:
        with _BEGINNING:
            spec = self.__spec__
            if type(self) is _Package and spec is not None and spec.loader is not None:
                self.__class__ = ModuleType  # type: ignore[assignment]  # it answers as usual
                try:
                    spec.loader.exec_module(self)
                except BaseException:
                    self.__class__ = _Package
                    raise
        return getattr(self, name)


def part(package: str, name: str) -> Any:
    """The module `package.name`, and of the package no more than that one needs itself."""
    _enter(package)
    return import_module(f"{package}.{name}")


def _enter(package: str) -> None:
    outer, _, inner = package.rpartition(".")
    if package in sys.modules or not outer:  # scipy itself is small
        return
    _enter(outer)
    spec = find_spec(package)
    assert spec is not None
    module = _Package(package)
    module.__spec__, module.__file__ = spec, spec.origin
    module.__loader__, module.__package__ = spec.loader, package
    module.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[package] = module
    setattr(import_module(outer), inner, module)


_functions = part("scipy.special", "_ufuncs")
_roots = part("scipy.optimize", "_zeros")
_integrals = part("scipy.integrate", "_quadpack")
_transforms = part("scipy.fft._pocketfft", "pypocketfft")

binom, erfc = _functions.binom, _functions.erfc
ndtr, log_ndtr = _functions.ndtr, _functions.log_ndtr

LAST, ALL, IN_ALL = (-1,), 0, 2  # the axis; a transform as it is, or over its number of points
ABSOLUTE = RELATIVE = 1.49e-8  # errors that an integral may have
INVALID = 6  # what QUADPACK says of limits and errors that cannot be


def brentq(
    f: Callable[[float], float],
    low: float,
    high: float,
    xtol: float = 2e-12,
    rtol: float = 4 * sys.float_info.epsilon,
) -> float:
    """A root of f between two places of different signs, as `scipy.optimize.brentq`.

    Raises:
        ValueError: the signs do not differ, or f gives what is no number.
        RuntimeError: a hundred steps are not enough.
    """

    def checked(x: float) -> float:
        value = f(x)
        if math.isnan(value):
            raise ValueError(f"the function is no number at {x}")
        return value

    return float(_roots._brentq(checked, low, high, xtol, rtol, 100, (), False, True))


def quad(
    f: Callable[[float], float], low: float, high: float, limit: int = 50
) -> tuple[float, float]:
    """An integral between two numbers and its error, as `scipy.integrate.quad`; the error says
    where that would warn.

    Raises:
        ValueError: the limits cannot be.
    """
    if low == high:
        return 0.0, 0.0
    first, last = min(low, high), max(low, high)
    told = _integrals._qagse(f, first, last, (), 0, ABSOLUTE, RELATIVE, limit)
    if told[-1] == INVALID:
        raise ValueError("an integral that cannot be")
    return (-told[0] if high < low else told[0]), told[1]


def rfft(x: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The transform of real numbers, as `scipy.fft.rfft`."""
    found: NDArray[np.complex128] = _transforms.r2c(x, LAST, True, ALL, None, 1)
    return found


def irfft(x: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Its inverse, of an even number of points, as `scipy.fft.irfft`."""
    points = 2 * (x.shape[-1] - 1)
    found: NDArray[np.float64] = _transforms.c2r(x, LAST, points, False, IN_ALL, None, 1)
    return found
