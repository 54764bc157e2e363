"""Each rule against `torch.func`, on layers and inputs of random shapes."""

import random
from collections.abc import Callable
from typing import Any

import oracles
import pytest
import torch
from torch import Tensor, nn

from privacy.dp.bookkeeping import OnePassOptimizer
from privacy.dp.rules import RULES, SEQUENCES
from privacy.dp.taps import ways

SEEDS = range(12)
Drawn = tuple[nn.Module, Tensor]


class Called(nn.Module):
    """A layer that is called by a function (layer, x) -> outputs [B, ...]."""

    def __init__(self, layer: nn.Module, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer, x)


class Weighed(nn.Module):
    """A weight for each number of a record's: what stands below a layer."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(shape) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def losses(out: Tensor) -> Tensor:
    """Squares of outputs [B, ...] against fixed targets, [B]."""
    flat = out.flatten(1)
    return (flat - torch.linspace(-1, 2, flat.shape[1], dtype=out.dtype)).square().mean(1)


def found(model: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The rules' per-sample gradients of each parameter [B, ...], and their norms [B]."""
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer = OnePassOptimizer(
        model, sgd, noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=1
    )
    losses(model(x)).sum().backward()
    assert optimizer._taps is not None
    uses, norms_B = optimizer._uses(optimizer._taps.take(), len(x))
    optimizer.detach()
    names = {id(p): name for name, p in model.named_parameters()}
    gradients = {
        name: torch.zeros(len(x), *p.shape, dtype=torch.float64)
        for name, p in model.named_parameters()
    }
    for use in uses:
        sums = [use.share.weighted_sum(one_B) for one_B in torch.eye(len(x), dtype=torch.float64)]
        for p, *each in zip(use.parameters, *sums, strict=True):
            gradients[names[id(p)]] = torch.stack(each).reshape(len(x), *p.shape)
    return gradients, norms_B


def distance(model: nn.Module, x: Tensor) -> float:
    """How far gradients and norms are from `torch.func`'s, of a record's own norm."""
    gradients, norms_B = found(model, x)
    expected = oracles.per_sample_gradients(model, x, losses)
    right = torch.cat([g.double().reshape(len(x), -1) for g in expected.values()], 1)
    ours = torch.cat([gradients[name].reshape(len(x), -1) for name in expected], 1)
    size_B = right.norm(dim=1).clamp(min=1e-6)
    off = (ours - right).abs().amax(1) / size_B
    return float(torch.maximum(off, (norms_B - right.norm(dim=1)).abs() / size_B).max())


def convolution(draw: random.Random, kind: Any, space: int) -> Drawn:
    """With groups (as many as channels, too), stride, padding, dilation; depth 1 to 4."""
    groups = draw.choice([1, 2, 3])
    wide, narrow = (groups * draw.choice([1, 2]) for _ in range(2))
    kernel, stride, dilation = (
        tuple(draw.randint(1, most) for _ in range(space)) for most in (3, 2, 2)
    )
    others = {"bias": draw.random() < 0.5, "groups": groups, "dilation": dilation}
    padding: Any = tuple(draw.randint(0, 1) for _ in range(space))
    if "Transpose" in kind.__name__:
        others["output_padding"] = tuple(
            draw.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)
        )
    else:
        others["padding_mode"] = draw.choice(["zeros", "zeros", "circular", "replicate"])
        if draw.random() < 0.3:
            padding, stride = "same", (1,) * space
    layer = kind(wide, narrow, kernel, stride, padding, **others)
    return layer, torch.randn(3, wide, *(draw.randint(5, 7) for _ in range(space)))


def normalisation(draw: random.Random, kind: Any) -> Drawn:
    groups, shape = draw.choice([1, 2]), [draw.randint(2, 4) for _ in range(int(kind[-2]))]
    wide = groups * (draw.choice([1, 2]) if shape else 2)  # of one number alone there is no norm
    layer = {
        "Group": lambda: nn.GroupNorm(groups, wide),
        "Layer": lambda: nn.LayerNorm([wide, *shape][draw.randint(0, len(shape)) :]),
    }.get(kind[:5], lambda: getattr(nn, kind)(wide, affine=True))()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer, torch.randn(3, wide, *shape)


def embedding(draw: random.Random) -> Drawn:
    words = draw.randint(3, 9)
    layer = nn.Embedding(words, 3, padding_idx=draw.choice([None, 0, 2]))
    shape = [draw.randint(1, 6) for _ in range(draw.choice([1, 2]))]
    return Called(layer, lambda table, x: table(x.abs().mul(5).long() % words)), torch.randn(
        3, *shape
    )


def every_output(layer: nn.Module, x: Tensor) -> Tensor:
    """All that a recurrent layer puts out; of a batch in the second place where it wants that."""
    first: Any = layer.batch_first
    out, state = layer(x if first else x.transpose(0, 1))
    states = state if isinstance(state, tuple) else (state,)
    parts = [out if first else out.transpose(0, 1), *(s.transpose(0, 1) for s in states)]
    return torch.cat([part.flatten(1) for part in parts], 1)


