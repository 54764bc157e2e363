"""`privet attack` and `privet audit`: what they write, what they refuse, and going on."""

import json
import os
import signal
import time

import pytest

from attacks.settings import Attack
from clients.training.records import Records
from privacy.errors import Interrupted
from server.adversary import adversaries, auditing
from server.adversary.replay import replay
from server.adversary.shadows import shadows_of
from server.commands.attack import reconstruction_table
from server.engines.launch import launch
from server.experiment.loading import load_experiment


@pytest.fixture(autouse=True)
def few_canaries(monkeypatch):
    monkeypatch.setattr(auditing, "CALLS", {"record": 300, "client": 40})


QUICK = ("-s", "attack.reconstruct=false", "-s", "attack.shadows=4")


def test_attack_goes_on_where_it_stopped(privet, runs, monkeypatch):
    launch(load_experiment("tiny", ["federation.rounds=2", "seed=1"]), runs, "mine")
    whole = adversaries.on_updates

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(adversaries, "on_updates", stop)
    with pytest.raises(Interrupted, match="go on with: privet attack mine"):
        adversaries.attack(
            adversaries.Run.open(runs / "mine"),
            adversaries.settings_of(adversaries.Run.open(runs / "mine"), list(QUICK[1::2])),
            lambda _: None,
        )
    monkeypatch.setattr(adversaries, "on_updates", whole)
    monkeypatch.setattr(adversaries, "on_models", stop)  # it is done: not called again
    status, out, err = privet("attack", "mine", *QUICK, "--json")
    assert status == 0
    found = json.loads(out)
    assert found == json.loads((runs / "mine/leakage.json").read_text())
    assert set(found["left_out"]) >= {"server", "inversion", "generators"}
    assert "record.updates=true" in found["left_out"]["server"]
    for name in ("final_model", "all_rounds"):
        chosen = found[name]["chosen_on_shadows"]["auc"]
        figure = found[name]["attacks"][chosen]["auc"]
        assert figure["low"] < figure["value"] < figure["high"]
        assert found[name]["attacks"][chosen]["tpr_at_0_1_percent"] is None
        assert len(found[name]["subjects"]) == 4
    assert found["train_test_gap"]["gap"]["low"] < found["train_test_gap"]["gap"]["high"]
    assert {"as trained", "int8 weights"} <= set(found["robustness"])

    status, out, err = privet("attack", "mine", *QUICK)
    assert status == 0
    assert "final model" in out
    assert "left out: server" in err
    assert "[attack] reconstruct = false" in err
    assert "int8 weights" in out
    assert "inversion" not in out


def test_shadows_are_used_again(privet, runs, monkeypatch):
    for seed in (1, 2):
        launch(load_experiment("tiny", ["federation.rounds=1", f"seed={seed}"]), runs, f"run{seed}")
    assert privet("attack", "run1", *QUICK)[0] == 0
    before = {p: p.stat().st_mtime_ns for p in (runs / ".shadows").rglob("*.safetensors")}
    assert len(before) == 1
    assert privet("attack", "run2", *QUICK)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in (runs / ".shadows").rglob("*.safetensors")} == before
    assert [r["run"] for r in json.loads(privet("list", "--json")[1])["runs"]] == ["run1", "run2"]


def test_a_perceptron_is_reconstructed_against_strangers(runs, monkeypatch):
    """The whole road of the reconstruction, without DP: inversion is nearly exact."""
    from server.adversary.reconstruction import generators, play

    monkeypatch.setattr(generators, "GAN_ROUNDS", 6)
    monkeypatch.setattr(generators, "GAN_PAIRS", 1)
    run = launch(load_experiment("tiny", ["federation.rounds=1", "budget.unit=none"]), runs)
    found = play.reconstruct(run, replay(run), Attack(), lambda _: None)
    inverted = found["inversion"]
    assert inverted["reconstruction"]["psnr_db"] > 60
    assert inverted["nearest_stranger"]["psnr_db"] < 25
    assert inverted["p_nearer_than_strangers"] < 1e-3
    for adversary in ("malicious_client", "server"):
        about = found["generators"][adversary]
        assert about["frechet_victim_to_strangers"] < about["frechet_to_victim"]
        assert about["frechet_to_victim"] < about["frechet_own_records_to_victim"]
        assert about["of_class_own_records"] < about["of_class_victim"]
        assert "pairwise_ssim_victim" not in about  # of 8 pixels a side
        assert 0 < about["p_own_victim_nearer"] <= 1
        assert 0 < about["psnr_db_to_victim"] < 40
        assert 0 < about["psnr_db_to_strangers"] < 40
        assert (run.path / about["picture"]).read_bytes()[:4] == b"\x89PNG"
    assert (run.path / inverted["picture"]).exists()
    assert reconstruction_table(found).row_count == 3


def test_a_generator_that_draws_one_image_says_so():
    """Two that are as unlike as the victim's say nothing; neither do images too small for SSIM."""
    from server.adversary.reconstruction.generators import warned

    means = {"pairwise_ssim_generated": 0.95, "pairwise_ssim_victim": 0.18}
    assert "collapsed: its images are more alike" in warned(means)["warning"]
    assert "less alike" in warned({**means, "pairwise_ssim_generated": 0.05})["warning"]
    assert warned({**means, "pairwise_ssim_generated": 0.27}) == {} == warned({})


