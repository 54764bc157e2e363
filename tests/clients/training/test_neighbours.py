"""One record more changes nothing of the others: the shipped local round, record by record.

Under every arithmetic, model and way of clipping, with distortion and without, for a record at
each place of the batch: |sum(D) - sum(D + one)| <= C (1 + 1e-6).
"""

import pytest
import torch

from clients.arithmetic import Arithmetic
from clients.data.settings import Data
from clients.draws import row_seeds
from clients.models import Model
from clients.protocol import Form
from clients.training import train as train_room
from clients.training.job import Job, Training
from clients.training.net import build
from clients.training.records import Records
from clients.training.smaller.elastic import Elastic
from clients.training.smaller.supernet import Supernet
from clients.training.train import Round, net_of, train
from privacy.cipher import Key
from privacy.dp import training as private_step
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from privacy.dp.rules import SEVERAL

CLIP, NUM, SIDE = 0.7, 24, 12

ARITHMETICS = {
    "float": Arithmetic(),
    "int8": Arithmetic(name="fixed"),
    "int4": Arithmetic(name="fixed", bits=4, activation_bits=4, gradient_bits=4),
    "at random": Arithmetic(name="fixed", bits=4, activation_bits=4, rounding="stochastic"),
    "2-bit gradients": Arithmetic(name="fixed", gradient_bits=2),
    "ternary": Arithmetic(name="ternary"),
    "binary": Arithmetic(name="binary"),
    "signs": Arithmetic(name="binary", activation_bits=1, scaling="none"),
    "stochastic": Arithmetic(name="stochastic", stream_length=4, lfsr_bits=6),
}
MODELS = {
    "perceptron": Model(hidden=(12,)),
    "strided": Model(name="strided", channels=3, kernel=4, stride=2, hidden=(6,)),
}


def job_of(arithmetic: Arithmetic, model: Model, **training: object) -> Job:
    return Job(
        data=Data(name="digits"),
        model=model,
        arithmetic=arithmetic,
        training=Training(local_steps=1, sample_rate=0.5, noise="seeded", **training),  # type: ignore[arg-type]
        budget=Budget(unit="record", epsilon=None, noise_multiplier=0.0, clip=CLIP),
    )


def influence(job: Job, monkeypatch: pytest.MonkeyPatch, places: tuple[int, ...]) -> float:
    """The most that the record at one of the places moves the released sum, in clips."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.rand(300, SIDE, SIDE, generator=g), torch.randint(3, (300,), generator=g)
    records, members = Records(x, y), torch.arange(300)
    torch.manual_seed(0)
    model = build(job.model, Form((SIDE, SIDE), 3), job.arithmetic)
    start = {name: w.clone() for name, w in model.state_dict().items()}
    monkeypatch.setattr(train_room, "_key", lambda *_: Key.of("one and the same device"))

    def moved(batch: torch.Tensor) -> torch.Tensor:
        monkeypatch.setattr(private_step, "poisson", lambda *_: batch)
        net = net_of(model, records, job, Form((SIDE, SIDE), 3))
        net.load(start)
        train(net, records, members, job, Round(1, 0, learning_rate=1.0), Ledger())
        change = [(start[n] - w).flatten().double() for n, w in net.state().items()]
        return torch.cat(change) * job.training.sample_rate * len(members)

    batch = torch.randperm(300, generator=g)[:NUM].sort().values
    whole = moved(batch)
    without = [moved(batch[torch.arange(NUM) != place]) for place in places]
    return max(float((whole - less).norm()) for less in without) / CLIP


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_one_record_more(arithmetic: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(ARITHMETICS[arithmetic], MODELS[model], distortion=0.5)
    assert 0.1 < influence(job, monkeypatch, (0, 1, NUM // 2, NUM - 1)) <= 1 + 1e-6


@pytest.mark.parametrize("per_sample", ["compiled", "onepass", "hooks"])
@pytest.mark.parametrize("name", ["convnet", "perceptron"])
def test_one_record_more_by_every_way_of_clipping(
    name: str, per_sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(name=name)  # type: ignore[arg-type]
    job = job_of(Arithmetic(), model, per_sample=per_sample, distortion=1.0)
    if name == "convnet":
        monkeypatch.setattr(f"{__name__}.SIDE", 20)
    assert 0.1 < influence(job, monkeypatch, tuple(range(0, NUM, 5))) <= 1 + 1e-6


@pytest.mark.parametrize("name", ["convnet", "perceptron"])
@pytest.mark.usefixtures("elsewhere")
def test_one_record_more_on_a_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SIDE", 20)
    job = job_of(Arithmetic(), Model(name=name), device="cuda", distortion=1.0)  # type: ignore[arg-type]
    assert 0.1 < influence(job, monkeypatch, tuple(range(0, NUM, 5))) <= 1 + 1e-6


@pytest.mark.parametrize("arithmetic", ["at random", "2-bit gradients", "stochastic", "float"])
def test_draws_by_place_are_caught(arithmetic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: seeds by place in the batch move the sum by more than the clip."""
    job = job_of(ARITHMETICS[arithmetic], MODELS["perceptron"], distortion=0.5)

    def by_place(word, records):  # type: ignore[no-untyped-def]
        return row_seeds(word, torch.arange(len(records)).numpy())

    monkeypatch.setattr("clients.arithmetic.dice.row_seeds", by_place)
    monkeypatch.setattr(train_room, "row_seeds", by_place)
    assert influence(job, monkeypatch, (0,)) > 1.01


