"""A model on a fixed transform is priced with it: each inference, and the records once."""

import json

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clients.chip import FLOAT, Workload, estimate, fixed, load_chip, stochastic
from clients.chip.workloads.training import tasks
from clients.models import Model, front_of
from clients.protocol import Form
from clients.training.net import build
from server.cost import cost_of_model, cost_of_run
from server.cost.subjects import arithmetic_of, find_subject, subject_of
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.sweep.objectives import FIGURES

SCATTER = ["model.name=scatter", "federation.rounds=1", "training.local_steps=1"]


class Products(TorchDispatchMode):
    """Multiply-accumulates of all matrix products that torch carries out."""

    macs = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        packet = function.overloadpacket
        if packet in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm):
            a, b = args[-2:]
            self.macs += a.numel() * b.shape[-1]
        return out


def macs_of_a_prediction(shape, classes):
    """Counted on the real transform and the real head."""
    model, form = Model(name="scatter"), Form(shape, classes)
    net, transform = build(model, form), front_of(model, form)
    transform(torch.zeros(1, *shape))  # makes the filters
    with torch.no_grad(), Products() as done:
        net(transform(torch.rand(1, *shape)).float())
    return done.macs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return launch(load_experiment("tiny", SCATTER), tmp_path_factory.mktemp("runs"), "scattered")


@pytest.mark.parametrize("chip", ["stm32h743", "edgetpu", "eyeriss", "tpu", "integral-sc", "isaac"])
def test_an_inference_begins_with_the_transform(chip):
    chip = load_chip(chip)
    report = cost_of_model("scatter", chip, Workload("dp-sgd"), 32)
    subject = find_subject("scatter")
    assert report.inference.macs == macs_of_a_prediction((28, 28), 10) == 12_066_140 + 39_690
    head = estimate(subject.network, chip, Workload(), report.arithmetic, 1)
    before = estimate(subject.transform, chip, Workload(), report.transform, 1)
    assert report.inference.rows == before.rows + head.rows
    assert report.inference.latency_s == pytest.approx(before.latency_s + head.latency_s)
    assert report.inference.energy_j == pytest.approx(before.energy_j + head.energy_j)


@pytest.mark.parametrize(
    ("chip", "filters_bits", "head_bits"),
    [("stm32h743", 32, 8), ("edgetpu", 8, 8), ("tpu", 32, 8), ("eyeriss", 16, 16)],
)
def test_the_filters_are_in_memory(chip, filters_bits, head_bits):
    report = cost_of_model("scatter", load_chip(chip), Workload("sgd"), 1)
    bits = 2_503_868 * filters_bits + (39_690 + 10) * head_bits
    assert report.inference.memory.weight_bytes == bits // 8
    if chip == "stm32h743":  # 10 MB of filters in 2 MB of flash; its SRAM would do
        assert not report.inference.memory.fits
        assert report.inference.memory.peak_bytes < 524_288
    else:
        live = report.inference.memory.peak_bytes - report.inference.memory.weight_bytes
        # Two parts of the second layer's filtered maps and their inverse: 2 x 41,472 words.
        assert 2 * 41_472 <= live / (filters_bits / 8) <= 1.25 * 2 * 41_472


def test_a_step_reads_what_was_kept_and_the_records_are_transformed_once(run):
    for name in ("stm32h743", "edgetpu"):
        chip = load_chip(name)
        report, subject = cost_of_run(run, chip), subject_of(run.experiment)
        assert {row.layer for row in report.step.rows} == {
            layer.name for layer in subject.network.layers
        }
        owners = run.manifest.owner[~run.manifest.held_out]
        most = max(int((owners == client).sum()) for client in range(4))
        before = report.preparation
        assert before.records == most
        assert before.kept_bytes == most * 81 * 2 * 2 * 2  # 2 x 2 of 81 channels in 16 bits
        assert most > before.block.batch == 32
        whole, rest = divmod(most, 32)
        last = estimate(subject.transform, chip, Workload(), report.transform, rest)
        assert before.latency_s == pytest.approx(whole * before.block.latency_s + last.latency_s)
        assert before.energy_j == pytest.approx(whole * before.block.energy_j + last.energy_j)
        assert report.round.upload_bytes == 4 * (81 * 4 * 10 + 10)  # no filter is sent
        peak = FIGURES["peak_bytes"](report)
        assert peak == max(report.round.step.memory_99.peak_bytes, before.block.memory.peak_bytes)
        assert FIGURES["latency_s"](report) == report.inference.latency_s > before.latency_s / most


