"""How a kernel is compiled: by numba, on first use for some types, for the processor that it runs
on; what was compiled is kept beside the code, and is found by the next process.

Before numba looks for what it kept, it readies itself to compile: it loads a sixth of its modules
and enters some thousand rules, a fifth of a second. Who finds what was kept needs none of that but
the addresses that compiled code calls; who finds nothing readies numba then.

numba lists what it kept of a kernel in an index. Of two processes that compile at once for other
types, or for other processors in a shared folder, the later writes over the earlier's list and
file, and a list may then name the other's code. Here each has a file of its own, named by all that
it was compiled for, and who finds none waits for whoever compiles of the same source just now.
"""

import fcntl
import glob
import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    NullCache,
)
from numba.core.environment import Environment
from numba.core.runtime import _nrt_python

WAIT_S = 120.0  # for another process that compiles: longer than any source's kernels take


class _Files(IndexDataCacheFile):
    """A file for each key, and no index."""

    def load(self, key: Any) -> Any:
        with suppress(Exception):  # not there, or not whole
            return self._load_data(self._named(key))

    def save(self, key: Any, data: Any) -> None:
        for old in Path(self._cache_path).glob(f"{glob.escape(self._kernel)}.*"):
            if not old.name.startswith(f"{self._kernel}.{self._stamp}-"):
                old.unlink(missing_ok=True)  # of a source that is no more
        self._save_data(self._named(key), data)

    def flush(self) -> None:
        """Nothing is listed that could be forgotten."""

    @property
    def _kernel(self) -> str:
        return self._index_name.removesuffix(".nbi")

    @property
    def _stamp(self) -> str:
        return _digest(self._source_stamp)

    def _named(self, key: Any) -> str:
        return f"{self._kernel}.{self._stamp}-{_digest((key, processor(), self._version))}.nbc"


def _digest(told: Any) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@cache
def processor() -> tuple[str, str]:
    """What this one is called and can do. A kernel may be written by it (`tiles.LANES`), whatever
    numba was told to compile for."""
    features = llvmlite.binding.get_host_cpu_features()
    return llvmlite.binding.get_host_cpu_name(), features.flatten()


class _WithoutModules(CompileResultCacheImpl):
    def reduce(self, cres: Any) -> Any:
        """What is kept of a compiled kernel. It calls functions of numba's own, and what is kept of
        each names its module, so that to find the kernel loads those that only compiling needs. A
        module is named for Python's objects, of which compiled code has none: here it is this."""
        *told, environments = super().reduce(cres)
        return *told, tuple(map(_of_no_module, environments))


def _of_no_module(environment: Any) -> Environment:
    made = Environment(globals())
    made.consts[:] = environment.consts
    made.env_name = environment.env_name
    return made


class _Found(FunctionCache):
    _impl_class = _WithoutModules

    def __init__(self, kernel: Callable[..., Any]) -> None:
        super().__init__(kernel)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)
        self._source = _Source.of(kernel.__code__.co_filename)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for these types and this processor, or None."""
        _tell_addresses()
        if (found := self._load_overload(sig, target_context)) is None and self._source.lock():
            found = self._load_overload(sig, target_context)  # by whom we waited for
            if found is not None:
                self._source.unlock()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            with suppress(OSError):  # it is compiled, whether or not it can be kept
                super().save_overload(sig, data)
        finally:
            self._source.unlock()


class _Source:
    """A file of kernels, of which one process at a time compiles. numba's own lock is held
    meanwhile: no other thread is here. Kernels call those of their own file and of files that it
    imports, so that of two processes never each waits for the other."""

    def __init__(self, path: str) -> None:
        self._path, self._depth = path, 0
        self._file = -1

    @staticmethod
    @cache
    def of(path: str) -> "_Source":
        return _Source(path)

    def lock(self) -> bool:
        """Hold it until as many calls of `unlock`; was it held by none of this process before?"""
        self._depth += 1
        if self._depth > 1:
            return False
        with suppress(OSError):  # no such file, or a file system without locks
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            deadline = time.monotonic() + WAIT_S
            while time.monotonic() < deadline:
                with suppress(BlockingIOError):
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.05)
        return True

    def unlock(self) -> None:
        self._depth -= 1
        if not self._depth and self._file >= 0:
            os.close(self._file)
            self._file = -1


class _Kept:
    """What is kept of a kernel, looked for when the kernel is first called from Python: of some 140
    kernels, most are called by others alone, and whether one can be kept is tried with a file."""

    def __init__(self, kernel: Callable[..., Any]) -> None:
        self._kernel = kernel

    @cached_property
    def _found(self) -> Any:
        try:
            return _Found(self._kernel)
        except RuntimeError:  # no folder can be written
            _tell_nothing_is_kept()
            return NullCache()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found, name)


@cache
def _tell_nothing_is_kept() -> None:
    logging.getLogger("privet").warning(
        "compiled kernels cannot be kept, as no folder for them can be written, and each start "
        "compiles them anew: set NUMBA_CACHE_DIR to a folder that can"
    )


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
