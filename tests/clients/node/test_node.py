"""Devices with records of their own: what they answer, and what they refuse, whoever asks."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from written import write_idx

from clients.data.formats import read_digits, read_folder
from clients.data.told.pictures import state
from clients.node.app import prepare
from clients.node.holder import Holder
from clients.protocol import Form
from clients.training import train as train_room
from clients.training.arrays import held
from clients.training.net import build
from privacy.cipher import Key
from privacy.dp.journal import Journal
from privacy.errors import DataError, FederationFailed, RunError, SettingsError
from server.commands.data import check, split
from server.engines.launch import launch, resume
from server.experiment.loading import load_experiment
from server.federation.grid import CohortGrid
from server.run.directory import find_run

NODES = [
    "federation.clients=3", "federation.rounds=2", "data.partition=nodes", "data.classes=10",
    "data.nominal_records=431",
]  # fmt: skip
PLAIN = ["federation.clients=3", "federation.rounds=2"]


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """Three devices in this process, each with a third of tiny's records; their node configs."""
    split("tiny", tmp_path / "nodes", PLAIN)
    folders = [tmp_path / "nodes" / f"node-{i}" for i in range(3)]
    configs = [
        {"data": str(folder), "ledger": str(tmp_path / f"{i}.jsonl")}
        | state(folder, 10).model_dump()
        | {"no-epsilon-limit": True, "allow-seeded": True, "allow-unprotected": False}
        for i, folder in enumerate(folders)
    ]
    make = CohortGrid._context

    def context(self, node):
        made = make(self, node)
        made.node_config.update(configs[node - 1])
        return made

    monkeypatch.setattr(CohortGrid, "_context", context)
    return configs


def limit_to(config, epsilon, **others):
    """The owner allows so much, and nothing that was allowed before."""
    del config["no-epsilon-limit"]
    config.update({"epsilon-limit": epsilon, "allow-seeded": False} | others)


def journal_of(config):
    return Journal(Path(config["ledger"]))


def run_on(runs, *settings, name=""):
    return launch(load_experiment("tiny", NODES, list(settings)), runs, name)


def equal(a, b):
    return all(np.array_equal(a[name], b[name]) for name in b)


def test_own_records_or_a_share_of_the_same_give_the_same_weights(devices, runs, monkeypatch):
    apart = run_on(runs)
    monkeypatch.undo()
    shared = launch(load_experiment("tiny", PLAIN), runs)
    assert equal(apart.weights(2), shared.weights(2))
    assert [x.entries for x in apart.ledgers.values()] == [
        x.entries for x in shared.ledgers.values()
    ]
    for client, config in enumerate(devices):
        assert journal_of(config).spent.entries == shared.ledgers[client].entries


def test_a_second_run_composes_with_the_first_until_the_owner_says_no(devices, runs):
    """However the server names its runs, restarts them, or forgets what was spent."""
    for config in devices:
        limit_to(config, 8.5, **{"delta": 1e-5, "allow-seeded": True})
    run_on(runs)
    before = [journal_of(config).path.read_bytes() for config in devices]
    for seed in ("seed=0", "seed=1"):  # the very same run again; and another
        with pytest.raises(FederationFailed, match=r"owner, epsilon-limit = 8\.5"):
            run_on(runs, seed)
    with pytest.raises(FederationFailed, match="epsilon-limit"):
        run_on(runs, "budget.noise_multiplier=0.001", "budget.epsilon=1e9", "budget.delta=0.5")
    assert [journal_of(config).path.read_bytes() for config in devices] == before
    assert journal_of(devices[0]).spent.epsilon(1e-5) <= 8.5


def test_without_the_check_the_owner_would_be_overspent(devices, runs, monkeypatch):
    """The sabotage: a ledger that does not refuse lets the second run through."""
    for config in devices:
        limit_to(config, 8.5, **{"allow-seeded": True})
    monkeypatch.setattr("privacy.dp.journal.Limit.require", lambda *_: None)
    run_on(runs)
    run_on(runs, "seed=1")
    assert journal_of(devices[0]).spent.epsilon(1e-5) > 8.5


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("training.noise=seeded", "the server knows the seed"),
        ("budget.unit=none", "only noisy updates"),
        ("budget.unit=client", "only noisy updates"),
        ("budget.epsilon=200.0", "over the limit of this device's owner"),
    ],
)
def test_a_job_that_breaks_the_owners_promise_is_refused(devices, runs, setting, says):
    for config in devices:
        limit_to(config, 100.0)
    settings = ["training.noise=secure"] * (not setting.startswith("training")) + [setting]
    with pytest.raises(FederationFailed, match=says):
        run_on(runs, *settings)
    assert not any(journal_of(config).path.exists() for config in devices)


def initial_weights(job):
    model = build(job.model, Form((8, 8), 10), job.arithmetic)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def test_the_server_cannot_point_a_device_at_other_files(devices):
    context = Context(1, 1, devices[0], RecordDict(), {})
    job = load_experiment("tiny", [*NODES, "data.path=/etc"]).job
    holder = Holder.of(context)
    weights = held(initial_weights(job))
    data, _ = prepare(job, holder, weights)
    assert data.path == devices[0]["data"]
    assert len(holder.told.load(job.data).train_y) == holder.told.records == 431
    other = load_experiment("tiny", [*NODES, "data.classes=5"]).job
    with pytest.raises(SettingsError, match=r"classes = 5: this node's owner told of 10"):
        prepare(other, holder, weights)