def test_what_is_fixed_has_no_gradient():
    """Trained on records as they come, too: forward through the filters, and nothing back."""
    network = find_subject("scatter").transform
    assert network.parameters == 0
    assert network.stored == 2_503_868
    assert {task.phase for task in tasks(network, Workload("dp-sgd"), 4)} == {"forward"}


def test_the_command_and_the_page_tell_of_the_transform(run, privet, monkeypatch):
    monkeypatch.setenv("PRIVET_RUNS", str(run.path.parent))
    asked = ("cost", "scattered", "--chip", "stm32h743", "--chip", "edgetpu")
    status, out, _ = privet(*asked)
    assert status == 0
    assert "U2.01 filter, real" in out
    assert "records, once:" in out
    assert "MB: OUT OF MEMORY" not in out.split("Edge-TPU")[1]
    status, out, _ = privet(*asked, "--json")
    first, second = json.loads(out)
    assert status == 0
    assert (first["transform"]["kind"], second["transform"]["kind"]) == ("float", "fixed")
    assert first["preparation"]["latency_s"] > first["preparation"]["block"]["latency_s"] > 0
    assert first["notes"] == []
    assert len(second["notes"]) == 2
    status, page, _ = privet("report", "scattered", "--format", "md")
    assert status == 0
    assert "Before the first round" in page
    assert "priced as fixed, 8 bit" in page


# ---- in which numbers


def experiment_in(*settings):
    return load_experiment("tiny", list(settings))


def test_a_float_run_is_priced_in_floats_where_the_chip_has_them():
    for name in ("stm32h743", "stm32l4r5", "tpu"):
        assert arithmetic_of(experiment_in(), load_chip(name)) == FLOAT
    assert arithmetic_of(experiment_in(), load_chip("edgetpu")) == fixed(8)
    bits = experiment_in("arithmetic.name=fixed", "arithmetic.bits=4")
    assert arithmetic_of(bits, load_chip("stm32h743")).weight_bits == 4
    streams = experiment_in("arithmetic.name=stochastic", "arithmetic.stream_length=16")
    assert arithmetic_of(streams, load_chip("integral-sc")) == stochastic(16)


@pytest.mark.parametrize(
    ("settings", "chip", "said"),
    [
        ([], "stm32h743", None),
        ([], "edgetpu", "trained in float, which this chip does not compute: priced as fixed, 8"),
        (["arithmetic.name=fixed"], "edgetpu", None),
        (["arithmetic.name=fixed"], "integral-sc", "trained in fixed, .* priced as stochastic, L"),
        (["arithmetic.name=stochastic"], "eyeriss", "in stochastic, .* priced as fixed, 16 bit"),
    ],
)
def test_another_model_than_the_trained_one_is_named_so(runs, settings, chip, said):
    import re

    plan = [*settings, "federation.rounds=1", "training.local_steps=1"]
    report = cost_of_run(launch(load_experiment("tiny", plan), runs), load_chip(chip))
    own = [note for note in report.notes if "of its own C" in note]  # as it was trained
    assert len(own) == (chip == "stm32h743")
    notes = [note for note in report.notes if note not in own]
    assert len(notes) == (said is not None)
    if said:
        assert re.search(said, notes[0])
        assert "accuracy was not measured" in notes[0]
