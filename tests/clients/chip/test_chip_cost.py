"""What must hold of every estimate, whatever the chip, the network and the step."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.chip import (
    BINARY,
    FLOAT,
    TERNARY,
    Workload,
    estimate,
    fixed,
    load_chip,
    ready_chips,
    reference,
    stochastic,
)
from clients.chip.federated import estimate_round, estimate_step, fixed_step
from clients.chip.roofline import figure, roofline
from clients.chip.workloads.networks import Plan
from privacy.errors import SettingsError

CHIPS = {name: load_chip(name) for name in ready_chips()}
DIGITAL = [name for name, chip in CHIPS.items() if "fixed" in chip.kinds]
STEPS = [
    Workload(),
    Workload("sgd"),
    *(Workload("dp-sgd", clipping) for clipping in ("per-sample", "ghost", "onepass")),
]


@st.composite
def networks(draw):
    """A few layers of any kind that fit one on another."""
    side = draw(st.integers(4, 24))
    plan = Plan(draw(st.integers(1, 8)), side, side)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["conv", "depthwise", "pointwise", "residual"]))
        if kind == "conv":
            kernel = draw(st.sampled_from([1, 2, 3, 5]))
            plan.conv(draw(st.integers(1, 40)), kernel, draw(st.integers(1, 2)))
        elif kind == "depthwise":
            plan.conv(plan.shape[0], 3, groups=plan.shape[0])
        elif kind == "pointwise":
            plan.conv(draw(st.integers(1, 40)), 1)
        else:
            plan.residual(plan.shape[0], 1)
    if draw(st.booleans()):
        plan.mean()
    plan.dense(draw(st.integers(1, 30)))
    return plan.finish("random")


def arithmetic_for(name, bits):
    return fixed(bits) if name in DIGITAL else stochastic(2**bits)


@settings(max_examples=200, deadline=None)
@given(networks(), st.sampled_from(sorted(CHIPS)), st.sampled_from(STEPS), st.integers(0, 9))
def test_rows_sum_to_the_total_and_efficiencies_are_fractions(network, name, workload, batch):
    cost = estimate(network, CHIPS[name], workload, arithmetic_for(name, 8), batch)
    assert cost.latency_s == pytest.approx(sum(row.latency_s for row in cost.rows), rel=1e-12)
    energy = sum(sum(row.energy_j.values()) for row in cost.rows)
    assert cost.energy_j == pytest.approx(energy, rel=1e-12)
    for level, total in cost.traffic_bytes.items():
        assert total == pytest.approx(sum(row.traffic_bytes[level] for row in cost.rows))
    assert all(0 <= e <= 1 for e in cost.memory_access_efficiency.values())
    for row in cost.rows:
        assert 0 < row.memory_access_efficiency <= 1, row
        assert 0 <= row.utilisation <= 1 + 1e-12
        assert 0 <= row.performance_efficiency <= 1 + 1e-12, row
        assert row.latency_s >= row.processing_s >= 0
        assert row.latency_s >= row.dram_s * (1 - 1e-12)
        assert all(joules >= 0 and math.isfinite(joules) for joules in row.energy_j.values())
        assert row.active <= CHIPS[name].array.elements


@settings(max_examples=200, deadline=None)
@given(networks(), st.sampled_from(sorted(CHIPS)), st.sampled_from(STEPS), st.integers(0, 20))
def test_a_record_more_never_costs_less(network, name, workload, batch):
    arithmetic = arithmetic_for(name, 8)
    less = estimate(network, CHIPS[name], workload, arithmetic, batch)
    more = estimate(network, CHIPS[name], workload, arithmetic, batch + 1)
    assert_no_less(less, more)


@settings(max_examples=200, deadline=None)
@given(networks(), st.sampled_from(DIGITAL), st.sampled_from(STEPS), st.integers(1, 33))
def test_a_bit_more_never_costs_less(network, name, workload, bits):
    less = estimate(network, CHIPS[name], workload, fixed(bits), 3)
    more = estimate(network, CHIPS[name], workload, fixed(bits + 1), 3)
    assert_no_less(less, more)


@settings(max_examples=50, deadline=None)
@given(networks(), st.sampled_from(STEPS), st.integers(1, 600), st.integers(1, 300))
def test_a_longer_stream_never_costs_less(network, workload, length, longer):
    chip = CHIPS["integral-sc"]
    less = estimate(network, chip, workload, stochastic(length), 3)
    more = estimate(network, chip, workload, stochastic(length + longer), 3)
    assert_no_less(less, more)


def assert_no_less(less, more):
    slack = 1 + 1e-12
    assert less.latency_s <= more.latency_s * slack
    assert less.energy_j <= more.energy_j * slack
    for level, moved in less.traffic_bytes.items():
        assert moved <= more.traffic_bytes[level] * slack, level
    assert less.memory.peak_bytes <= more.memory.peak_bytes


@settings(max_examples=40, deadline=None)
@given(networks(), st.sampled_from(sorted(CHIPS)), st.integers(1, 12))
def test_dp_sgd_without_clip_or_noise_costs_what_sgd_does(network, name, batch):
    chip, arithmetic = CHIPS[name], arithmetic_for(name, 8)
    plain = estimate(network, chip, Workload("sgd"), arithmetic, batch)
    same = estimate(network, chip, Workload("dp-sgd", clip=None, sigma=0.0), arithmetic, batch)
    assert same == plain


@settings(max_examples=40, deadline=None)
@given(networks(), st.sampled_from(sorted(CHIPS)), st.integers(1, 99))
def test_per_sample_gradients_take_4_bytes_a_record_and_parameter(network, name, batch):
    cost = estimate(network, CHIPS[name], Workload("dp-sgd"), arithmetic_for(name, 8), batch)
    assert cost.memory.gradient_bytes == 4 * batch * network.parameters


def test_privacy_costs_more_where_there_are_more_parameters():
    """Per-sample clipping runs 2.6 to 8 times below SGD's throughput (arXiv 2406.17298)."""
    chip, slower = CHIPS["tpu"], {}
    for name in ("mlperf-kws", "mlperf-ad"):
        sgd, dp = (
            estimate(name, chip, Workload(step), fixed(8), 64).latency_s
            for step in ("sgd", "dp-sgd")
        )
        slower[name] = dp / sgd
    assert 1 < slower["mlperf-kws"] < slower["mlperf-ad"]
    assert slower["mlperf-ad"] > 2.6