def test_a_perceptron_of_means_of_pixels_is_inverted_too(runs, monkeypatch):
    """Its first gradient is no picture of the record's size."""
    from attacks.reconstruction import inversion
    from server.adversary.reconstruction.inversions import invert_updates

    monkeypatch.setattr(inversion, "STEPS", 20)
    pooled = ["federation.rounds=1", "budget.unit=none", "model.pool=2"]
    run = launch(load_experiment("tiny", pooled), runs)
    found = invert_updates(run, replay(run), 0)["inversion"]
    assert found["method"] == "iterative"
    assert found["victims"] == 32


def test_streams_are_attacked_through_their_mean(runs):
    """A perceptron in streams: what follows its twin's gradient turns more answers than chance."""
    streams = ["arithmetic.name=stochastic", "arithmetic.stream_length=64", "budget.unit=none"]
    loop = ["training.learning_rate=0.5", "training.local_steps=20", "federation.rounds=5"]
    run = launch(load_experiment("tiny", [*streams, *loop]), runs)
    found = adversaries.on_answers(run, replay(run))["robustness"]["as trained"]
    assert found["clean"]["value"] > 0.5
    assert found["pgd 0.1"]["high"] < found["clean"]["low"]
    assert found["pgd 0.1"]["value"] <= found["fgsm 0.1"]["value"]


def test_behind_secure_aggregation_no_update_is_drawn_from(runs, monkeypatch):
    """The server's own attacks are left out, with the reason; a malicious client still plays."""
    from server.adversary.reconstruction import generators, play

    monkeypatch.setattr(generators, "GAN_ROUNDS", 1)
    monkeypatch.setattr(generators, "GAN_PAIRS", 1)
    settings = ["federation.rounds=1", "federation.secure_aggregation=masks"]
    run = launch(load_experiment("tiny", settings), runs)
    tape, means = replay(run), Attack(candidates=300)
    found = play.reconstruct(run, tape, means, lambda _: None)
    assert "no single client" in found["inversion"]["left_out"]
    assert "no single client" in found["server_generator"]["left_out"]
    assert set(found["generators"]) == {"malicious_client", "rows"}
    assert reconstruction_table(found).row_count == 1  # the malicious client's
    without = play.reconstruct(run, tape, Attack(generators=False), lambda _: None)
    assert without["generators"] == {"left_out": "[attack] generators = false"}
    found = adversaries.on_updates(tape, means)
    assert "sums only" in found["server"]["left_out"]
    assert "auc" in found["secure_sum"]["coefficient"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["attack", "mine", "-s", "attack.shadows=5"], "they come in pairs"),
        (["attack", "mine", "-s", "attack.shadow=4"], "did you mean shadows?"),
        (["attack", "nothing"], "not a run directory"),
        (["audit", "nothing"], "nor an experiment"),
        (["audit", "baseline"], "there is no noise to audit"),
    ],
)
def test_what_the_user_got_wrong(privet, runs, arguments, says):
    if "mine" in arguments:
        launch(load_experiment("tiny", ["federation.rounds=1"]), runs, "mine")
    status, out, err = privet(*arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_run_that_is_not_finished_is_not_attacked(privet, runs):
    run = launch(load_experiment("tiny", ["federation.rounds=2"]), runs, "half")
    lines = (run.path / "rounds.jsonl").read_text().splitlines(keepends=True)
    (run.path / "rounds.jsonl").write_text(lines[0])
    status, _, err = privet("attack", "half")
    assert status == 2
    assert "1 of 2 rounds are done; go on with: privet resume half" in err


def test_audit_of_a_run_and_of_an_experiment(privet, runs):
    launch(load_experiment("tiny", ["federation.rounds=1"]), runs, "mine")
    status, out, _ = privet("audit", "mine", "--json")
    assert status == 0
    found = json.loads(out)
    assert found == json.loads((runs / "mine/audit.json").read_text())
    assert found["passed"]
    assert {b["name"] for b in found["bounds"]} >= {"one run", "Gaussian DP"}
    status, out, _ = privet("audit", "tiny")
    assert status == 0
    assert "sensitivity" in out
    assert not (runs / "tiny").exists()


def test_an_audit_that_fails_says_why(privet, monkeypatch):
    from sabotaged import no_noise

    no_noise(monkeypatch)
    status, out, _ = privet("audit", "tiny")
    assert status == 1
    assert "FAILED" in out
    assert "the noise is forgotten" in " ".join(out.split())


def interrupt(reads):
    """Like Ctrl-C at the fifth read; the others are slow, so that to go on would take long."""
    reads.append(1)
    if len(reads) == 5:
        os.kill(os.getpid(), signal.SIGINT)
    if len(reads) >= 5:
        time.sleep(0.01)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"], ids=["together", "one by one"])
def test_shadows_are_interrupted_within_a_step(runs, monkeypatch, optimizer):
    """In the threads where they are trained; none is kept half done, and then they are trained."""
    settings = [
        "federation.rounds=1",
        "training.local_steps=300",
        f"training.optimizer={optimizer}",
    ]
    run = launch(load_experiment("tiny", settings), runs, "mine")
    tape = replay(run)
    reads, inputs = [], Records.inputs
    with monkeypatch.context() as patch:
        patch.setattr(Records, "inputs", lambda self, i: (interrupt(reads), inputs(self, i))[1])
        with pytest.raises(KeyboardInterrupt):
            shadows_of(run, tape, Attack(shadows=4), lambda _: None)
    assert 5 <= len(reads) < 300
    assert not list((runs / ".shadows").rglob("*.safetensors"))
    assert len(shadows_of(run, tape, Attack(shadows=4), lambda _: None)) == 4
