"""A run whose clip follows a quantile: from round to round, taken up again, killed, refused."""

import math

import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, FedAvg

from clients.training.arrays import held
from privacy.dp.clipping.split import Split, after
from privacy.dp.ledger import Ledger, Spent
from privacy.errors import Interrupted, SettingsError
from server.adversary import replay
from server.engines.launch import launch, resume
from server.experiment.loading import load_experiment
from server.federation import rounds as federation
from server.federation.aggregation import Released, Update, gather
from server.federation.grid import identify
from server.federation.strategies import build_strategy
from server.run.directory import Run
from server.run.rounds import RoundRecord

FOLLOWING = ["budget.unit=client", "budget.clip_quantile=0.6", "budget.clip_rate=0.5"]
SOME = [
    *FOLLOWING, "federation.rounds=4", "budget.noise_multiplier=1", "budget.epsilon=100",
]  # fmt: skip


def following(*more):
    return load_experiment("tiny", [*SOME, *more])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return launch(following(), tmp_path_factory.mktemp("done"), "done")


def test_each_round_is_clipped_by_what_the_one_before_released(done):
    budget = done.experiment.budget
    clips = [record.clipping["clip"] for record in done.rounds]
    assert clips[0] == budget.clip
    for record, clip in zip(done.rounds, clips[1:], strict=False):
        assert after(budget, **record.clipping).clip == clip
    assert len(set(clips)) == 4
    spent = {ledger.entries for ledger in done.ledgers.values()}
    assert spent == {(Spent(1.0, 1.0, 4),)}


def test_the_sum_is_clipped_and_noised_by_the_clip_of_its_round(done, monkeypatch, runs):
    """And the count's noise is of the deviation of its split, from another key."""
    heard = []

    def listen(strategy, before, job, planned, banded=None):
        gathered = gather(strategy, before, job, planned)
        heard.append((job.budget.clip, gathered._sum.grid.clip, Split.of(job.budget)))
        return gathered

    monkeypatch.setattr(federation, "gather", listen)
    run = launch(following(), runs)
    assert [record.clipping for record in run.rounds] == [r.clipping for r in done.rounds]
    clips = [record.clipping["clip"] for record in run.rounds]
    assert heard == [(clip, clip, Split.of(run.experiment.budget)) for clip in clips]


def test_a_run_taken_up_again_goes_on_from_its_clip(done, tmp_path):
    """Bit for bit, from what was released."""
    run = launch(following(), tmp_path, "again")
    path = run.path / "rounds.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    resume(run)
    assert [r.clipping for r in run.rounds] == [r.clipping for r in done.rounds]
    for name, array in run.weights(4).items():
        assert np.array_equal(array, done.weights(4)[name])


def test_a_round_that_was_killed_is_charged_again_and_clipped_as_before(runs, monkeypatch):
    append = Run.append

    def lost(self, record, weights, state):
        if record.round == 2:
            raise KeyboardInterrupt
        append(self, record, weights, state)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", lost)
        with pytest.raises(Interrupted):
            launch(following("training.noise=secure"), runs, "killed")
    run = Run.open(runs / "killed")
    resume(run)
    assert {ledger.entries for ledger in run.ledgers.values()} == {(Spent(1.0, 1.0, 5),)}
    first, second = run.rounds[:2]
    assert second.clipping["clip"] == after(run.experiment.budget, **first.clipping).clip