def test_an_arithmetic_that_a_chip_has_not_is_refused():
    for name, arithmetic in (
        ("eyeriss", stochastic(8)),
        ("integral-sc", fixed(8)),
        ("edgetpu", FLOAT),
    ):
        with pytest.raises(SettingsError, match="does not compute"):
            estimate("mlperf-ad", CHIPS[name], Workload(), arithmetic, 1)


def test_narrow_operands_share_a_wide_datapath():
    """BrainTTA: 1,024 binary, 512 ternary and 128 8-bit products a cycle; by fewer joules each."""
    chip, network = CHIPS["binary"], reference("mlperf-ic")
    costs = [estimate(network, chip, Workload(), p, 1) for p in (BINARY, TERNARY, fixed(8))]
    compute = [sum(row.compute_s for row in cost.rows) for cost in costs]
    assert compute == sorted(compute)
    assert compute[2] / compute[0] > 4
    assert [c.energy_j for c in costs] == sorted(c.energy_j for c in costs)


def test_a_cached_estimate_is_the_same_object():
    arguments = ("alexnet", CHIPS["eyeriss"], Workload(), fixed(16), 4)
    assert estimate(*arguments) is estimate(*arguments)


def test_poisson_batches_have_a_mean_and_a_tail():
    network, chip = reference("mlperf-ad"), CHIPS["edgetpu"]
    step = estimate_step(network, chip, Workload("dp-sgd"), fixed(8), 1000, 0.1)
    smallest, largest = (
        estimate(network, chip, Workload("dp-sgd"), fixed(8), batch).latency_s
        for batch in (60, 140)
    )
    assert smallest < step.latency_s < step.latency_99_s < largest
    drawn = np.random.default_rng(0).binomial(1000, 0.1, 200_000)
    assert step.batch_99 == np.quantile(drawn, 0.99)
    assert step.memory_99.gradient_bytes == 4 * step.batch_99 * network.parameters
    times = {
        size: estimate(network, chip, Workload("dp-sgd"), fixed(8), size).latency_s
        for size in np.unique(drawn).tolist()
    }
    sampled = [times[size] for size in drawn.tolist()]
    assert step.latency_s == pytest.approx(np.mean(sampled), rel=1e-3)
    assert step.latency_std_s == pytest.approx(np.std(sampled), rel=2e-2)
    sure = estimate_step(network, chip, Workload("dp-sgd"), fixed(8), 50, 1.0)
    assert sure.latency_s == pytest.approx(sure.typical.latency_s)
    assert sure.latency_std_s == pytest.approx(0, abs=1e-12)