def test_a_statistic_without_noise_is_refused_under_a_limit(devices, runs):
    for config in devices:
        limit_to(config, 100.0)
    settings = ("training.noise=secure", "federation.client_evaluation=true")
    assert run_on(runs, *settings).rounds[-1].client_metrics == {}
    for config in devices:
        del config["epsilon-limit"]
        config.update({"no-epsilon-limit": True, "allow-unprotected": True})
    assert run_on(runs, *settings).rounds[-1].client_metrics["accuracy"] > 0


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("ledger", "ledger: missing"),
        ("classes", "classes: missing"),
        ("no-epsilon-limit", "either epsilon-limit = EPSILON or no-epsilon-limit = true"),
    ],
)
def test_data_without_what_goes_with_them_are_not_touched(devices, runs, tmp_path, missing, says):
    for config in devices:
        del config[missing]
    with pytest.raises(FederationFailed, match=says):
        run_on(runs)
    assert not list(tmp_path.glob("*.jsonl"))


def test_secure_devices_hide_batches_as_well_as_noise(devices, runs, monkeypatch):
    """The accountant counts on batches that the server does not know."""
    asked = []
    secret = Key.secret
    monkeypatch.setattr(train_room.Key, "secret", lambda: asked.append(1) or secret())
    run_on(runs, "training.noise=secure")
    assert len(asked) == 12  # each of six rounds is rehearsed on zeros first
    run_on(runs, "training.noise=seeded")
    assert len(asked) == 12


def test_a_full_disk_while_a_round_is_written(runs, monkeypatch):
    """At any of its writes: one line, nothing half-written, and the run goes on to the same end."""
    settings = [*PLAIN, "strategy.name=fedavgm", "strategy.server_momentum=0.5"]
    undisturbed = launch(load_experiment("tiny", settings), runs, "undisturbed")
    sync = os.fsync
    for at in range(4):  # weights, the strategy's memory, the record, the view of the ledgers
        run_name = f"full-{at}"
        left = [7 + at]  # what comes before the first round is written

        def full(descriptor, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(RunError, match="cannot be written: No space left on device"):
                launch(load_experiment("tiny", settings), runs, run_name)
        run = find_run(run_name, runs)
        assert len(run.rounds) < 2
        assert not list(run.path.rglob("*.part"))
        resume(run)
        assert equal(run.weights(2), undisturbed.weights(2))
        assert run.ledgers[0].entries == undisturbed.ledgers[0].entries


def write_csv(folder, arrays, head=""):
    for part in ("train", "test"):
        x, y = arrays[f"{part}_x"], arrays[f"{part}_y"]
        rows = np.column_stack([y, x.reshape(len(x), -1)])
        np.savetxt(folder / f"{part}.csv", rows, fmt="%d", delimiter=",", header=head, comments="")


def write_npz(folder, arrays):
    np.savez(folder / "data.npz", **arrays)


def write_only_train(folder, arrays):
    np.savez(folder / "data.npz", train_x=arrays["train_x"], train_y=arrays["train_y"])


def write_idx_files(folder, arrays):
    for part, stem in (("train", "train"), ("test", "t10k")):
        write_idx(folder, f"{stem}-images-idx3-ubyte", arrays[f"{part}_x"])
        write_idx(folder, f"{stem}-labels-idx1-ubyte", arrays[f"{part}_y"])


@pytest.mark.parametrize("write", [write_csv, write_npz, write_only_train, write_idx_files])
def test_data_check_reads_each_format_and_tells_counts(tmp_path, capsys, write):
    digits = read_digits()
    write(tmp_path, digits)
    assert np.array_equal(read_folder(tmp_path)["train_x"], digits["train_x"])
    check(tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["training_records"] == 1437
    assert told["held_out_records"] == (0 if write is write_only_train else 360)
    assert told["classes"] == 10


def test_csv_may_have_a_head(tmp_path):
    write_csv(tmp_path, read_digits(), "label," + ",".join(f"p{i}" for i in range(64)))
    assert len(read_folder(tmp_path)["train_x"]) == 1437


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "it holds nothing"),
        ({"data.npz": b"PK"}, "cannot be read"),
        ({"train.csv": b"1,9,3\n"}, "2 pixels, which is no square"),
        ({"train.csv": b"1,9,3,4,256\n"}, "0 to 255"),
        ({"train.csv": b"1,9,3,4,x\n"}, "column 5: 'x', must be a number"),
        ({"train.csv": b""}, "no records"),
    ],
)
def test_a_folder_that_will_not_do_says_why(tmp_path, files, says):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"train_x": np.zeros((3, 8, 8), np.uint8)}, "no train_x and train_y"),
        ({"train_x": np.zeros((3, 8, 8)), "train_y": np.zeros(3, np.uint8)}, "must be uint8"),
        (
            {"train_x": np.zeros((3, 8, 8), np.uint8), "train_y": np.zeros(2, np.uint8)},
            "do not fit",
        ),
        (
            {"train_x": np.zeros((0, 8, 8), np.uint8), "train_y": np.zeros(0, np.uint8)},
            "no training",
        ),
        ({"train_x": np.array([{}], object), "train_y": np.zeros(1, np.uint8)}, "cannot be read"),
    ],
)
def test_an_archive_that_will_not_do_says_why(tmp_path, arrays, says):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=says):
        read_folder(tmp_path)