@pytest.mark.parametrize(
    "clipping",
    ['{"clip": 1e9, "share": 0.5}', '{"clip": 0.5}', '{"clip": 0.5, "share": "x"}', '{"clip": 0}'],
)
def test_a_damaged_clip_is_refused(done, clipping):
    line = done.rounds[1].to_json()
    told = line[line.index('"clipping"') :]
    with pytest.raises(ValueError, match="clip"):
        RoundRecord.from_json(line.replace(told, f'"clipping": {clipping}}}'))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["budget.clip_quantile=0.5"], r"clip_quantile = 0.5: would .* \[budget\] unit = 'client'"),
        (["budget.unit=none", "budget.clip_quantile=0.5"], "clip_quantile = 0.5: would change"),
        (["budget.unit=client", "budget.clip_rate=1"], "clip_rate = 1.0: would .*clip_quantile"),
        (["budget.unit=client", "budget.clip_quantile=1.5"], "clip_quantile.* from 0.01 to 0.99"),
        (
            [*FOLLOWING, "federation.secure_aggregation=masks"],
            "clip_quantile = 0.6: .*leave it out",
        ),
        (
            [*FOLLOWING, "federation.secure_aggregation=ckks"],
            "clip_quantile = 0.6: .*leave it out",
        ),
    ],
)
def test_where_nobody_can_count_it_is_refused(settings, says):
    with pytest.raises(SettingsError, match=says):
        load_experiment("tiny", settings)


def updates_of(number, num):
    rng = np.random.default_rng(number)
    return [rng.normal(size=50) * rng.lognormal(0, 1) for _ in range(num)]


def test_without_noise_the_mean_is_flowers_own_and_its_clip_runs_the_other_way():
    """Flower's wrapper counts who is beyond the clip and lowers the clip the more there are: the
    same step backwards, for the other quantile. Both cut to the same clip, and have the same mean.
    """
    job, num, start = following("budget.clip=5", "budget.noise_multiplier=0").job, 40, np.zeros(50)
    theirs = DifferentialPrivacyServerSideAdaptiveClipping(
        FedAvg(min_train_nodes=1, min_available_nodes=1), 0.0, num, 5.0, 0.4, 0.5
    )
    identify()
    for number in range(1, 4):
        strategy, before = build_strategy(following().strategy, 0.1), job.budget
        mine = Released(strategy, {"w": start}, job, num)
        replies = []
        for change in updates_of(number, num):
            metrics = MetricRecord({"num-examples": 1})
            mine.add(Update({"w": change}, 1, metrics, Ledger(), 0))
            content = RecordDict({"arrays": held({"w": change}), "metrics": metrics})
            replies.append(Message(content, reply_to=Message(RecordDict(), 1, "train")))
        found = mine.aggregate(number)
        theirs.current_arrays, theirs.clipping_norm = held({"w": start}), before.clip
        due, _ = theirs.aggregate_train(number, replies)
        np.testing.assert_allclose(found["w"].numpy(), due["w"].numpy(), atol=1e-3)
        job = job.model_copy(update={"budget": after(before, before.clip, mine.share)})
        moved = math.log(job.budget.clip / before.clip)
        assert abs(moved) > 0.01
        assert math.log(theirs.clipping_norm / before.clip) == pytest.approx(-moved, abs=1e-4)


def test_shadows_are_clipped_as_their_own_rounds_release(monkeypatch):
    """The adversary's copies of a run follow a clip, too; here each update is far beyond it."""
    told, app = [], ClientApp()

    @app.train()
    def far(message, context):
        arrays = message.content.array_records["arrays"]
        moved = held({name: array.numpy() + 9.0 for name, array in arrays.items()})
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": moved, "metrics": metrics}), reply_to=message)

    def listen(strategy, before, job, planned, banded=None):
        told.append((job.budget, gathered := gather(strategy, before, job, planned)))
        return gathered

    monkeypatch.setattr(replay, "gather", listen)
    experiment = following("budget.noise_multiplier=0").resolve()
    start = {"w": np.zeros((30, 10), np.float32)}
    monkeypatch.setattr(replay, "spared_of", lambda experiment: ())
    list(replay.simulate(experiment, app, start, 0))
    clips = [budget.clip for budget, _ in told]
    np.testing.assert_allclose(np.diff(np.log(clips)), 0.5 * 0.6, rtol=1e-3)
    assert [gathered.share for _, gathered in told] == pytest.approx([0.0] * len(told), abs=1e-4)
