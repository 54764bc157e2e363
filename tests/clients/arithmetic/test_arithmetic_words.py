"""Words of few bits: rounding, projections, per-sample clipping, faults, export."""

import math

import numpy as np
import oracles_arithmetic as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clients.arithmetic import ARITHMETICS, Arithmetic, projections
from clients.arithmetic.dice import Dice
from clients.arithmetic.layers import ArithmeticLinear, KeepRange, Sign
from clients.arithmetic.passes import constrain
from clients.arithmetic.rounding import REACH, RoundGradient, RoundInput, round_rows_at_random
from clients.draws import row_seeds
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.dp import rules, taps
from privacy.errors import ModelError, SettingsError
from privacy.settings import parse
from server.experiment.loading import load_experiment

# rounding


@settings(max_examples=30, deadline=None)
@given(bits=st.integers(2, 8), seed=st.integers(0, 10**6), positive=st.booleans())
def test_inputs_go_to_the_nearest_word(bits, seed, positive):
    x = torch.randn(3, 40, generator=torch.Generator().manual_seed(seed))
    x = x.abs() if positive else x
    rounded = RoundInput(bits)(x)
    for row, out in zip(x.tolist(), rounded.tolist(), strict=True):
        words = (1 << bits) - 1 if positive else (1 << bits - 1) - 1
        square = math.sqrt(sum(v * v for v in row) / len(row))
        step = min(max(map(abs, row)), REACH[bits] * square) / words
        for value, got in zip(row, out, strict=True):
            best = oracle.nearest_word(value, step, words)
            assert abs(abs(value - got) - abs(value - best)) <= 1e-5 * max(1, abs(value))
            assert abs(got / step - round(got / step)) <= 1e-3


@pytest.mark.parametrize("bits", REACH)
def test_the_reach_loses_least_on_a_normal_variable(bits):
    x = np.linspace(-6, 6, 20001)
    density = np.exp(-(x**2) / 2)
    words = (1 << bits - 1) - 1

    def error(reach):
        step = reach / words
        held = np.clip(np.rint(x / step), -words, words) * step
        return (density * (held - x) ** 2).sum()

    best = min(np.arange(1.0, 4.5, 0.01), key=error)
    assert error(REACH[bits]) <= 1.002 * error(best)


@settings(max_examples=15, deadline=None)
@given(bits=st.integers(2, 8), seed=st.integers(0, 10**6))
def test_rounding_at_random_is_unbiased(bits, seed):
    """Weights, activations and gradients: the mean of many draws is the number itself."""
    num = 3000
    row = torch.randn(12, generator=torch.Generator().manual_seed(seed))
    out = torch.empty(num, 12)
    round_rows_at_random(
        row.expand(num, 12).contiguous().numpy(),
        bits,
        row_seeds(np.uint64(seed), np.arange(num)),
        out.numpy(),
    )
    step = float(row.abs().max()) / ((1 << bits - 1) - 1)
    assert float((out.mean(0) - row).abs().max()) <= 5 * step / 2 / math.sqrt(num)
    draws = torch.rand(num, 12, generator=torch.Generator().manual_seed(seed))
    means = torch.zeros(12)
    for draw in draws:
        words, scale = projections.fixed(row[None], bits, False, draw[None])
        means += (words * scale)[0] / num
    assert float((means - row).abs().max()) <= 5 * step / 2 / math.sqrt(num)


def test_each_record_is_rounded_by_itself():
    x = torch.randn(5, 30)
    other = x.clone()
    other[1:] *= 1000
    for layer in (RoundInput(4), RoundInput(4, stochastic=True)):
        layer.dice.begin(3)
        first = layer(x)[0]
        layer.dice.begin(3)
        assert torch.equal(first, layer(other)[0])


def test_a_gradient_is_rounded_on_its_way_back_and_only_in_training():
    layer = RoundGradient(2)
    x = torch.randn(6, 9, requires_grad=True)
    g = torch.randn(6, 9)
    layer(x).backward(g)
    scale = g.abs().amax(1, keepdim=True)
    assert set((x.grad / scale).unique().tolist()) <= {-1.0, 0.0, 1.0}
    x.grad = None
    layer.eval()(x).backward(g)
    assert torch.equal(x.grad, g)


@pytest.mark.parametrize("layer", [Sign(), RoundInput(3)])
def test_estimators_block_what_is_out_of_range(layer):
    x = torch.tensor([[-3.0, -0.4, 0.1, 0.2, 0.3, 0.6, 0.7, 9.0]], requires_grad=True)
    layer(x).backward(torch.ones(1, 8))
    bound = 1 if isinstance(layer, Sign) else REACH[3] * float(x.detach().square().mean().sqrt())
    assert torch.equal(x.grad, (x.detach().abs() <= bound).float())


