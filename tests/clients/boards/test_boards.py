"""A node whose training happens on a board: the same messages and ledgers, and the same bits."""

import json

import numpy as np
import pytest
from asked import ROUND, Device, initial, some, tiny
from safetensors.numpy import load as load_tensors

from clients.boards import board as board_room
from clients.boards.board import EMULATED, Board
from clients.boards.flashed import emulated_program, read_contract
from clients.boards.jobs import scale_of, whole
from clients.boards.nets import net_of, words_of
from clients.firmware.compiling import missing
from clients.firmware.contract import agree
from clients.firmware.fitting import Room
from clients.firmware.numbers.device import device_of, reals_of
from clients.protocol import Form
from clients.training.job import Job
from clients.training.net import build
from clients.training.records import records
from clients.training.train import net_of as trained_net
from privacy.dp.ledger import Ledger
from privacy.errors import SettingsError
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.export.firmware import Board as Export
from server.export.firmware import write
from server.federation.grid import CohortGrid
from server.run.summary import summarise

pytestmark = pytest.mark.skipif(
    bool(missing()), reason="not verified on the target: pip install 'privet[firmware]'"
)
KEY = np.arange(8, dtype=np.uint32)
SMALL = {"model": {"hidden": [5]}, "training": {"local_steps": 2}}
WORDS = {"arithmetic": {"name": "ternary"}}
LAYERS = {"model": {"name": "ds-cnn", "width": 2, "depth": 1}}
KINDS = {
    "float": {},
    "ternary": WORDS,
    "binary": {"arithmetic": {"name": "binary", "activation_bits": 8}},
    "layers": LAYERS,
    "int8 layers": LAYERS | {"arithmetic": {"name": "fixed"}},
}


def flashed(device, folder, **sections):
    """An export for a job on a device's records, as `privet export --to c` writes one."""
    job = Job.from_json(json.dumps(tiny(**(SMALL | sections))))
    form = Form((8, 8), 10)
    net = trained_net(build(job.model, form, job.arithmetic), held(device, job), job, form)
    plan, layers = net_of(net.module, job.arithmetic, form.shape)
    contract = agree(
        layers, scale=scale_of(held(device, job), plan is not None), noise_multiplier=1.0, clip=1.0,
        learning_rate=ROUND["learning-rate"], sample_rate=job.training.sample_rate, num_records=200,
        steps=6, epsilon=None, delta=1e-5, numbers=words_of(job.arithmetic), plan=plan,
    )  # fmt: skip
    nobody = (np.zeros((0, 64), np.int16), np.zeros(0, np.uint8))
    export = Export(contract, layers, nobody, nobody[0], np.zeros(0), "stm32h743", Room(0, 0))
    write(export, folder, [], [])
    return contract, layers


