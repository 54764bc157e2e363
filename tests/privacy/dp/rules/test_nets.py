"""Nets drawn at random from all layers: their gradients are `torch.func`'s, and they clip whole."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_rules import distance, losses
from torch import Tensor, nn

from privacy.cipher import Key
from privacy.dp.bookkeeping import OnePassOptimizer
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from privacy.dp.rules import RULES, SEQUENCES
from privacy.dp.taps import ways
from privacy.dp.training import privatize

NETS = range(40)
WORDS = 7
Step = Callable[[Tensor], Tensor]


class Scale(nn.Module):
    """A layer that has no rule anywhere: it goes by `torch.func`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.rand(width) + 0.5)
        self.power = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x.sign() * (x.abs() + 0.1) ** self.power


class Drawn(nn.Module):
    """A net whose steps were drawn one after another; x is [B, ...], of numbers or of words.

    What a step draws is added to `layers`, and what it does with them to `steps`.
    """

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self.draw = draw
        self.layers = nn.ModuleList()
        self.steps: list[Step] = []
        kind = draw.choice(["picture", "window", "volume", "table", "words", "sequence"])
        self.shape = {
            "picture": [draw.randint(1, 3), draw.randint(5, 8), draw.randint(5, 8)],
            "window": [draw.randint(1, 4), draw.randint(6, 12)],
            "volume": [draw.randint(1, 2), *[draw.randint(3, 5) for _ in range(3)]],
            "table": [draw.randint(2, 6)],
            "words": [draw.randint(2, 6)],
            "sequence": [draw.randint(2, 6), draw.randint(2, 4)],
        }[kind]
        self.words = kind == "words"
        shape = self.shape
        if kind in ("picture", "window", "volume"):
            shape = self.over_space(shape)
            as_steps = draw.random() < 0.4
            shape = self.then(positions if as_steps else nn.Flatten(), shape)
        elif self.words:
            shape = self.embedded(shape)
        if len(shape) == 2:
            for _ in range(draw.randint(1, 2)):
                shape = self.over_steps(shape)
            shape = self.then(draw.choice([lambda x: x.mean(1), lambda x: x[:, -1]]), shape)
        for _ in range(draw.randint(1, 3)):
            shape = self.over_numbers(shape)
        self.then(self.layer(nn.Linear(*shape, 3)), shape)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x

    def inputs(self, count: int) -> Tensor:
        x = torch.randn(count, *self.shape)
        return x.abs().mul(5).floor() % WORDS if self.words else x

    def layer(self, layer: nn.Module) -> Any:
        """A layer of the net, with numbers in it that are nobody's default."""
        for p in layer.parameters():
            if p.dim() == 1:
                nn.init.uniform_(p, 0.5, 1.0)
        self.layers.append(layer)
        return layer

    def over_space(self, shape: list[int]) -> list[int]:
        for _ in range(self.draw.randint(1, 3)):
            shape = self.convolved(shape)
            if self.draw.random() < 0.7:
                self.steps.append(self.normal(shape))
            self.steps.append(self.draw.choice([nn.ReLU(inplace=True), nn.Tanh(), nn.SiLU()]))
            if max(shape[1:]) > 9:
                shape = self.then(getattr(nn, f"AvgPool{len(shape) - 1}d")(2), shape)
        return shape

    def convolved(self, shape: list[int]) -> list[int]:
        draw, space, wide = self.draw, len(shape) - 1, shape[0]
        conv, back = (getattr(nn, f"{name}{space}d") for name in ("Conv", "ConvTranspose"))
        wider, kernel, bias = wide * draw.randint(1, 2), draw.randint(2, 3), draw.random() < 0.5
        made: list[Callable[[], Step]] = [
            lambda: self.layer(conv(wide, 4, kernel, draw.randint(1, 2), 1, bias=bias)),
            lambda: self.layer(conv(wide, wider, kernel, groups=wide, padding="same")),
            lambda: self.layer(conv(wide, wide, 1, groups=wide, padding_mode="circular")),
            lambda: self.layer(back(wide, 2, kernel, padding=1, bias=bias)),
            lambda: self.layer(back(wide, wider, 2, 2, groups=wide, output_padding=1)),
            lambda: twice(self.layer(conv(wide, wide, 3, padding=1, bias=bias))),
            lambda: beside(self.layer(conv(wide, wide, 3, padding=1, groups=wide))),
        ]
        return self.then(draw.choice(made)(), shape)

    def normal(self, shape: list[int]) -> Step:
        instance = getattr(nn, f"InstanceNorm{len(shape) - 1}d")
        made: list[Callable[[], Step]] = [
            lambda: self.layer(nn.GroupNorm(1, shape[0])),
            lambda: self.layer(instance(shape[0], affine=True)),
            lambda: self.layer(nn.LayerNorm(shape)),
        ]
        return self.draw.choice(made)()

    def over_steps(self, shape: list[int]) -> list[int]:
        wide = shape[1]
        made: list[Callable[[], Step]] = [
            lambda: self.recurrent(nn.RNN, wide),
            lambda: self.recurrent(nn.GRU, wide),
            lambda: self.recurrent(nn.LSTM, wide),
            lambda: attentive(self.layer(nn.MultiheadAttention(wide, 1, batch_first=True))),
            lambda: self.layer(nn.TransformerEncoderLayer(wide, 1, 5, 0.0, batch_first=True)),
            lambda: self.layer(nn.Linear(wide, 4)),
            lambda: beside(self.layer(nn.LayerNorm(wide))),
            lambda: self.layer(Scale(wide)),
            lambda: twice(self.layer(nn.Linear(wide, wide, bias=False))),
        ]
        return self.then(self.draw.choice(made)(), shape)

    def recurrent(self, kind: Any, wide: int) -> Step:
        both, depth = self.draw.random() < 0.4, self.draw.randint(1, 2)
        layer = self.layer(kind(wide, 3, depth, batch_first=True, bidirectional=both))
        return lambda x: layer(x)[0]

    def over_numbers(self, shape: list[int]) -> list[int]:
        (wide,) = shape
        made: list[Callable[[], Step]] = [
            lambda: self.layer(nn.Linear(wide, 5, bias=self.draw.random() < 0.5)),
            lambda: self.tied(wide),
            lambda: twice(self.layer(nn.Linear(wide, wide))),
            lambda: with_its_cosine(self.layer(nn.Bilinear(wide, wide, 4))),
            lambda: self.layer(Scale(wide)),
            lambda: self.layer(nn.PReLU(wide)),
            lambda: beside(self.layer(nn.Linear(wide, wide))),
        ]
        shape = self.then(self.draw.choice(made)(), shape)
        return self.then(self.draw.choice([nn.Tanh(), nn.GELU(), nn.Softplus()]), shape)

    def tied(self, wide: int) -> Step:
        there, back = (self.layer(nn.Linear(wide, wide)) for _ in range(2))
        back.weight = there.weight
        return lambda x: back(torch.sigmoid(there(x)))

    def embedded(self, shape: list[int]) -> list[int]:
        """Words by a table, and perhaps back to words by the same one."""
        table = self.layer(nn.Embedding(WORDS, 4, padding_idx=self.draw.choice([None, 0])))
        self.steps.append(lambda x: table(x.long()))
        if self.draw.random() < 0.5:
            self.steps.append(self.layer(nn.Linear(4, WORDS, bias=False)))
            self.steps[-1].weight = table.weight  # type: ignore[attr-defined]
            return [*shape, WORDS]
        return [*shape, 4]

    def then(self, step: Step, shape: list[int]) -> list[int]:
        """Append a step, and tell the shape after it."""
        self.steps.append(step)
        with torch.no_grad():
            return list(step(torch.zeros(2, *shape)).shape[1:])


