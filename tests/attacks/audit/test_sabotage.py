"""The audit turns red for each way of breaking DP-SGD, by the check that is made for it."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
import sabotaged as s
from elsewhere import FAR, Elsewhere, pretend

from attacks.audit import sensitivity
from attacks.audit.verdict import CHECKS, Evidence
from privacy.dp.optimizer import GridOptimizer
from server.adversary.auditing import claim_of
from server.experiment.loading import load_experiment

FEW = 160  # calls of the step, for canaries


@pytest.fixture
def elsewhere(monkeypatch):
    """`cuda` is another device, of this test's own."""
    pretend(monkeypatch, FAR)
    with Elsewhere():
        yield


def alarms(check, *assignments, seed=0):
    """Names of what fails of one kind of check."""
    claim = claim_of(load_experiment("tiny", list(assignments)).resolve(), seed=seed)
    claim = replace(claim, calls=FEW)
    return {found.name for found in CHECKS[check](Evidence(claim, seed)) if not found.passed}


SABOTAGES = {
    s.no_noise: "noise deviation",
    s.half_the_noise: "noise deviation",
    s.sigma_lowered_after_accounting: "noise deviation",
    s.same_noise_each_step: "noise deviation",
    s.noise_of_half_precision: "noise law",
    s.uniform_noise: "noise law",
    s.noise_without_tails: "noise law",
    s.noise_in_floating_point: "noise grid",
    s.same_noise_each_round: "noise repetition",
    s.same_noise_on_each_client: "noise repetition",
    s.same_noise_for_other_records: "noise repetition",
    s.same_noise_for_other_weights: "noise repetition",
    s.same_noise_for_other_settings: "noise repetition",
    s.same_noise_for_seeds_alike_in_32_bits: "noise repetition",
    s.noise_that_overlaps: "noise repetition",
    s.key_of_32_bits: "key width",
    s.key_of_63_bits: "key width",
    s.batches_of_a_narrow_generator: "key width",
    s.clip_per_batch: "sensitivity",
    s.clip_after_averaging: "sensitivity",
    s.first_record_unclipped: "sensitivity",
    s.last_record_unclipped: "sensitivity",
    s.one_layer_unclipped: "sensitivity",
    s.batch_taken_twice: "sensitivity",
    s.sum_divided_by_the_own_number: "public divisor",
    s.batches_shuffled: "sampling",
    s.batches_larger_than_charged: "sampling",
    s.thresholds_of_24_bits: "sampling of the rare",
    s.steps_uncharged: "charging",
    s.rate_charged_lower: "charging",
}


# What clips is not the same code in each engine; all else is.
ENGINES = {
    "compiled": "training.per_sample=compiled",
    "onepass": "training.per_sample=onepass",
    "gpu": "training.device=cuda",
}
ON_A_GPU = (
    s.no_noise,
    s.half_the_noise,
    s.sigma_lowered_after_accounting,
    s.noise_in_floating_point,
)
PAIRS = [
    (sabotage, engine)
    for sabotage, check in SABOTAGES.items()
    for engine in ENGINES
    if engine == "compiled" or check == "sensitivity" or (engine == "gpu" and sabotage in ON_A_GPU)
    if (sabotage, engine) != (s.last_record_unclipped, "gpu")  # the last row of a pass is nobody's
]


@pytest.mark.parametrize("check", dict.fromkeys(SABOTAGES.values()))
def test_what_ships_is_green(check):
    assert alarms(check) == set()


@pytest.mark.parametrize(
    "check", dict.fromkeys([SABOTAGES[s.no_noise], "noise grid", "sensitivity"])
)
def test_what_ships_is_green_on_a_gpu(check, elsewhere):
    assert alarms(check, ENGINES["gpu"]) == set()


@pytest.mark.parametrize(
    ("sabotage", "engine"), PAIRS, ids=lambda value: getattr(value, "__name__", value)
)
def test_sabotage_is_caught(sabotage, engine, monkeypatch):
    """By the check that is made for it."""
    check = SABOTAGES[sabotage]
    sabotage(monkeypatch)
    with ExitStack() as on_a_gpu:
        if engine == "gpu":
            pretend(monkeypatch, FAR)
            on_a_gpu.enter_context(Elsewhere())
        assert alarms(check, ENGINES[engine]) == {check}


WORDS = "arithmetic.name=fixed"
DRAWS = {
    "distortion": ["training.distortion=0.5"],
    "int8": [WORDS],
    "ternary": ["arithmetic.name=ternary"],
    "binary": ["arithmetic.name=binary"],
    "stochastic rounding": [WORDS, "arithmetic.rounding=stochastic"],
    "4 bits": [WORDS, "arithmetic.bits=4", "arithmetic.activation_bits=4"],
    "gradients of 2 bits": [WORDS, "arithmetic.gradient_bits=2"],
    "streams": ["arithmetic.name=stochastic"],
}


@pytest.mark.parametrize("settings", DRAWS.values(), ids=DRAWS)
def test_draws_that_depend_on_others_are_caught(settings, monkeypatch):
    """Wherever a record stands: in a small batch, and in one that comes in pieces."""
    monkeypatch.setattr(sensitivity, "EXPONENTS", ())
    assert not alarms("sensitivity", *settings)
    s.dice_by_place(monkeypatch)
    assert alarms("sensitivity", *settings) == {"sensitivity"}


TIMED = [
    "arithmetic.name=spiking", "arithmetic.learning=pair", "arithmetic.coding=rate",
    "arithmetic.time_steps=4", "arithmetic.threshold=0.1", "model.hidden=[8]",
]  # fmt: skip


def no_noise_for_neurons(monkeypatch):
    """But for the readout."""
    add_noise = GridOptimizer.add_noise

    def partly(self):
        add_noise(self)
        p = self.params[0]
        p.grad = p.summed_grad.view_as(p).to(p.dtype)

    monkeypatch.setattr(GridOptimizer, "add_noise", partly)


@pytest.mark.parametrize("sabotage", [s.half_the_noise, no_noise_for_neurons])
def test_noise_of_neurons_that_learn_by_spike_timing_is_heard(sabotage, monkeypatch):
    """Though no record is silent there."""
    assert not alarms("noise deviation", *TIMED)
    sabotage(monkeypatch)
    assert alarms("noise deviation", *TIMED) == {"noise deviation"}