# projections


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), columns=st.integers(1, 7))
def test_the_optimised_ternary_projection_is_the_best_of_all(seed, columns):
    """Against every choice of words, each with its best scale."""
    rows = torch.randn(1, columns, generator=torch.Generator().manual_seed(seed))
    words, scale = projections.ternary(rows, optimised=True)
    error = float((rows - scale * words).square().sum())
    for code in range(3**columns):
        other = torch.tensor([[code // 3**i % 3 - 1.0 for i in range(columns)]])
        alpha = (rows * other).sum() / other.square().sum().clamp(min=1)
        assert error <= float((rows - alpha * other).square().sum()) + 1e-5


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), bits=st.integers(2, 8))
def test_projections_lose_no_more_when_optimised(seed, bits):
    rows = torch.randn(4, 50, generator=torch.Generator().manual_seed(seed))

    def error(projected):
        return float((rows - projected.words * projected.scale).square().sum())

    plain, best = (projections.fixed(rows, bits, optimised, None) for optimised in (False, True))
    assert error(best) <= error(plain) * (1 + 1e-6)
    assert plain.words.abs().max() <= (1 << bits - 1) - 1
    assert error(projections.ternary(rows, True)) <= error(projections.ternary(rows, False)) + 1e-4
    signs, scale = projections.binary(rows)
    assert torch.allclose(scale[:, 0], rows.abs().mean(1))
    assert torch.equal(signs, torch.where(rows >= 0, 1.0, -1.0))


@pytest.mark.parametrize("name", ["fixed", "ternary", "binary"])
@pytest.mark.parametrize("optimised", ["heuristic", "optimised"])
def test_weights_of_zero_stay_zero(name, optimised):
    """A scatter net begins there; nothing may divide by its scale."""
    settings_ = Arithmetic(name=name, projection=optimised)
    net = build(Model(name="scatter"), Form((8, 8), 3), settings_)
    assert torch.equal(net(torch.randn(2, 324)), torch.zeros(2, 3))


def test_float_is_torch():
    """Exactly the plain modules, in the same order and with the same initial weights."""
    torch.manual_seed(0)
    net = build(Model(hidden=(5,)), Form((4, 4), 3), Arithmetic())
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))
    assert [type(m) for m in net] == [type(m) for m in plain]
    for name, w in plain.state_dict().items():
        assert torch.equal(net.state_dict()[name], w)


def test_weights_stay_in_their_window_after_an_update():
    net = build(Model(), Form((4, 4), 3), Arithmetic(name="binary"))
    with torch.no_grad():
        net[2].weight.mul_(100)
    before = net(torch.ones(1, 4, 4))
    constrain(net)
    assert float(net[2].weight.abs().max()) == 1
    assert not torch.equal(net(torch.ones(1, 4, 4)), before), "projected anew"


def test_dice_are_a_function_of_their_seed():
    first, second = Dice(), Dice()
    first.begin(7)
    second.begin(7)
    throws = [first.throw() for _ in range(100)]
    assert throws == [second.throw() for _ in range(100)]
    assert len(set(throws)) == 100
    assert min(throws) >= 0


def test_a_records_dice_know_no_other_record():
    """Nor its place: only the step and its own number."""
    dice = Dice()

    def thrown(step, *records):
        dice.begin(step, np.array(records))
        _, second = dice.rows(len(records)), dice.rows(len(records))
        return dict(zip(records, second.tolist(), strict=True))

    alone, among = thrown(7, 5), thrown(7, 900, 5, 2)
    assert alone[5] == among[5]
    assert len({*among.values(), *thrown(8, 900, 5, 2).values()}) == 6
    with pytest.raises(ModelError, match="dice for 3 records, not 4"):
        dice.rows(4)


def test_the_range_penalty_pushes_back_what_is_out_of_range():
    x = torch.tensor([[0.5, -2.0, 3.0]], requires_grad=True)
    KeepRange(1.0, strength=0.5)(x).backward(torch.tensor([[4.0, 1.0, 1.0]]))
    assert x.grad.tolist() == [[4.0, 1.0 - 2.0, 1.0 + 2.0]]


# settings


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("name=fixd", "did you mean fixed?"),
        ("bits=9", "[arithmetic] bits = 9: must be from 2 to 8"),
        ("bits=1", "[arithmetic] bits = 1: must be from 2 to 8"),
        ("activation_bits=16", "a word has 2 to 8 bits, or 32 to leave it in float"),
        ("stream_length=48", "a power of two long, as the period of a register is; use 32 or 64"),
        ("stream_length=2048", "must be from 1 to 1024"),
        ("lfsr_bits=1", "at least 2 bits; 0 takes what the stream needs"),
    ],
)
def test_settings_out_of_range_are_refused_with_a_remedy(assignment, message):
    with pytest.raises(SettingsError, match="arithmetic") as caught:
        load_experiment("tiny", [f"arithmetic.{assignment}"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "together",
    [
        {"name": "fixed", "activation_bits": 1},
        {"name": "fixed", "scaling": "none"},
        {"name": "binary", "gradient_bits": 1},
        {"name": "binary", "accumulator_bits": 8},
    ],
)
def test_settings_that_do_not_go_together_are_refused(together):
    with pytest.raises(SettingsError):
        parse(Arithmetic, together, "test")


def test_hooks_are_refused_where_opacus_has_no_rule():
    with pytest.raises(SettingsError, match="use per_sample = 'onepass'"):
        load_experiment("tiny", ["arithmetic.name=fixed", "training.per_sample=hooks"])


def test_a_layer_without_a_rule_of_its_own_goes_record_by_record(monkeypatch):
    net = build(Model(), Form((4, 4), 3), Arithmetic(name="fixed"))
    assert set(taps.ways(net).values()) == {"ArithmeticLinear: a rule of privet's own"}
    monkeypatch.delitem(rules.RULES, ArithmeticLinear)
    assert set(taps.ways(net).values()) == {"ArithmeticLinear: torch.func"}


def test_every_arithmetic_tells_its_formats():
    kinds = {name: Arithmetic(name=name).formats for name in ARITHMETICS}
    assert {name: (f.kind, f.weight_bits) for name, f in kinds.items()} == {
        "float": ("float", 32),
        "fixed": ("fixed", 8),
        "ternary": ("ternary", 2),
        "binary": ("binary", 1),
        "stochastic": ("stochastic", 1),
        "spiking": ("spiking", 32),
        "p-bits": ("p-bits", 32),
        "invertible": ("invertible", 2),
    }
    assert kinds["stochastic"].stream_length == 64
