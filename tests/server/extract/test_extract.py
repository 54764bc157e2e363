"""`privet extract`: a net for one device, cut out of a run of many; no epsilon is spent."""

import json
import shutil

import numpy as np
import pytest
from restated import require
from scipy.stats import kendalltau

from attacks.settings import Attack
from clients.chip import load_chip
from clients.data.sets import load
from clients.models import Model
from clients.training.outline import outline
from clients.training.smaller.supernet import Variant
from privacy.errors import RunError, SettingsError
from server.adversary.adversaries import attack
from server.adversary.auditing import subject
from server.adversary.replay import replay
from server.cost import cost_of_run
from server.engines.app import test_evaluator as evaluator_of
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.extract import extract
from server.extract.candidates import Candidate, Limits, candidates_of, require_one
from server.extract.features import features_of
from server.predictor import Predictor
from server.report.facts.reading import gather
from server.report.page.dossiers import dossiers
from server.report.page.story import reproduction
from server.run.directory import Run
from server.run.origin import trained_as
from server.run.summary import CHARGE, summarise

SUPER = [
    "federation.rounds=2", "federation.clients=2", "training.local_steps=2",
    "supernet.widths=[0.25, 0.5]", "model.hidden=[32, 16]",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return launch(load_experiment("tiny", SUPER), tmp_path_factory.mktemp("runs"), "whole")


def test_the_net_that_is_cut_out_is_a_run_that_others_read(trained, tmp_path):
    chip = load_chip("stm32h743")
    priced, total = candidates_of(trained.experiment, chip)
    assert total == len(priced) == 9
    bound = sorted(c.latency_ms for c in priced)[4]
    made = extract(trained, chip, "stm32h743", Limits(latency_ms=bound), tmp_path)
    run = Run.open(made.run.path)
    cost = cost_of_run(run, chip)
    assert cost.inference.latency_s * 1e3 <= bound
    assert any("of training it alone" in note for note in cost.notes)
    assert any("trains up to 3 nets" in note for note in cost_of_run(trained, chip).notes)
    form = load(trained.experiment.data).form
    assert outline(trained.experiment, form).gradients.startswith("onepass, not compiled")
    whole, small = trained.weights(2), run.weights(2)
    for name, array in small.items():
        assert np.array_equal(array, whole[name][tuple(map(slice, array.shape))])
    assert run.ledgers[0].entries == trained.ledgers[0].entries
    assert run.rounds[-1].epsilon == trained.rounds[-1].epsilon
    score = evaluator_of(run.experiment)(small)
    assert run.rounds[-1].accuracy == score.accuracy == made.facts["accuracy"]
    fitting = [c for c in priced if c.latency_ms <= bound]
    assert made.facts["nets"] == {"all": 9, "priced": 9, "fit": len(fitting), "asked": len(fitting)}
    assert json.loads((run.path / "extracted.json").read_text())["from"] == "whole"
    assert summarise(run).searched.startswith("cut out of whole, which trained many")
    assert summarise(run).epsilon == summarise(trained).epsilon
    require(trained.path)
    require(run.path)
    # Who audits it audits what trained it, and shadows are cut out of shadows of the whole net.
    assert trained_as(run.path, run.experiment).supernet == trained.experiment.supernet
    assert subject(run.path.name, tmp_path)[0].model == trained.experiment.model
    fitted = replay(run).fit(np.ones((1, len(replay(run).owner)), bool), [3], [2])
    assert {n: w.shape for n, w in fitted[0][0].items()} == {n: w.shape for n, w in small.items()}
    assert replay(run).signature != replay(trained).signature
    attack(run, Attack(shadows=4), lambda text: None)
    assert "cut out" in run.leakage["inversion"]["left_out"]


def test_kernels_and_bits_are_in_the_run_that_is_cut_out(tmp_path, privet):
    """And what prices, asks and exports a run reads them."""
    small = ["model.name=cnn1d", "model.width=8", "model.depth=1", "federation.clients=2"]
    several = ["supernet.trims=[2]", "supernet.bits=[4]", "supernet.progressive=1"]
    once = ["federation.rounds=3", "training.local_steps=1"]
    whole = launch(load_experiment("tiny", small + several + once), tmp_path, "whole")
    chip = load_chip("stm32h743")
    priced, _ = candidates_of(whole.experiment, chip)
    assert [(c.net.model.trim, c.net.arithmetic.name) for c in priced] == [
        *((0, "float"), (0, "fixed"), (2, "float"), (2, "fixed"))
    ]
    least = priced[-1]
    limits = Limits(least.latency_ms, least.memory_kb)
    made = extract(whole, chip, "stm32h743", limits, tmp_path, "small")
    run = Run.open(made.run.path)
    told = (run.experiment.model.trim, run.experiment.arithmetic.bits, made.facts["net"])
    assert told == (2, 4, "width = 8, depth = 1, trim = 2, bits = 4")
    shapes = {array.shape for array in run.weights(3).values() if array.ndim == 3}
    assert shapes == {(8, 8, 3)}
    assert evaluator_of(run.experiment)(run.weights(3)).accuracy == made.facts["accuracy"]
    assert cost_of_run(run, chip).inference.latency_s * 1e3 == pytest.approx(least.latency_ms)
    assert cost_of_run(run, chip).peak_bytes < cost_of_run(whole, chip).peak_bytes
    command = ["export", str(run.path), "--to", "torch", "-o", str(tmp_path / "net.pt")]
    status, _, err = privet(*command)
    assert status == 0, err


def test_where_no_net_fits_one_line_says_what_binds(trained, tmp_path):
    chip = load_chip("stm32h743")
    for limits, said in (
        (Limits(latency_ms=1e-6), r"--latency-ms 1e-06 binds; the nearest needs .* ms"),
        (Limits(memory_kb=1.0), r"--memory-kb 1 binds"),
    ):
        with pytest.raises(SettingsError, match=said) as error:
            extract(trained, chip, "stm32h743", limits, tmp_path)
        assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_of_the_memories_of_a_chip_the_one_that_binds_is_named(trained):
    """Weights are in flash: a chip with too little of it has room enough for all else."""
    chip = load_chip("stm32h743")
    priced = candidates_of(trained.experiment, chip)[0]
    least = min(priced, key=lambda c: c.weights_kb)
    for sram, flash, binds, needs in (
        (1000, 1 << 20, "its own memory of 1 kB binds", f"{least.memory_kb:.4g} kB ("),
        (1 << 20, 500, "its own flash of 0.5 kB binds", f", {least.weights_kb:.4g} kB of flash ("),
        (1000, 500, "its own memory of 1 kB and its own flash of 0.5 kB bind", "kB of flash ("),
    ):
        rooms = chip.memory.model_copy(update={"buffer_bytes": sram, "dram_bytes": flash})
        small = chip.model_copy(update={"memory": rooms})
        with pytest.raises(SettingsError) as error:
            require_one(candidates_of(trained.experiment, small)[0], Limits(), "small")
        assert f"no net fits: {binds}; the nearest needs" in str(error.value)
        assert needs in str(error.value)
    # Where there is room, limits bind alone; and where there is none, both are told.
    roomless = chip.memory.model_copy(update={"dram_bytes": 500})
    small = candidates_of(trained.experiment, chip.model_copy(update={"memory": roomless}))[0]
    with pytest.raises(SettingsError, match=r"--latency-ms 1e-06 and its own flash of 0.5 kB bind"):
        require_one(small, Limits(1e-6), "small")


def test_one_line_from_the_command_line_says_what_binds(trained, privet, monkeypatch):
    monkeypatch.setenv("PRIVET_RUNS", str(trained.path.parent))
    before = sorted(trained.path.parent.iterdir())
    asked = ["extract", "whole", "--chip", "stm32h743", "--latency-ms", "1e-6", "--memory-kb", "1"]
    status, out, err = privet(*asked)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "--latency-ms 1e-06 and --memory-kb 1 bind; the nearest needs" in err
    assert sorted(trained.path.parent.iterdir()) == before


def test_a_run_of_one_net_has_none_to_cut(runs):
    run = launch(load_experiment("tiny", SUPER[:3]), runs, "one")
    with pytest.raises(RunError, match="trained one net only"):
        extract(run, load_chip("stm32h743"), "stm32h743", Limits(), runs)


def test_what_chose_the_whole_net_is_charged_to_its_parts(trained, tmp_path):
    folder = tmp_path / "whole"
    shutil.copytree(trained.path, folder)
    chosen, delta = Run.open(folder), trained.experiment.budget.delta
    chosen.keep(CHARGE, {"epsilon": 9.5, "delta": delta, "said": "chosen by a search"})
    made = extract(chosen, load_chip("eyeriss"), "eyeriss", Limits(), tmp_path)
    assert summarise(made.run).epsilon == 9.5 > summarise(trained).epsilon
    assert summarise(made.run).searched.startswith("chosen by a search; cut out of")
    (folder / CHARGE).write_text("{}")
    with pytest.raises(RunError, match="what the search that chose this run cost is not known"):
        extract(chosen, load_chip("eyeriss"), "eyeriss", Limits(), tmp_path, "other")
    assert not (tmp_path / "other").exists()


def test_a_run_that_goes_on_is_not_cut(trained, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(trained.path, folder)
    lines = (folder / "rounds.jsonl").read_text().splitlines(keepends=True)
    (folder / "rounds.jsonl").write_text(lines[0])
    with pytest.raises(RunError, match="1 of 2 rounds are done"):
        extract(Run.open(folder), load_chip("eyeriss"), "eyeriss", Limits(), tmp_path)


def test_from_the_command_line(trained, privet, monkeypatch):
    monkeypatch.setenv("PRIVET_RUNS", str(trained.path.parent))
    status, out, err = privet("extract", "whole", "--chip", "eyeriss", "--json")
    assert status == 0, err
    assert json.loads(out)["nets"]["asked"] == 9
    status, out, err = privet("extract", "whole", "--chip", "eyeriss", "--latency-ms", "nan")
    assert (status, out) == (2, "")


def test_the_report_trains_the_whole_net_to_make_a_part_again(trained, tmp_path):
    """The settings of the part alone would train another net."""
    made = extract(trained, load_chip("stm32h743"), "stm32h743", Limits(), tmp_path, "part")
    facts = gather(["part"], tmp_path)
    whole, part = f"{made.run.path}/whole.toml", f"{made.run.path}/experiment.toml"
    for text in (str(dossiers(facts.runs)), str(reproduction(facts))):
        assert f"privet run {whole}" in text
        assert f"privet run {part}'" not in text  # but for a baseline, which adds a setting
    plain = gather([trained.path.name], trained.path.parent)
    assert f"privet run {trained.path}/experiment.toml" in str(reproduction(plain))


def test_the_predictor_ranks_nets_that_it_has_not_seen_and_knows_how_sure_it_is():
    rng = np.random.default_rng(0)

    def candidate(hidden):
        weights = 64 * hidden[0] + hidden[0] * hidden[1] + hidden[1] * 10
        return Candidate(Variant(Model(hidden=hidden)), weights, weights, 0.0, 0.0, 0.0, 0.0, {})

    nets = [candidate(tuple(map(int, 2 ** rng.uniform(3, 8, 2)))) for _ in range(74)]
    truth = np.array(
        [1 - 0.5 / c.net.model.hidden[0] ** 0.5 - 0.3 / c.net.model.hidden[1] for c in nets]
    )
    seen = truth + rng.normal(0, 0.002, len(nets))
    rows = features_of(nets)
    mean, deviation = Predictor(rows[:24], seen[:24])(rows[24:])
    assert kendalltau(mean, truth[24:]).statistic > 0.8
    assert np.mean(np.abs(mean - truth[24:]) < 3 * deviation) > 0.9