def positions(x: Tensor) -> Tensor:
    """Of space, the first six, one after another."""
    return x.flatten(2).transpose(1, 2)[:, :6]


def twice(layer: Step) -> Step:
    return lambda x: layer(torch.tanh(layer(x)))


def beside(layer: Step) -> Step:
    return lambda x: x + layer(x)


def with_its_cosine(layer: Callable[[Tensor, Tensor], Tensor]) -> Step:
    return lambda x: layer(x, x.cos())


def attentive(layer: Any) -> Step:
    """With a residual, and without a look at what comes later."""

    def attend(x: Tensor) -> Tensor:
        later = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        return x + layer(x, x, x, attn_mask=later, need_weights=False)[0]

    return attend


def drawn(seed: int) -> Drawn:
    torch.manual_seed(seed)
    return Drawn(random.Random(seed))


@pytest.mark.parametrize("seed", NETS)
def test_gradients_are_those_of_torch_func(seed: int) -> None:
    """Within 1e-5 of a record's norm; in float64, to rounding."""
    net = drawn(seed)
    x = net.inputs(4)
    assert distance(net, x) <= 1e-5
    assert distance(net.double(), x.double()) <= 1e-10


def test_the_nets_have_all_layers() -> None:
    """Each kind with a rule of its own, and others, are in one of the nets."""
    told = {way for seed in NETS for way in ways(drawn(seed)).values()}
    kinds = {way.partition(":")[0] for way in told}
    assert kinds >= {
        kind.__name__ for kind in (*RULES, *SEQUENCES) if kind.__module__[:5] == "torch"
    }
    assert {"Scale: torch.func", "Bilinear: torch.func", "PReLU: torch.func"} <= told


VICTIM = 5  # of records 0 to 5: its loss counts ten thousand times


def released(net: Drawn, x: Tensor, indices: Tensor) -> Tensor:
    """The noisy sum of a step of the path that ships, noise of a fixed key and size included."""
    private = privatize(
        net,
        torch.optim.SGD(net.parameters(), lr=0.0),
        Ledger(),
        budget=Budget(noise_multiplier=1.0, clip=0.5),
        sample_rate=0.5,
        num_records=len(x),
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
    )
    weights = torch.ones(len(x), 1)
    weights[VICTIM] = 1e4
    private._batch = indices
    private.classify(lambda i: (x[i], weights[i]), indices, lambda o, w: w[:, 0] * losses(o))
    private.close()
    assert isinstance(private._optimizer, OnePassOptimizer)
    grads = [p.grad for p in private._optimizer.params]
    return torch.cat([g.double().flatten() for g in grads if g is not None]) * 0.5 * len(x)


@pytest.mark.parametrize("seed", NETS)
def test_one_record_moves_what_is_released_by_the_clip(seed: int) -> None:
    """And by no more than 1e-6 of it above, whatever its size; beside others or alone."""
    net = drawn(seed)
    x = net.inputs(6)
    everyone = torch.arange(6)
    for others in (everyone[:VICTIM], everyone[:1], everyone[:0]):
        with_victim = torch.cat([others, everyone[VICTIM:]])
        moved = (released(net, x, with_victim) - released(net, x, others)).norm()
        assert 0.4995 <= float(moved) <= 0.5 * (1 + 1e-6)
