"""The user's own model: a class or function in a Python file, `[model] name = "my_model.py:Net"`.

It is called with what its signature asks for by name: `form` (a `clients.protocol.Form`), `shape`
(of one record), `classes`, `num_classes` or `outputs` (how many numbers it gives), and `layers`
(the parts of an arithmetic, `clients.protocol.Layers`). One that asks for none of these by name is
called as `Net(shape, outputs)`. `[model.options]` are its further arguments.

What it gives is an `nn.Module` from float32 [B, *shape] to float32 [B, outputs]. A record is
worked on by itself: nothing that mixes records can be clipped record by record.
"""

import inspect
import linecache
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from clients.models.settings import Model
from clients.models.sources import Source, find, is_own, parts
from clients.protocol import Form, Layers
from privacy.errors import ModelError, PrivetError
from privacy.settings import suggest
from privacy.text import words_of

OUTPUTS = ("classes", "num_classes", "outputs")

_importing = threading.RLock()


def takes_layers(model: Model) -> bool:
    """Does a user's own model build itself of an arithmetic's layers? A built-in one does.

    Raises:
        ModelError: the file cannot be imported.
    """
    return not is_own(model.name) or "layers" in _parameters(*_target(model))


def build_own(model: Model, form: Form, layers: Layers) -> nn.Module:
    """Import the file, and call what is named in it.

    Raises:
        ModelError: with the file and the line, what went wrong in it, or what it lacks.
    """
    source, target = _target(model)
    call = _call(model, form, layers, source, target)
    with _told(source, "mend it, or [model.options]"):
        net = call()
    if not isinstance(net, nn.Module):
        raise ModelError(
            f"{_place(source, target)}: {target.__name__} gave a {type(net).__name__}; return an "
            "nn.Module"
        )
    return net


def explain(error: BaseException) -> str:
    """`FILE, line N: what was raised`, of an error that passed through a user's file; else ``."""
    for module in [m for n, m in list(sys.modules.items()) if n.startswith(_PREFIX)]:
        if found := _explained(error, str(module.__file__)):
            return found
    return ""


# ---- the file

_PREFIX = "privet_model_"


@lru_cache(maxsize=32)
def _module(sha256: str, source: Source) -> ModuleType:
    """The file as a module of its own name; what it prints goes to stderr."""
    name = _PREFIX + sha256[:16]
    module = ModuleType(name)
    module.__file__ = source.path
    remedy = "a model is one file: mend it, or install what it imports"
    with _told(source, remedy):
        code = compile(source.content, source.path, "exec")
        text = source.content.decode("utf-8", "replace")
        lines = text.splitlines(keepends=True)
        linecache.cache[source.path] = (len(source.content), None, lines, source.path)
        sys.modules[name] = module
        exec(code, module.__dict__)
    return module


def _target(model: Model) -> tuple[Source, Callable[..., Any]]:
    source = find(model.name, model.sha256)
    _, name = parts(model.name)
    with _importing:
        module = _module(model.sha256, source)
    target = getattr(module, name, None)
    if not callable(target):
        here = module.__name__
        own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == here]
        known = suggest(name, own) if own else "; it has no class or function"
        raise ModelError(f"{source.path}: has no class or function {name}{known}")
    return source, target