def test_a_round_is_its_steps_and_its_radio():
    network, chip = reference("mlperf-ad"), CHIPS["edgetpu"]
    step = fixed_step(network, chip, Workload("sgd"), fixed(8), 32)
    one = estimate_round(network, chip, step, 7)
    assert one.upload_bytes == one.download_bytes == 4 * network.parameters
    bits = 8 * one.upload_bytes
    assert one.radio_s == pytest.approx(bits / 20e6 + bits / 50e6)
    assert one.radio_j == pytest.approx(bits * 130e-9)
    assert one.latency_s == pytest.approx(7 * step.latency_s + one.radio_s)
    assert one.energy_j == pytest.approx(
        7 * step.energy_j + one.radio_j + one.radio_s * chip.energy.static_w
    )


def test_no_point_is_above_the_roof():
    for name in ("eyeriss", "tpu", "edgetpu", "binary"):
        chip = CHIPS[name]
        cost = estimate("alexnet", chip, Workload("sgd"), fixed(8), 4)
        line = roofline(cost, chip, fixed(8))
        assert len(line.points) == sum(row.macs > 0 for row in cost.rows)
        assert all(p.operations_per_s <= p.roof * (1 + 1e-9) for p in line.points)
        assert line.ridge == pytest.approx(line.peak / line.bytes_per_s)
        drawn = figure(line)
        assert {trace["name"] for trace in drawn["data"]} == {
            "roof",
            *{p.phase for p in line.points},
        }


def test_zeros_save_what_the_chip_can_save():
    dense, sparse = Workload(), Workload(activation_zeros=0.6)
    gated = CHIPS["eyeriss"]
    before, after = (estimate("alexnet", gated, w, fixed(16), 4) for w in (dense, sparse))
    assert after.processing_s == before.processing_s  # Eyeriss gates: no cycle is saved
    assert after.energy_parts_j["mac"] == pytest.approx(0.4 * before.energy_parts_j["mac"])
    assert after.traffic_bytes["dram"] < before.traffic_bytes["dram"]
    assert after.memory_access_efficiency == before.memory_access_efficiency
    array = replace_array(CHIPS["binary"], skips="activations", group=16)
    before, after = (estimate("alexnet", array, w, fixed(8), 1) for w in (dense, sparse))
    saved = sum(r.compute_s for r in after.rows) / sum(r.compute_s for r in before.rows)
    assert 0.4 < saved < 0.6  # elements of a group wait for one another


def replace_array(chip, **changes):
    return chip.model_copy(update={"array": chip.array.model_copy(update=changes)})


def test_workloads_out_of_range_are_refused():
    for wrong in ({"activation_zeros": 1.0}, {"sigma": -1.0}, {"clip": 0.0}):
        with pytest.raises(ValueError, match="must"):
            Workload(**wrong)
    with pytest.raises(ValueError, match="stream_length"):
        replace(stochastic(8), stream_length=0)
