"""How a kernel is compiled: by numba, on first use for some types, for the processor that it runs
on; what was compiled is kept beside the code, and is found by the next process.

Before numba looks for what it kept, it readies itself to compile: it loads a sixth of its modules
and enters some thousand rules, a fifth of a second. Who finds what was kept needs none of that but
the addresses that compiled code calls; who finds nothing readies numba then.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding
import numba
from numba.core.caching import FunctionCache
from numba.core.runtime import _nrt_python


class _Kept(FunctionCache):
    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for these types and this processor, or None."""
        _tell_addresses()
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


@cache
def _tell_addresses() -> None:
    """Of numba's allocator, as its own first step of compiling does."""
    for name, address in _nrt_python.c_helpers.items():
        llvmlite.binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def compiling(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function, which holds no GIL; options as of `numba.njit`."""

    def compiled(kernel: Callable[..., Any]) -> Any:
        made = numba.njit(nogil=True, **options)(kernel)
        if not numba.config.DISABLE_JIT:
            made._cache = _Kept(kernel)
        return made

    return compiled


compiled: Any = compiling()