def from_a_state(layer: nn.Module, x: Tensor) -> Tensor:
    """As `every_output`, from a beginning that is the record's own."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    hidden = layer.proj_size or layer.hidden_size  # type: ignore[operator]
    start = x.flatten(1).sum(1)[None, :, None] / 9
    state: Any = start.expand(count, -1, hidden).contiguous()
    if isinstance(layer, nn.LSTM):
        state = (state, start.expand(count, -1, layer.hidden_size).contiguous())
    return layer(x if layer.batch_first else x.transpose(0, 1), state)[0].transpose(
        0, 0 if layer.batch_first else 1
    )


def recurrent(draw: random.Random, kind: Any) -> Drawn:
    others = {"bidirectional": draw.random() < 0.5, "bias": draw.random() < 0.7}
    if kind is nn.LSTM and draw.random() < 0.4:
        others["proj_size"] = 2  # type: ignore[assignment]
    if kind is nn.RNN:
        others["nonlinearity"] = draw.choice(["relu", "tanh"])  # type: ignore[assignment]
    layer = kind(3, 4, draw.randint(1, 2), batch_first=draw.random() < 0.5, **others)
    call = draw.choice([every_output, from_a_state])
    return Called(layer, call), torch.randn(3, draw.randint(1, 6), 3)


def attention(draw: random.Random) -> Drawn:
    """With masks of both kinds, other widths of keys and values, and outputs of both kinds."""
    first, steps = draw.random() < 0.5, draw.randint(1, 5)
    wide = draw.choice([None, 3])
    layer = nn.MultiheadAttention(
        4,
        2,
        bias=draw.random() < 0.7,
        add_bias_kv=wide is None and draw.random() < 0.3,
        add_zero_attn=draw.random() < 0.3,
        kdim=wide,
        vdim=wide,
        batch_first=first,
    )
    mask: Any = draw.choice(
        [None, torch.ones(steps, steps).triu(1).bool(), torch.randn(2, steps, steps)]
    )
    padded, weights = draw.random() < 0.3, draw.random() < 0.5

    def call(layer: nn.Module, x: Tensor) -> Tensor:
        q = x if first else x.transpose(0, 1)
        k = q if wide is None else q[..., :wide].sin()
        ours = mask.repeat(len(x), 1, 1) if mask is not None and mask.dim() == 3 else mask
        if ours is not None and ours.dtype != torch.bool:
            ours = ours.to(x)
        ignored = (x[..., 0] > 0.5) & (torch.arange(steps) > 0) if padded else None
        if ignored is not None and ours is not None and ours.dtype != torch.bool:
            ignored = torch.zeros_like(x[..., 0]).masked_fill(ignored, -9.0)
        out, seen = layer(q, k, k, ignored, need_weights=weights, attn_mask=ours)
        out = out if first else out.transpose(0, 1)
        return out if seen is None else torch.cat([out.flatten(1), seen.flatten(1)], 1)

    return Called(layer, call), torch.randn(3, steps, 4)


RULE_CASES: dict[str, Callable[[random.Random], Drawn]] = {
    **{
        kind.__name__: lambda draw, kind=kind: convolution(draw, kind, int(kind.__name__[-2]))
        for kind in RULES
        if kind.__module__.startswith("torch.")
        if "Conv" in kind.__name__
    },
    **{
        name: lambda draw, name=name: normalisation(draw, name)
        for name in ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d")
    },
    "GroupNorm": lambda draw: normalisation(draw, f"GroupNorm{draw.randint(0, 3)}d"),
    "LayerNorm": lambda draw: normalisation(draw, f"LayerNorm{draw.randint(0, 3)}d"),
    "Linear": lambda draw: (
        nn.Linear(3, 4, bias=draw.random() < 0.5),
        torch.randn(3, *[draw.randint(1, 4) for _ in range(draw.randint(0, 2))], 3),
    ),
    "Embedding": embedding,
    **{
        kind.__name__: lambda draw, kind=kind: recurrent(draw, kind)
        for kind in SEQUENCES
        if issubclass(kind, nn.RNNBase)
    },
    "MultiheadAttention": attention,
}


def test_every_rule_has_its_case() -> None:
    assert set(RULE_CASES) == {kind.__name__ for kind in (*RULES, *SEQUENCES)} - {
        kind.__name__ for kind in RULES if not kind.__module__.startswith("torch.")
    }


@pytest.mark.parametrize("name", RULE_CASES)
def test_a_rule_is_torch_func(name: str) -> None:
    """In float32 within 1e-5 of a record's norm, in float64 to rounding, what flows on too."""
    for seed in SEEDS:
        torch.manual_seed(seed)
        model, x = RULE_CASES[name](random.Random(seed))
        assert distance(model, x) <= 1e-5, seed
        assert all(way.endswith("a rule of privet's own") for way in ways(model).values())
        above = nn.Sequential(Weighed(x.shape[1:]), model)
        assert distance(above.double(), x.double()) <= 1e-12, seed


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("space", [1, 2, 3])
def test_an_instance_norm_is_the_same_of_one_record_alone(space: int, affine: bool) -> None:
    """Also where its gradient comes with its axes in another order."""
    torch.manual_seed(0)
    normal = getattr(nn, f"InstanceNorm{space}d")(4, affine=affine)
    across = Called(normal, lambda layer, x: layer(x).flatten(2).transpose(1, 2).tanh())
    x = torch.randn(3, 4, *range(3, 3 + space))
    model = nn.Sequential(Weighed(x.shape[1:]), across, nn.Linear(4, 2)).double()
    together, norms_B = found(model, x.double())
    for i, norm in enumerate(norms_B):
        alone, norms_1 = found(model, x[i : i + 1].double())
        assert float(norms_1) == pytest.approx(float(norm), rel=1e-12)
        for name, rows in together.items():
            assert torch.allclose(rows[i], alone[name][0], rtol=1e-12, atol=1e-12), name
