"""As ONNX: one graph, any number of records; asked by onnxruntime before it is written."""

import io
import warnings
from pathlib import Path

import torch

from clients.training.plain import plain
from clients.training.smaller.compact import compact
from privacy.errors import RunError
from privacy.files import write_atomically
from server.export.answers import answers_of, told_of
from server.export.integers import as_integers
from server.run.directory import Run

OPSET = 17  # has LayerNormalization


def to_onnx(run: Run, path: Path) -> list[str]:
    """Write the model, with input `records` [N, ...] and output `answers` [N, K].

    Words of few bits are 8 bits each: QuantizeLinear by each record's own step, and a product of
    integers; see `server.export.integers`. What stands between is in doubles.

    Returns:
        What was written, and how far its answers are from the run's.

    Raises:
        ModelError: a layer cannot be said.
        RunError: onnx or onnxruntime is not installed, or answers otherwise.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise RunError(
            f"{error.name} is not installed: privet export --to onnx writes with onnx and checks "
            "with onnxruntime; pip install onnx onnxruntime"
        ) from None
    asked = answers_of(run)
    net, content = as_integers(plain(compact(asked.net))), io.BytesIO()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention in one operation that ONNX has not
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net,
                (asked.x[:2],),
                content,
                input_names=["records"],
                output_names=["answers"],
                dynamic_axes={"records": {0: "n"}, "answers": {0: "n"}},
                opset_version=OPSET,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        said = str(error).strip().partition("\n")[0]
        raise RunError(f"{run.path}: has no form in ONNX: {said}; try --to torch") from None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    session = onnxruntime.InferenceSession(content.getvalue(), providers=["CPUExecutionProvider"])
    (said,) = session.run(None, {"records": asked.x.numpy()})
    told = asked.require(torch.from_numpy(said), f"{run.path}, as ONNX")
    with write_atomically(path) as file:
        file.write(content.getvalue())
    return [str(path), f"by onnxruntime {onnxruntime.__version__}: {told}", *told_of(asked.front)]
