"""A graph of ONNX as torch's operations, so that it is priced as any net of the user's is.

onnxruntime folds what is constant, for one record; what is left is run on tensors without values.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.chip.workloads.trace import trace
from privacy.errors import ModelError, RunError, SettingsError
from privacy.foreign import MOST_ARRAYS_BYTES, read_foreign, room_for
from privacy.text import words_of
from server.cost.nodes import OPERATIONS, Node
from server.cost.subjects import Subject

# What onnxruntime may hold: as many copies of a graph, and what it works out.
COPIES, MOST_FOLDED_BYTES = 4, 4 << 30
NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate")


def subject_of_graph(path: Path, shape: Sequence[int] = ()) -> Subject:
    """The network of a graph, with one input of numbers.

    Args:
        shape: of one record; where it is empty, the graph's own.

    Raises:
        SettingsError: neither says the shape, or they say two.
        ModelError: it is no such graph, or has an operation that is priced from no graph.
        RunError: onnx or onnxruntime is not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise RunError(
            f"{path}: {error.name} is not installed, which reads it; pip install onnx onnxruntime"
        ) from None
    content = read_graph(path)
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's own
        raise ModelError(f"{path}: is no graph of ONNX: {words_of(error)}") from None
    sides = _require_one_record(model, path, shape)
    try:
        net = Graph(_folded(model))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:  # onnx's own
        raise ModelError(f"{path}: is no graph that can be read: {words_of(error)}") from None
    network = trace(net, sides, path.stem)
    return Subject(network, notes=network.notes)


def read_graph(path: Path) -> bytes:
    """A graph's file; raises ModelError if it cannot be read."""
    try:
        return read_foreign(path, MOST_ARRAYS_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None


def _require_one_record(model: Any, path: Path, shape: Sequence[int]) -> tuple[int, ...]:
    """Set the graph's batch to one record, of the shape that is returned."""
    held = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in held]
    if len(inputs) != 1:
        raise ModelError(f"{path}: has {len(inputs)} inputs; one, of records, is wanted")
    batch, *axes = inputs[0].type.tensor_type.shape.dim or [None]
    own = [axis.dim_value for axis in axes]  # 0 where it is open
    sides = tuple(shape) or tuple(own)
    told = "x".join(str(side or "?") for side in own)
    if not axes or not all(sides):
        raise SettingsError(f"{path}: reads {told or 'what it does not say'}; say which: --shape")
    if len(sides) != len(own) or any(a and a != b for a, b in zip(own, sides, strict=True)):
        raise SettingsError(f"--shape {'x'.join(map(str, sides))}: {path} reads {told}")
    if batch.dim_value > 1:
        raise ModelError(
            f"{path}: takes batches of {batch.dim_value} and no others; export it with any batch"
        )
    for axis, side in zip((batch, *axes), (1, *sides), strict=True):
        axis.dim_value = side
    del model.graph.value_info[:]
    return sides


def open_session(content: bytes, options: Any = None) -> Any:
    """Have onnxruntime read a graph, which works out what is constant in it.

    Raises:
        ModelError: it cannot, or that takes more memory than is given for it.
    """
    import onnxruntime

    most = MOST_FOLDED_BYTES + COPIES * len(content)
    try:
        with room_for(most):
            return onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
    except Exception as error:  # protobuf and onnxruntime each have their own
        told = words_of(error)
        if isinstance(error, MemoryError) or any(word in told for word in NO_MEMORY):
            raise ModelError(
                f"what is constant in it takes more than {most / 2**30:.1f} GiB to work out; "
                "export it with smaller constants"
            ) from None
        raise ModelError(f"is no graph that onnxruntime reads: {told}") from None


def _folded(model: Any) -> Any:
    """All that is constant worked out; once more as long as that makes more of it constant."""
    num = -1
    while num != len(model.graph.node):
        num, model = len(model.graph.node), _folded_once(model)
    return model


def _folded_once(model: Any) -> Any:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        open_session(model.SerializeToString(), options)
        return onnx.load(options.optimized_model_filepath)


class Graph(nn.Module):
    """What a folded graph does, in float32. Arrays that it holds are taken as trained; those of
    whole numbers are shapes.

    Raises:
        ModelError: an operation is unknown.
    """

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        super().__init__()
        unknown = sorted({node.op_type for node in model.graph.node} - OPERATIONS.keys())
        if unknown:
            raise ModelError(
                f"{', '.join(unknown)}: priced from no graph; give FILE.py:NAME with --shape"
            )
        weights = {held.name for held in model.graph.initializer}
        self._nodes = list(model.graph.node)
        self._record = next(i.name for i in model.graph.input if i.name not in weights)
        self._answer = model.graph.output[0].name
        self._others: dict[str, NDArray] = {}
        for held in model.graph.initializer:
            value = numpy_helper.to_array(held)
            if value.ndim and value.dtype not in (np.int64, np.int32, np.bool_):
                numbers = torch.from_numpy(np.array(value, np.float32))
                self.register_parameter(_parameter(held.name), nn.Parameter(numbers))
            else:
                self._others[held.name] = np.array(value)

    def forward(self, x: Tensor) -> Tensor:
        """One record [1, ...]."""
        held = {self._record: x} | {n: torch.from_numpy(v) for n, v in self._others.items()}
        for node in self._nodes:
            for name in node.input:
                if name and name not in held:
                    held[name] = self.get_parameter(_parameter(name))
            made = OPERATIONS[node.op_type](Node(node, held, x.device))
            outputs = made if isinstance(made, list | tuple) else [made]
            held |= dict(zip(node.output, outputs, strict=False))
        return held[self._answer]


def _parameter(name: str) -> str:
    return name.replace(".", "_")
