"""Of a net of words, what stands between them: in doubles.

In doubles an answer depends on the order of a sum by less than a float's last bit, and a word on it
as good as never: torch, onnxruntime and whoever else give the same floats.
"""

from torch import nn

from clients.training.plain import parts

# Layers of doubles as well as of floats, in torch and in onnxruntime.
EITHER = (
    *(nn.Sequential, nn.ModuleDict, nn.Flatten, nn.Identity, nn.Dropout),
    *(nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.MaxPool1d, nn.MaxPool2d),
    *(parts.AddChannel, parts.Square, parts.Sign, parts.Threshold, parts.Words, parts.InWords),
    *(parts.GroupNorm, parts.Kept, parts.Residual, parts.Offset, parts.Columns, parts.MeanPool),
)


def is_exact(net: nn.Module) -> bool:
    """Does a plain net answer the same, whoever adds up?"""
    return isinstance(net, parts.Doubles) and not any(
        isinstance(m, parts.Floats) for m in net.modules()
    )


def in_doubles(net: nn.Module) -> nn.Module:
    """A plain net of words, in doubles; any other, or with a class of a user's, as it is."""
    words = any(isinstance(m, parts.InWords) for m in net.modules())
    known = all(type(m) in EITHER or _is_torchs(m) for m in net.modules())
    return parts.Doubles(_fitted(net)) if words and known else net


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules")


def _fitted(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.AvgPool1d | nn.AvgPool2d) and not module.ceil_mode:
        axes = 1 if isinstance(module, nn.AvgPool1d) else 2
        size, stride, padding = (
            each if isinstance(each, tuple) else (each,) * axes
            for each in (module.kernel_size, module.stride, module.padding)
        )
        if not any(padding):
            return parts.MeanPool(size, stride)
    if type(module) not in EITHER:
        return parts.Floats(module)
    for name, child in module.named_children():
        setattr(module, name, _fitted(child))
    return module
