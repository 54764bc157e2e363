"""A Python file and safetensors that run without privet: torch and safetensors alone."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from clients.training.plain import parts, plain
from clients.training.smaller.compact import compact
from privacy.errors import ModelError
from privacy.files import write_atomically
from server.export.answers import answers_of, told_of
from server.run.directory import Run

TAIL = '''

def build() -> nn.Module:
    """The model, without its weights. Reads float32 {shape}."""
    return {expression}


def load(path: str = "model.safetensors") -> nn.Module:
    """The model as it was trained: y = load()(x)."""
    model = build()
    model.load_state_dict(load_file(path))
    return model.eval()
'''
HEAD = '"""A model that privet trained, in torch alone: `load()` gives it with its weights."""\n'

# Of torch's own layers: what they are built from, in the order of their constructor's keywords.
BUILT: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features", "bias"),
    nn.Conv1d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation",
                "groups", "bias"),
    nn.Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation",
                "groups", "bias"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.MaxPool1d: ("kernel_size", "stride", "padding", "dilation"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation"),
    nn.AvgPool1d: ("kernel_size", "stride", "padding"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding"),
    nn.AdaptiveAvgPool1d: ("output_size",),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.GRU: ("input_size", "hidden_size", "num_layers", "batch_first"),
    nn.LSTM: ("input_size", "hidden_size", "num_layers", "batch_first"),
    nn.Dropout: ("p",),
    nn.LeakyReLU: ("negative_slope",),
    **dict.fromkeys(
        (nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.SiLU, nn.Identity, nn.ELU, nn.Softmax), ()
    ),
}  # fmt: skip


def to_torch(run: Run, path: Path) -> list[str]:
    """Write a folder of model.py and model.safetensors.

    Returns:
        What was written, and how far its answers are from the run's.

    Raises:
        ModelError: it has layers that are neither torch's nor privet's.
        RunError: it answers otherwise.
    """
    asked = answers_of(run)
    net = plain(compact(asked.net))
    shape = ["N", *asked.x.shape[1:]]
    source = inspect.getsource(parts).replace('"""', "", 2).partition("\n")[2].lstrip("\n")
    source = source.replace(
        "import torch\n", "import torch\nfrom safetensors.torch import load_file\n", 1
    )
    tail = TAIL.format(shape=shape, expression=expression(net)).replace("'N'", "N")
    text = HEAD + "\n" + source + tail
    there: dict[str, object] = {"__name__": path.name}
    exec(compile(text, "model.py", "exec"), there)  # what is written is what is tried
    weights = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    made = there["build"]()  # type: ignore[operator]
    made.load_state_dict(weights)
    with torch.no_grad():
        told = asked.require(made.eval()(asked.x), f"{run.path}, as torch")
    path.mkdir(parents=True, exist_ok=True)
    for name, content in (("model.safetensors", save(weights)), ("model.py", text.encode())):
        with write_atomically(path / name) as file:
            file.write(content)
    return [str(path), told, *told_of(asked.front)]


def expression(module: nn.Module) -> str:
    """Python that builds a module.

    Raises:
        ModelError: it is of a class that torch has not.
    """
    kind = type(module)
    if kind in (nn.Sequential, nn.ModuleList):
        return f"nn.{kind.__name__}({', '.join(map(expression, module.children()))})"
    if kind is nn.ModuleDict:
        inside = (f"{name!r}: {expression(one)}" for name, one in module.named_children())
        return f"nn.ModuleDict({{{', '.join(inside)}}})"
    if kind in BUILT:
        return f"nn.{kind.__name__}({', '.join(_arguments(module, BUILT[kind]))})"
    if kind in OURS:
        return f"{kind.__name__}({', '.join(OURS[kind](module))})"
    raise ModelError(
        f"{kind.__name__}: a class of the model's own file, which a file without it cannot build; "
        "use --to onnx"
    )


def _arguments(module: nn.Module, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        value = getattr(module, name)
        yield f"{name}={bool(value is not None) if name == 'bias' else value!r}"


OURS = {
    parts.AddChannel: lambda _: [],
    parts.Square: lambda _: [],
    parts.Sign: lambda _: [],
    parts.MeanToken: lambda _: [],
    parts.Threshold: lambda m: [repr(m.threshold)],
    parts.Words: lambda m: [repr(m.bits), repr(m.reach)],
    parts.InWords: lambda m: [
        repr(tuple(m.words_of_weights.shape)),
        "None" if m.words is None else expression(m.words),
        repr(m.more),
    ],
    parts.Doubles: lambda m: [expression(m.net)],
    parts.Floats: lambda m: [expression(m.layer)],
    parts.MeanPool: lambda m: [repr(m.size), repr(m.stride)],
    parts.GroupNorm: lambda m: [
        repr(m.groups), repr(len(m.weight) if m.affine else 0), repr(m.eps), repr(m.affine)
    ],
    parts.Kept: lambda m: [expression(m.activation), repr(m.top), repr(m.least)],
    parts.Residual: lambda m: [expression(m.body), expression(m.shortcut)],
    parts.Offset: lambda m: [repr(tuple(m.offset.shape)), repr(m.trailing)],
    parts.Columns: lambda m: [repr(m.widths), expression(m.embeddings)],
    parts.Recurrent: lambda m: [expression(m.cells)],
    parts.Places: lambda m: [str(n) for n in m.waves.shape],
    parts.SelfAttention: lambda m: [repr(m.heads.embed_dim), repr(m.heads.num_heads)],
}  # fmt: skip
