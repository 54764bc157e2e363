"""The whole road on real digits: determinism, failure, resumption, and what the run says of it."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from written import write_idx

from clients.data import sets as data_room
from clients.node import app as client_room
from privacy.dp.ledger import Spent
from privacy.errors import RunError
from server.engines.launch import launch, resume
from server.experiment.loading import load_experiment
from server.experiment.strategy import STRATEGIES
from server.run.directory import Run, find_run
from server.run.summary import summarise


def run_tiny(runs, *assignments, name=""):
    return launch(load_experiment("tiny", list(assignments)), runs, name)


def final(run):
    return run.weights(run.experiment.federation.rounds)


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def close(a, b, atol):
    return all(np.allclose(a[k], b[k], atol=atol) for k in a)


def test_the_run_directory_tells_everything(runs):
    """Records, weights, manifest, ledgers and log agree with one another."""
    run = run_tiny(runs, "record.updates=true", "federation.client_evaluation=true")
    rounds, experiment = run.rounds, run.experiment
    assert [r.round for r in rounds] == [1, 2, 3, 4, 5]
    assert rounds[-1].accuracy > 0.5
    assert rounds[-1].client_metrics["accuracy"] > 0.4
    assert [r.epsilon for r in rounds] == sorted(r.epsilon for r in rounds)

    steps = 5 * experiment.training.local_steps
    spent = Spent(experiment.budget.noise_multiplier, experiment.training.sample_rate, steps)
    assert {x.entries for x in run.ledgers.values()} == {(spent,)}
    assert json.loads((run.path / "ledgers.json").read_text())["0"][0][2] == steps
    assert rounds[-1].epsilon == pytest.approx(run.ledgers[0].epsilon(1e-5), rel=0.02)

    manifest = run.manifest
    assert experiment.data.nominal_records == round(1437 * 0.9 / 4)  # the own number is private
    assert {c.num_examples for c in rounds[0].clients} == {experiment.data.nominal_records}
    assert set(np.unique(manifest.owner)) == {0, 1, 2, 3}
    updates = [run.update(3, c.client) for c in rounds[2].clients]
    mean = {k: np.mean([u[k] for u in updates], axis=0) for k in updates[0]}
    assert close(mean, run.weights(3), 1e-6)
    assert "round 5" in run.log_path.read_text()
    assert run.environment["versions"]["flwr"]
    assert not list(run.path.rglob("*.part"))


def test_the_same_whatever_the_number_of_workers(runs):
    """Weights and metrics are functions of the experiment, and of its seed."""
    one = run_tiny(runs, "federation.workers=1")
    four = run_tiny(runs, "federation.workers=4")
    other = run_tiny(runs, "seed=1")
    assert equal(final(one), final(four))
    assert [r.accuracy for r in one.rounds] == [r.accuracy for r in four.rounds]
    assert [r.loss for r in one.rounds] == [r.loss for r in four.rounds]
    assert not equal(final(one), final(other))


def test_secure_noise_is_another_in_each_run(runs):
    """And a run with seeded noise is the same again."""
    secure = [run_tiny(runs, "training.noise=secure") for _ in range(2)]
    seeded = [run_tiny(runs) for _ in range(2)]
    assert not close(final(secure[0]), final(secure[1]), 1e-3)
    assert close(final(seeded[0]), final(seeded[1]), 0)
    assert 'noise = "secure"' in (secure[0].path / "experiment.toml").read_text()


def test_compiled_and_one_pass_train_the_same_model(runs):
    """By the same batches and noise; the compiled step clips a little earlier, for its sums are in
    float32."""
    ways = ("compiled", "onepass", "hooks")
    ours, one_pass, hooks = (
        run_tiny(runs, "training.momentum=0.5", f"training.per_sample={way}") for way in ways
    )
    assert close(ours.weights(1), one_pass.weights(1), 1e-2)
    assert close(hooks.weights(1), one_pass.weights(1), 1e-4)
    assert ours.ledgers[0].entries == one_pass.ledgers[0].entries == hooks.ledgers[0].entries


@pytest.mark.parametrize(
    "assignments",
    [
        ("strategy.name=fedadam", "federation.cohort=3"),
        ("strategy.name=fedavgm", "strategy.server_momentum=0.9"),
        ("budget.unit=client", "budget.epsilon=100", "training.learning_rate=0.1"),
    ],
)
def test_a_killed_run_resumes_to_the_same_weights(runs, assignments):
    """kill -9 at whatever moment; a strategy's memory and the devices' ledgers come back."""
    assignments = (*assignments, "federation.rounds=40")  # time enough to be killed in
    whole = run_tiny(runs, *assignments)
    command = [sys.executable, "-m", "server", "run", "tiny", "--name", "killed"]
    for assignment in assignments:
        command += ["-s", assignment]
    process = subprocess.Popen(command, env={**os.environ, "PRIVET_RUNS": str(runs)})
    deadline = time.monotonic() + 60
    while not (runs / "killed/rounds/002.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = Run.open(runs / "killed")
    assert 1 <= len(killed.rounds) < 40
    resume(killed)
    assert equal(final(killed), final(whole))
    assert {c: x.entries for c, x in killed.ledgers.items()} == {
        c: x.entries for c, x in whole.ledgers.items()
    }
    assert [r.accuracy for r in killed.rounds] == [r.accuracy for r in whole.rounds]


class Interrupted(Exception):
    pass


def interrupt_after(monkeypatch, round_number):
    """Stop a run in a round, once its weights are written but its line is not."""
    append = Run.append

    def interrupted(self, record, weights, state):
        if record.round == round_number:
            monkeypatch.setattr(Run, "append", append)
            self._write(f"rounds/{record.round:03d}.safetensors", b"half")
            raise Interrupted
        append(self, record, weights, state)

    monkeypatch.setattr(Run, "append", interrupted)


@pytest.mark.parametrize("round_number", [1, 2, 5])
def test_a_run_stopped_in_any_round_resumes_to_the_same_weights(runs, monkeypatch, round_number):
    whole = run_tiny(runs)
    interrupt_after(monkeypatch, round_number)
    with pytest.raises(Interrupted):
        run_tiny(runs, name="stopped")
    stopped = find_run("stopped", runs)
    assert len(stopped.rounds) == round_number - 1
    resume(stopped)
    assert equal(final(stopped), final(whole))
    assert stopped.ledgers[0].entries == whole.ledgers[0].entries
    before = (stopped.path / "rounds.jsonl").read_bytes()
    resume(stopped)  # a finished run has nothing left to do
    assert (stopped.path / "rounds.jsonl").read_bytes() == before


def test_lines_can_be_taken_back_under_a_strategy_with_a_memory(runs):
    """The remedy for a damaged file holds for momentum too: no round forgets what it knew."""
    momentum = ("strategy.name=fedavgm", "strategy.server_momentum=0.9")
    run = run_tiny(runs, *momentum)
    expected = final(run)
    path = run.path / "rounds.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    resume(run)
    assert equal(final(run), expected)


def test_a_damaged_run_is_refused_with_the_remedy(runs, monkeypatch):
    interrupt_after(monkeypatch, 4)
    with pytest.raises(Interrupted):
        run_tiny(runs, name="damaged")
    run = find_run("damaged", runs)
    lines = (run.path / "rounds.jsonl").read_bytes()
    for spoilt in (
        lines[:-9],
        lines[:-1],
        lines + b"{}\n",
        lines.replace(b'"round": 2', b'"x": 2'),
    ):
        (run.path / "rounds.jsonl").write_bytes(spoilt)
        with pytest.raises(RunError, match=r"line [0-9] is .*; remove line"):
            resume(run)
    (run.path / "rounds.jsonl").write_bytes(lines)
    weights = run.path / "rounds/003.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-7])
    with pytest.raises(RunError, match=r"003.safetensors: damaged or cut short; remove its line"):
        resume(run)
    # The remedy works: without its line, round 3 is computed again.
    (run.path / "rounds.jsonl").write_bytes(b"".join(lines.splitlines(keepends=True)[:2]))
    resume(run)
    assert equal(final(run), final(run_tiny(runs)))


def test_other_data_than_the_run_began_with_are_refused(runs, tmp_path, monkeypatch):
    """The manifest names the data by SHA-256; a resumed run reads the same or none."""
    for stem in ("train", "t10k"):
        write_idx(tmp_path, f"{stem}-images-idx3-ubyte", np.zeros((40, 8, 8), np.uint8))
        write_idx(tmp_path, f"{stem}-labels-idx1-ubyte", np.arange(40, dtype=np.uint8) % 10)
    interrupt_after(monkeypatch, 2)
    with pytest.raises(Interrupted):
        run_tiny(runs, "data.name=idx", f"data.path={tmp_path}", name="moved")
    write_idx(tmp_path, "train-images-idx3-ubyte", np.ones((40, 8, 8), np.uint8))
    data_room._load.cache_clear()
    with pytest.raises(RunError, match=r"the run began with .*; bring those data back"):
        resume(find_run("moved", runs))


def test_two_processes_do_not_write_one_run(runs, monkeypatch):
    interrupt_after(monkeypatch, 2)
    with pytest.raises(Interrupted):
        run_tiny(runs, name="shared")
    run = find_run("shared", runs)
    with run.locked(), pytest.raises(RunError, match="another process is writing"):
        resume(run)


def failing(monkeypatch, clients, fail):
    """Make some clients fail inside their training."""
    train = client_room.train

    def train_or_fail(model, records, members, job, round_, ledger):
        if round_.client in clients:
            return fail(train, model, records, members, job, round_, ledger)
        return train(model, records, members, job, round_, ledger)

    monkeypatch.setattr(client_room, "train", train_or_fail)


def test_client_level_privacy_clips_and_noises_in_the_server(runs):
    """No noise on the device; each release is clipped to C and the mean has noise z C / m."""
    base = ("budget.unit=client", "budget.clip=0.01", "federation.rounds=1", "record.updates=true")
    run = run_tiny(runs, *base, "budget.noise_multiplier=50")
    start, end = run.weights(0), run.weights(1)
    noise = np.concatenate([(end[k] - start[k]).ravel() for k in start])
    assert noise.std() == pytest.approx(50 * 0.01 / 4, rel=0.05)
    summary = summarise(run)
    assert summary.unit == "client"
    assert "the server is trusted" in summary.trust
    assert run.ledgers[0].entries == (Spent(50.0, 1.0, 1),)

    base = (*base, "budget.epsilon=1e9", "budget.noise_multiplier=1e-3")
    quiet = run_tiny(runs, *base)
    moved = sum(float(((quiet.weights(1)[k] - start[k]) ** 2).sum()) for k in start) ** 0.5
    assert moved <= 0.01 * (1 + 1e-4)
    free = run_tiny(runs, *base, "budget.clip=1000")
    moved = sum(float(((free.weights(1)[k] - start[k]) ** 2).sum()) for k in start) ** 0.5
    assert moved > 0.1


def test_who_fails_under_client_level_privacy_is_a_zero(runs, monkeypatch):
    """The mean is over the clients that were planned: how many answered is not told by it."""

    def fail(*_):
        raise RuntimeError("no power")

    failing(monkeypatch, {0, 1, 2}, fail)
    run = run_tiny(
        runs, "budget.unit=client", "budget.noise_multiplier=50", "budget.clip=0.01",
        "federation.rounds=1",
    )  # fmt: skip
    start, end = run.weights(0), run.weights(1)
    noise = np.concatenate([(end[k] - start[k]).ravel() for k in start])
    assert noise.std() == pytest.approx(50 * 0.01 / 4, rel=0.05)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_runs(runs, name):
    extra = {
        "fedprox": ["strategy.proximal_mu=0.1"],
        "qfedavg": ["budget.unit=none"],
        "bulyan": ["strategy.num_malicious_nodes=0"],
    }
    run = run_tiny(runs, "federation.rounds=2", f"strategy.name={name}", *extra.get(name, []))
    assert not equal(final(run), run.weights(0))
    assert all(c.failure is None for r in run.rounds for c in r.clients)


def test_fedprox_pulls_towards_the_global_weights(runs):
    """A strong pull keeps the clients at home."""

    def moved(mu):
        run = run_tiny(
            runs, "federation.rounds=1", "strategy.name=fedprox", f"strategy.proximal_mu={mu}",
            "training.learning_rate=0.1",
        )  # fmt: skip
        return sum(np.abs(final(run)[k] - v).sum() for k, v in run.weights(0).items())

    assert moved(9.0) < 0.8 * moved(0.0)


def test_batch_norm_is_averaged_without_a_budget(runs, tmp_path):
    """Not DP-safe, but nothing is promised: buffers travel with the weights."""
    rng = np.random.default_rng(0)

    for stem, num in (("train", 80), ("t10k", 20)):
        pixels = rng.integers(0, 256, (num, 20, 20), dtype=np.uint8)
        write_idx(tmp_path, f"{stem}-images-idx3-ubyte", pixels)
        write_idx(tmp_path, f"{stem}-labels-idx1-ubyte", np.arange(num, dtype=np.uint8) % 10)
    run = run_tiny(
        runs, "budget.unit=none", "model.name=convnet", "model.norm=batch", "data.name=idx",
        f"data.path={tmp_path}", "federation.rounds=2",
    )  # fmt: skip
    assert final(run)["2.num_batches_tracked"] == 2 * 4
    assert torch.tensor(final(run)["2.running_var"]).min() > 0
