"""A finished model that privet did not train, as torch's: FILE.py:NAME and safetensors, or ONNX.

Neither is unpickled. A model's own file is run, as any program of the user's; a graph is not.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor, nn

from clients.arithmetic import Arithmetic
from clients.models.own import build_own, explain
from clients.models.sources import is_own
from clients.models.weights import digest
from clients.protocol import Form
from privacy.errors import ModelError, RunError, SettingsError
from privacy.text import words_of
from server.cost.asked import read_model
from server.cost.graphs import open_session, read_graph

FORMS = "FILE.py:NAME with --weights FILE.safetensors, or FILE.onnx"
NUMBERS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def open_model(
    named: str, weights: Path | None, form: Form, settings: Sequence[str] = ()
) -> nn.Module:
    """The model, in evaluation: from float32 [B, *form.shape] to float32 [B, K].

    Args:
        named: `FILE.py:NAME` or `FILE.onnx`.
        weights: of the former.
        settings: `model.options.KEY=VALUE` each.

    Raises:
        SettingsError: neither, or weights or settings that would change nothing.
        ModelError: it cannot be read or built, or does not take such records.
        RunError: onnxruntime is not installed.
    """
    if named.endswith(".onnx"):
        idle = ["--weights"] * (weights is not None) + list(settings)
        if idle:
            raise SettingsError(f"{idle[0]}: would change nothing: a graph has its own; leave it")
        return Graph(Path(named))
    if not is_own(named):
        digest(Path(named)) if Path(named).is_file() else None  # which says how to convert it
        raise SettingsError(f"{named}: is no model that can be read; give {FORMS}")
    if weights is None:
        raise SettingsError(f"{named}: has learned nothing without --weights FILE.safetensors")
    net = build_own(read_model(named, settings), form, Arithmetic().layers()).eval()
    ask(net, torch.zeros(2, *form.shape), named)  # layers that are lazy are made by it
    digest(weights)
    try:
        load_model(net, weights)
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        told = words_of(error).removeprefix(
            f"Error(s) in loading state_dict for {type(net).__name__}: "
        )
        raise ModelError(
            f"{weights}: are not the weights of {named} for {form.outputs} outputs (--classes says "
            f"otherwise): {told}"
        ) from None
    return net


def ask(net: nn.Module, x: Tensor, named: str) -> Tensor:
    """Answers [B, K] to records [B, ...].

    Raises:
        ModelError: it stopped, or gave something else.
    """
    try:
        with torch.no_grad():
            said = net(x)
    except Exception as error:  # of code that is not ours, whatever it is
        told = explain(error) or f"{named}: {words_of(error)}"
        raise ModelError(f"{told}; it was given records {list(x.shape)}") from error
    if not isinstance(said, Tensor) or said.dim() != 2 or len(said) != len(x):
        what = list(said.shape) if isinstance(said, Tensor) else f"a {type(said).__name__}"
        raise ModelError(f"{named}: gave {what} of {list(x.shape)}; [records, outputs] are wanted")
    return said.float()


class Graph(nn.Module):
    """A graph of ONNX, asked by onnxruntime.

    Raises:
        ModelError: it is none, or has not one input of numbers and one answer [N, K].
        RunError: onnxruntime is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime  # noqa: F401
        except ImportError:
            raise RunError(
                f"{path}: onnxruntime is not installed, which asks it; pip install onnxruntime"
            ) from None
        content = read_graph(path)
        try:
            self._session = open_session(content)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
        inputs = self._session.get_inputs()
        answers = [
            one
            for one in self._session.get_outputs()
            if "float" in one.type or "double" in one.type
            if len(one.shape) == 2
        ]
        if len(inputs) != 1 or inputs[0].type not in NUMBERS or len(answers) != 1:
            raise ModelError(
                f"{path}: has {_named(inputs)} in and {_named(self._session.get_outputs())} out; "
                "one input of numbers is wanted, and one answer [N, K] of floats"
            )
        self._input, self._answer = inputs[0].name, answers[0].name
        self._numbers = NUMBERS[inputs[0].type]
        first = inputs[0].shape[0]
        self._batch = first if isinstance(first, int) else 0  # that it takes, and no other

    def forward(self, x: Tensor) -> Tensor:
        """Answers float32 [B, K]."""
        rows = x.numpy().astype(self._numbers)
        step = self._batch or len(rows)
        pieces = []
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            filled = np.concatenate([block, np.repeat(block[-1:], step - len(block), 0)])
            (said,) = self._session.run([self._answer], {self._input: filled})
            pieces.append(said[: len(block)])
        return torch.from_numpy(np.concatenate(pieces)).float()


def _named(ends: Sequence[object]) -> str:
    told = (f"{end.name} {end.type} {list(end.shape)}" for end in ends)  # type: ignore[attr-defined]
    return ", ".join(told) or "nothing"