@pytest.mark.parametrize("name", ["perceptron", "convnet"])
def test_one_record_more_in_a_step_of_many_nets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a twin that clips the nets' gradients as if they did not add is caught."""
    monkeypatch.setattr(f"{__name__}.SIDE", 20)
    monkeypatch.setattr(f"{__name__}.CLIP", 0.05)
    model = Model(name=name, width=8 * (name == "convnet"), hidden=(12,))  # type: ignore[arg-type]
    job = job_of(Arithmetic(), model)
    trims = (1,) if name == "convnet" else ()
    supernet = Supernet(widths=(0.25, 0.5), trims=trims, bits=(4,), distil=False)
    job = job.model_copy(update={"supernet": supernet})
    assert 0.1 < influence(job, monkeypatch, (0, NUM // 2, NUM - 1)) <= 1 + 1e-6
    together = SEVERAL[Elastic]

    def as_if_apart(layer, calls):  # type: ignore[no-untyped-def]
        squares = [together(layer, [one]).squared_norms for one in calls]
        return together(layer, calls)._replace(squared_norms=torch.stack(squares).sum(0))

    monkeypatch.setitem(SEVERAL, Elastic, as_if_apart)
    assert influence(job, monkeypatch, (0,)) > 1.01


def test_pieces_of_a_batch_share_a_steps_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that falls into the next piece of the walk meets the dice that it met before."""
    job = job_of(ARITHMETICS["stochastic"], MODELS["perceptron"], distortion=0.5)
    whole = influence(job, monkeypatch, (0, NUM - 1))
    monkeypatch.setattr(private_step, "PIECE", 5)
    assert influence(job, monkeypatch, (0, NUM - 1)) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("per_sample", ["compiled", "onepass", "hooks"])
def test_a_distorted_batch_of_nobody_is_a_step(
    per_sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as chance leaves a Poisson sample empty: charged, and no failure of the round."""
    job = job_of(Arithmetic(), MODELS["perceptron"], per_sample=per_sample, distortion=0.5)
    monkeypatch.setattr(private_step, "poisson", lambda *_: torch.empty(0, dtype=torch.int64))
    model, ledger = build(job.model, Form((SIDE, SIDE), 3)), Ledger()
    records = Records(torch.rand(5, SIDE, SIDE), torch.zeros(5, dtype=torch.int64))
    net = net_of(model, records, job)
    train(net, records, torch.arange(5), job, Round(1, 0, learning_rate=1.0), ledger)
    assert [entry.steps for entry in ledger.entries] == [1]