def held(device, job):
    return records(device.told.source(job.data), job.model)[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A device, an export for its records, and the program of that."""
    home = tmp_path_factory.mktemp("made")
    device = Device(home / "node", some(60))
    contract, layers = flashed(device, home / "board")
    (home / "scratch").mkdir()
    program = emulated_program(home / "board", home / "scratch")
    return home / "board", contract, layers, program


@pytest.fixture(autouse=True)
def known_key(monkeypatch):
    """What the emulated chip's random generator gives, so that the simulation can be asked."""
    monkeypatch.setattr(board_room, "fresh_key", lambda: KEY)


def on_board(device, folder, program):
    told = {"board": EMULATED, "firmware": str(folder), "program": str(program)}
    device.config.update(told)
    return device


def simulated(device, contract, layers, weights, job, before, steps):
    """The same client by the definition in numpy: weights after `steps`, of which `before` were."""
    mine = held(device, job)
    inputs = whole(mine, np.arange(len(mine)), contract.scale)
    shapes = iter(weights)
    layers = [type(one)(next(shapes).reshape(one[0].shape), next(shapes)) for one in layers]
    twin = device_of(contract, layers, KEY, (inputs, mine.y.numpy().astype(np.uint8)))
    twin.step_number = before
    for _ in range(steps):
        twin.step()
    return reals_of(contract, twin.raw)


@pytest.mark.parametrize("sections", KINDS.values(), ids=KINDS)
def test_a_reply_is_bit_by_bit_the_simulations(tmp_path, sections, made):
    device = Device(tmp_path / "node", some(60))
    folder, contract, layers, program = made
    if sections:
        contract, layers = flashed(device, tmp_path / "board", **sections)
        folder = tmp_path / "board"
        program = emulated_program(folder, tmp_path)
    on_board(device, folder, program)
    asked, weights = (make(**(SMALL | sections)) for make in (tiny, initial))
    job = Job.from_json(json.dumps(asked))
    for number in (1, 2):
        reply = device.ask(asked, weights, **{"server-round": number})
        assert not reply.has_error(), reply.error
        before = weights
        weights = {name: one.numpy() for name, one in reply.content["arrays"].items()}
        got = np.concatenate([one.ravel() for one in weights.values()])
        steps = 2 * (number - 1)
        wanted = simulated(device, contract, layers, before.values(), job, steps, 2)
        assert np.array_equal(got.view(np.uint32), wanted.view(np.uint32))
    spent = [(e.noise_multiplier, e.steps) for e in device.journal.spent.entries]
    assert spent == [(1.0, 4)]
    assert device.journal.spent.entries[0].divergence == 4 * contract.divergence
    assert "steps of a board of contract" in device.journal.covered[0]


def test_the_board_and_the_journal_must_know_each_other(tmp_path, made):
    """A replayed flash, a shortened one, another journal, a limit; each is refused."""
    folder, _, _, program = made
    device = on_board(Device(tmp_path / "node", some(60)), folder, program)
    asked, weights = tiny(**SMALL), initial(**SMALL)
    flash = device.journal.path.with_name("ledger.jsonl.flash")
    exported = device.journal.path.with_name("ledger.jsonl.board")

    def ask(number):
        return device.ask(asked, weights, **{"server-round": number})

    assert not ask(1).has_error()
    old = flash.read_bytes()
    assert not ask(2).has_error()
    new, lines = flash.read_bytes(), len(device.journal.lines)
    seen = exported.read_bytes()
    for content, receipt in ((old, seen), (b"\xff" * len(new), seen), (old, None)):
        flash.write_bytes(content)
        exported.unlink() if receipt is None else exported.write_bytes(receipt)
        reply = ask(3)
        assert reply.error.reason == "this node's ledger cannot be used: see its own log"
        assert len(device.journal.lines) == lines  # and nothing was charged
    flash.write_bytes(new)
    again = ask(2)  # the same request: the same answer, for free
    assert not again.has_error()
    assert len(device.journal.lines) == lines
    assert not ask(3).has_error()
    assert "has taken 6 of the 6 steps" in ask(4).error.reason
    stranger = Device(tmp_path / "other", some(60))
    on_board(stranger, folder, program)
    stranger.journal.path.with_name("ledger.jsonl.flash").write_bytes(new)
    assert "ledger cannot be used" in stranger.refuses(asked, weights)


def test_a_step_number_that_a_board_uses_twice_is_refused(tmp_path, made, monkeypatch):
    """A board whose ledger stands still while it trains."""
    folder, _, _, program = made
    device = on_board(Device(tmp_path / "node", some(60)), folder, program)
    monkeypatch.setattr(board_room.RemoteBoard, "step", lambda self: None)
    reply = device.ask(tiny(**SMALL), initial(**SMALL))
    assert "ledger cannot be used" in reply.error.reason
    assert [line["kind"] for line in device.journal.lines] == ["charge"]  # and nothing left


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"budget": {"clip": 0.5}}, "[budget] clip = 0.5: it was made for 1.0"),
        ({"budget": {"noise_multiplier": 0.9}}, "[budget] noise_multiplier = 0.9"),
        ({"training": {"sample_rate": 0.2, "local_steps": 2}}, "[training] sample_rate"),
        ({"training": {"momentum": 0.5}}, "[training] momentum = 0.5: has no C"),
        ({"training": {"noise": "seeded"}}, "noise = 'seeded'"),
        ({"model": {"hidden": [6]}}, "it was made for another net"),
        (WORDS, "it was made for another net"),
        ({"data": {"nominal_records": 100}}, "[data] nominal_records, by sample_rate, = 25"),
    ],
    ids=str,
)
def test_a_job_that_the_board_was_not_made_for_is_refused(tmp_path, made, sections, says):
    folder, _, _, program = made
    device = on_board(Device(tmp_path / "node", some(60)), folder, program)
    device.config["allow-seeded"] = True
    sections = {k: SMALL.get(k, {}) | sections.get(k, {}) for k in {*SMALL, *sections}}
    assert says in device.refuses(tiny(**sections), initial(**sections))


def test_what_an_owner_says_of_a_board(tmp_path, made):
    folder, contract, _, program = made
    assert read_contract(folder) == contract
    text = (folder / "contract.json").read_text()
    (tmp_path / "contract.json").write_text(text.replace('"clip": 1.0', '"clip": 2.0'))
    with pytest.raises(SettingsError, match="is not as it was exported"):
        read_contract(tmp_path)
    with pytest.raises(SettingsError, match=r"No such file.* privet export RUN --to c"):
        read_contract(tmp_path / "none")
    one = Board(EMULATED, contract, program, tmp_path / "ledger.jsonl")
    most = one.most_epsilon(1e-5)
    assert (1 + np.exp(most)) * contract.distance == pytest.approx(1e-5)


def test_a_federation_of_a_board_and_a_plain_client(tmp_path, runs, made, monkeypatch):
    folder, contract, layers, program = made
    devices = [Device(tmp_path / str(i), some(60, seed=i)) for i in range(2)]
    on_board(devices[0], folder, program)
    make = CohortGrid._context

    def context(self, node):
        found = make(self, node)
        found.node_config.update(devices[node - 1].config | {"partition-id": node - 1})
        return found

    monkeypatch.setattr(CohortGrid, "_context", context)
    settings = ["federation.clients=2", "federation.rounds=2", "data.partition=nodes"]
    settings += ["data.classes=10", "data.nominal_records=200", "training.noise=secure"]
    settings += ["budget.noise_multiplier=1", "model.hidden=[5]", "training.local_steps=2"]
    run = launch(load_experiment("tiny", [*settings, "training.learning_rate=0.5"]), runs, "")
    assert len(run.rounds) == 2
    told = [ledger.entries for ledger in run.ledgers.values()]
    assert [one.journal.spent.entries for one in devices] == told
    assert [entries[0].divergence for entries in told] == [4 * contract.divergence, 0.0]
    delta = run.experiment.budget.delta
    assert summarise(run).epsilon == Ledger(told[0]).epsilon(delta) > Ledger(told[1]).epsilon(delta)
    (left,) = devices[0].journal.path.parent.glob("*.release")
    released, start = load_tensors(left.read_bytes()), run.weights(1)
    names = list(initial(**SMALL))  # in the order of the net's layers
    got = np.concatenate([released[name].ravel() for name in names])
    job = Job.from_json(json.dumps(tiny(**SMALL)))
    wanted = simulated(devices[0], contract, layers, [start[n] for n in names], job, 2, 2)
    assert np.array_equal(got.view(np.uint32), wanted.view(np.uint32))