def _parameters(source: Source, target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{_place(source, target)}: cannot be called: {error}") from None


def _call(
    model: Model, form: Form, layers: Layers, source: Source, target: Callable[..., Any]
) -> Callable[[], Any]:
    """The call of a class or function with what its signature asks for."""
    asked = _parameters(source, target)
    known: dict[str, Any] = {"form": form, "shape": form.shape, "layers": layers}
    known |= dict.fromkeys(OUTPUTS, form.outputs)
    options = {key: list(v) if isinstance(v, tuple) else v for key, v in model.options}
    whole = any(p.kind is p.VAR_KEYWORD for p in asked.values())
    place = _place(source, target)
    for option in options:
        if option in known:
            raise ModelError(f"[model.options] {option}: comes from the data; leave it out")
        if option not in asked and not whole:
            free = [n for n in asked if n not in known]
            hint = suggest(option, free) if free else "; it takes none"
            raise ModelError(f"[model.options] {option}: no argument of {target.__name__}{hint}")
    given = {name: value for name, value in known.items() if name in asked} | options
    positional: tuple[Any, ...] = ()
    if not set(known) & set(asked):
        places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        free = [n for n, p in asked.items() if p.kind in places and n not in options]
        if len(free) > 1:
            positional = (form.shape, form.outputs)
    try:
        inspect.signature(target).bind(*positional, **given)
    except TypeError as error:
        raise ModelError(
            f"{place}: {target.__name__}: {error}; give it in [model.options], or name arguments "
            "shape and outputs"
        ) from None
    return lambda: target(*positional, **given)


# ---- what it gives


def require_fit(net: nn.Module, model: Model, form: Form) -> None:
    """Try a user's own module on records of zeros, without a trace on it or on random numbers.

    Raises:
        ModelError: with the file and the line, what went wrong, or what is asked of it.
    """
    source, target = _target(model)
    place = _place(source, type(net).forward if _is_in(source, type(net).forward) else target)
    if any(is_lazy(p) for p in net.parameters()):
        with _told(source, "mend forward"):
            net(torch.zeros(2, *form.shape))
    if not any(p.requires_grad for p in net.parameters()):
        raise ModelError(f"{place}: {type(net).__name__} has no parameters to train; give it some")
    for name, parameter in net.named_parameters():
        if parameter.dtype != torch.float32:
            raise ModelError(f"{place}: {name} is {parameter.dtype}; use torch.float32")
        if not parameter.numel():
            raise ModelError(
                f"{place}: {name} is {list(parameter.shape)}, which holds no number; mend it, or "
                "[model.options]"
            )
    kept = {name: buffer.clone() for name, buffer in net.named_buffers()}
    mode = net.training
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for training, num in ((False, 2), (False, 1), (True, 2)):
                net.train(training)
                with _told(source, f"mend forward: it was given zeros of [{num}, *shape]"):
                    outputs = net(torch.zeros(num, *form.shape))
                _require_outputs(outputs, (num, form.outputs), place)
    finally:
        net.train(mode)
        for name, buffer in net.named_buffers():
            if name in kept:
                buffer.copy_(kept[name])


def _require_outputs(outputs: object, wanted: tuple[int, int], place: str) -> None:
    found = f"a {type(outputs).__name__}"
    if isinstance(outputs, Tensor):
        if tuple(outputs.shape) == wanted and outputs.dtype == torch.float32:
            return
        found = f"{str(outputs.dtype).removeprefix('torch.')} {list(outputs.shape)}"
    raise ModelError(
        f"{place}: forward gave {found}, and float32 {list(wanted)} is wanted: [records, outputs]; "
        "mend its last layer"
    )


# ---- where it went wrong


class _Quiet:
    """What the file prints goes to stderr while any thread is within: stdout is for results. What
    libraries warn of is not shown: what matters of it is refused, in words.

    `contextlib.redirect_stdout` gives back what it found, which may be another thread's.
    """

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0
        self._stdout, self._warnings = sys.stdout, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._stdout, sys.stdout = sys.stdout, sys.stderr
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
            self._within += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                sys.stdout = self._stdout
                self._warnings.__exit__(None, None, None)


_QUIET = _Quiet()


@contextmanager
def _told(source: Source, remedy: str) -> Iterator[None]:
    """Whatever the file raises, as one line; whatever it prints, on stderr."""
    try:
        with _QUIET:
            yield
    except (PrivetError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        told = _explained(error, source.path) or f"{source.path}: {_brief(error)}"
        raise ModelError(f"{told}; {remedy}") from error


def _explained(error: BaseException, path: str) -> str:
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{path}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{path}, line {line}: {_brief(error)}" if line else ""


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {words_of(error)}".rstrip(": ")


def _is_in(source: Source, function: Any) -> bool:
    return getattr(getattr(function, "__code__", None), "co_filename", "") == source.path


def _place(source: Source, target: Any) -> str:
    """`FILE, line N` of a class or function of the file."""
    function = target.__init__ if inspect.isclass(target) else target
    if _is_in(source, function):
        return f"{source.path}, line {function.__code__.co_firstlineno}"
    return source.path
