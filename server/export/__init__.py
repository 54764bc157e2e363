"""A run in forms that others read; its model is held against the run's own answers before it is
written.

A new form is a function `(run, path) -> what was written` and a line in `TARGETS`, with the ending
of its default name.

answers    the run's model, some records for it, and what it says of them
onnx       as ONNX, asked by onnxruntime
integers   products of words among ONNX's own operations
torch      a Python file and safetensors
curves     for TensorBoard and MLflow
card       a Hugging Face model card, with the facts of the statement
firmware   C for a microcontroller: the model, and the private step that trained it
narrower   what to train instead of a net that does not fit
answering  its answers alone, without the step
heard      the auditor before an emulated board
"""

from collections.abc import Callable
from pathlib import Path

from server.export.card import to_card
from server.export.curves import to_mlflow, to_tensorboard
from server.export.onnx import to_onnx
from server.export.torch import to_torch
from server.run.directory import Run

TARGETS: dict[str, tuple[Callable[[Run, Path], list[str]], str]] = {
    "onnx": (to_onnx, ".onnx"),
    "torch": (to_torch, "-torch"),
    "card": (to_card, "-card.md"),
    "tensorboard": (to_tensorboard, "-tensorboard"),
    "mlflow": (to_mlflow, "-mlflow.db"),
}
