"""Whole runs behind secure aggregation: equal weights, dropouts, lies, what the server saw."""

import math

import numpy as np
import pytest
from flwr.app import Error, Message
from test_federation import close, equal, failing, final, run_tiny
from written import write_idx

from attacks.settings import Attack
from clients.node import secure as device
from privacy.dp.discrete import epsilon_of_sum
from privacy.dp.ledger import Spent
from privacy.errors import FederationFailed, ModelError, SettingsError
from privacy.sums.boxes import unpack_rows
from privacy.sums.masks import PART_BYTES
from server.adversary.adversaries import SUMS_ONLY, on_updates
from server.adversary.replay import replay
from server.engines import choice as engines
from server.engines.launch import resume
from server.experiment.loading import load_experiment
from server.federation import rounds as federation
from server.run.directory import find_run
from server.run.summary import summarise

MASKS, CKKS = "federation.secure_aggregation=masks", "federation.secure_aggregation=ckks"


TEN = ("federation.clients=10", "federation.rounds=2")


PHASE_OF = {
    "keys": "query.keys", "shares": "query.shares", "train": "train", "unmask": "query.unmask",
}  # fmt: skip


def intercept(monkeypatch, change):
    """Let `change(message, deliver)` stand between the server and every client."""
    deliver = engines.CohortGrid._deliver

    def between(self, message):
        return change(message, lambda m: deliver(self, m))

    monkeypatch.setattr(engines.CohortGrid, "_deliver", between)


def losing(monkeypatch, phase, clients):
    """Some clients do what they are told in a phase, and die before they answer."""

    def lose(message, deliver):
        reply = deliver(message)
        dead = message.metadata.dst_node_id - 1 in clients
        if dead and message.metadata.message_type == PHASE_OF[phase]:
            return Message(Error(code=0, reason="killed"), reply_to=message)
        return reply

    intercept(monkeypatch, lose)


def test_masks_and_ckks_reach_the_weights_of_the_plain_run(runs):
    """The same sum: to fixed-point precision, and between the two schemes to the bit."""
    plain, masks, ckks = run_tiny(runs), run_tiny(runs, MASKS), run_tiny(runs, CKKS)
    assert close(
        plain.weights(1), masks.weights(1), 1e-4
    )  # later noise hangs on each weight's bits
    assert equal(final(masks), final(ckks))
    assert [r.epsilon for r in plain.rounds] == [r.epsilon for r in masks.rounds]
    assert masks.ledgers[2].entries == plain.ledgers[2].entries
    for run in (masks, ckks):
        for record in run.rounds:
            assert record.secure["single_updates"] == 0
            assert record.secure["survivors"] == [0, 1, 2, 3]
            assert record.secure["examples"] == sum(c.num_examples for c in plain.rounds[0].clients)
            assert all(c.num_examples == 0 and c.upload_bytes > 0 for c in record.clients)
        assert not list(run.path.glob("rounds/*/*"))
        summary = summarise(run)
        assert summary.single_updates_seen == 0
        assert "sees sums only" in summary.trust
    assert summarise(plain).single_updates_seen == 20


@pytest.mark.parametrize("strategy", ["fedavgm", "fedadam"])
def test_strategies_of_the_mean_do_as_without_masks(runs, strategy):
    options = (f"strategy.name={strategy}", "federation.rounds=3", "federation.cohort=3")
    plain, masks = run_tiny(runs, *options), run_tiny(runs, *options, MASKS)
    assert close(plain.weights(1), masks.weights(1), 1e-2 if strategy == "fedadam" else 1e-4)


@pytest.mark.parametrize("scheme", [MASKS, CKKS])
@pytest.mark.parametrize("phase", PHASE_OF)
def test_three_of_ten_are_lost_in_a_phase(runs, monkeypatch, phase, scheme):
    """The model is that of the survivors; who had given its words before it died is one."""
    dying = {0, 4, 9}
    one_deals = scheme == CKKS and phase == "shares"  # the others have nothing to do in it
    lost = {"unmask": set()}.get(phase, {0} if one_deals else dying)
    with monkeypatch.context() as patch:
        failing(patch, lost, lambda *_: 1 / 0)
        expected = run_tiny(runs, *TEN)
    losing(monkeypatch, phase, dying)
    run = run_tiny(runs, *TEN, scheme)
    assert close(run.weights(1), expected.weights(1), 1e-4)
    record = run.rounds[-1]
    reasons = {c.client: c.failure for c in record.clients if c.failure}
    assert set(reasons) == lost
    assert all("killed" in reason for reason in reasons.values())
    assert set(record.secure["survivors"]) == set(range(10)) - lost
    silent = dying if phase == "unmask" and scheme == MASKS else lost or {0}
    assert record.secure["lost"] == {phase: sorted(silent)}


@pytest.mark.parametrize("phase", PHASE_OF)
def test_below_the_threshold_the_round_fails_and_tells_nothing(runs, monkeypatch, phase):
    """Five of ten die: a clear reason, no weights; with them back the run goes on."""
    whole = run_tiny(runs, *TEN, MASKS)
    with monkeypatch.context() as patch:
        losing(patch, phase, {1, 3, 5, 7, 9})
        with pytest.raises(FederationFailed) as failed:
            run_tiny(runs, *TEN, MASKS, name="failed")
    said = str(failed.value)
    if phase == "unmask":
        assert "5 parts of client 0's masks were told, 6 are needed: the sum stays masked" in said
    else:
        assert f"5 of 10 clients are left after '{phase}', 6 are needed; no update was reve" in said
        assert "killed" in said
    run = find_run("failed", runs)
    assert run.rounds == []
    assert said in run.log_path.read_text()
    resume(run)
    assert equal(final(run), final(whole))


def test_a_client_is_never_asked_for_both_of_its_neighbours_secrets(runs, monkeypatch):
    """All that the server receives of one client, over all phases, opens nothing without others:
    of each neighbour, parts of one kind only."""
    kinds = {}

    def watch(message, deliver):
        reply = deliver(message)
        if message.metadata.message_type == "query.unmask":
            told = reply.content["sum"]
            survivors = unpack_rows(message.content["sum"]["survivors"], 0, 10)
            for member in unpack_rows(told["parts"], PART_BYTES, 10):
                key = (message.metadata.dst_node_id, bytes(message.content["sum"]["digest"]))
                kinds.setdefault((key, member), set()).add(member in survivors)
        return reply

    losing(monkeypatch, "train", {2})
    intercept(monkeypatch, watch)
    run_tiny(runs, *TEN, MASKS)
    assert {len(found) for found in kinds.values()} == {1}
    assert {True, False} == set.union(*kinds.values())


# ---- what cannot be had behind a sum


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        ([MASKS, "record.updates=true"], r"\[record\] updates = true: .*sum of all updates only"),
        (
            [MASKS, "strategy.name=krum"],
            r"'krum': it compares single updates, .*; use one of fedav",
        ),
        ([CKKS, "strategy.name=fedmedian"], "'fedmedian': it compares single updates"),
        ([MASKS, "strategy.norm_bound=1.0"], "norm_bound: it scales single updates down"),
        ([MASKS, "federation.client_evaluation=true"], "figures of single clients"),
        ([MASKS, "compression.bits=8"], "masked numbers cannot be packed; use bits = 32"),
        ([MASKS, "federation.clients=2"], "a cohort of 2: a sum hides a client among 3 or more"),
        ([MASKS, "federation.cohort=2"], "a cohort of 2"),
        ([MASKS, "budget.unit=client", "secure.dishonest=9"], "no honest survivor"),
        ([CKKS, "secure.bits=64"], "a slot of CKKS holds 32"),
        ([CKKS, "record.masked=true"], "under 'masks' only"),
        (["record.masked=true"], "under 'masks' only"),
        ([MASKS, "secure.survivors=0.5"], "greater than 0.5"),
        ([MASKS, "secure.threshold=0.4"], "greater than or equal to 0.5"),
        ([MASKS, "secure.neighbours=2"], "clients accept no fewer than 3 among 4"),
        (
            [MASKS, "secure.neighbours=34", "federation.clients=60"],
            "clients accept no fewer than 36 among 60",
        ),
        ([MASKS, "secure.groups=2", "federation.clients=8"], "two cannot tell which of them lies"),
        ([MASKS, "secure.groups=4", "federation.clients=9"], "of 2 clients each; a sum hides"),
        ([MASKS, "secure.groups=3", "federation.clients=9", "budget.unit=client"], "one sum of al"),
        ([MASKS, "secure.groups=3", "federation.clients=9", "secure.neighbours=8"], "neighbours ="),
        ([MASKS, "federation.clients=5000", "secure.most_examples=9999999"], "would wrap"),
        ([MASKS, "federation.clients=65000"], "bits are too few|would wrap"),
        (["federation.secure_aggregation=mask"], "did you mean masks"),
    ],
)
def test_settings_that_need_single_updates_are_refused(assignments, says):
    with pytest.raises(SettingsError, match=says):
        load_experiment("tiny", assignments)


def test_a_model_that_counts_is_refused(runs, tmp_path):
    """Batch norm's counters leave any range; nothing of the run is left on disk."""
    for stem in ("train", "t10k"):
        write_idx(tmp_path, f"{stem}-images-idx3-ubyte", np.zeros((40, 20, 20), np.uint8))
        write_idx(tmp_path, f"{stem}-labels-idx1-ubyte", np.arange(40, dtype=np.uint8) % 10)
    counting = (
        "budget.unit=none", "model.name=convnet", "model.norm=batch", "data.name=idx",
        f"data.path={tmp_path}",
    )  # fmt: skip
    with pytest.raises(ModelError, match="num_batches_tracked is int64: integers among"):
        run_tiny(runs, *counting, MASKS)
    assert not list(runs.glob("*"))


# ---- client-level privacy without a trusted server

SHARED = (
    "budget.unit=client", "budget.clip=0.01", "federation.rounds=1", "federation.clients=10",
)  # fmt: skip


def moved(run):
    start, end = run.weights(0), run.weights(1)
    return np.concatenate([(end[k] - start[k]).ravel() for k in start]).astype(np.float64)


@pytest.mark.parametrize("scheme", [MASKS, CKKS])
@pytest.mark.parametrize("lost", [set(), {1, 2, 3, 4}])
def test_shares_of_noise_add_up_to_what_the_ledger_says(runs, monkeypatch, scheme, lost):
    """Solved for 6 of 10: with four lost the sum has just that noise, with none more."""
    losing(monkeypatch, "train", lost)
    run = run_tiny(runs, *SHARED, "budget.noise_multiplier=50", scheme)
    survivors = 10 - len(lost)
    of_the_sum = moved(run).std() * 10  # over those that were planned, whoever is left
    assert of_the_sum == pytest.approx(50 * 0.01 * math.sqrt(survivors / 6), rel=0.05)
    assert of_the_sum > 50 * 0.01 * 0.95
    assert run.ledgers[0].entries == (Spent(50.0, 1.0, 1),)
    assert set(run.ledgers[1].entries) == (set() if lost else {Spent(50.0, 1.0, 1)})
    assert run.rounds[0].epsilon == pytest.approx(epsilon_of_sum([Spent(50.0, 1.0, 1)], 1e-5))
    summary = summarise(run)
    assert "counted on are 6 clients of a round who survive" in summary.trust
    assert summary.accountant == "zCDP of the discrete Gaussian"


def test_without_shares_of_noise_the_sum_is_bare(runs, monkeypatch):
    """The sabotage that the test above would see; and the others pay for dishonest clients."""
    trusting = run_tiny(runs, *SHARED, "budget.noise_multiplier=50", MASKS)
    wary = run_tiny(runs, *SHARED, "budget.noise_multiplier=50", MASKS, "secure.dishonest=2")
    assert moved(wary).std() / moved(trusting).std() == pytest.approx(math.sqrt(6 / 4), rel=0.05)
    monkeypatch.setattr(device, "discrete_gaussian", lambda d, size, key: np.zeros(size, np.int64))
    bare = run_tiny(runs, *SHARED, "budget.noise_multiplier=50", MASKS)
    assert np.linalg.norm(moved(bare)) <= 0.01
    assert moved(bare).std() < 0.01 * moved(trusting).std()


def test_a_client_gives_nothing_where_noise_would_be_short(runs, monkeypatch):
    """Terms with less noise than the job's budget wants are not trained for."""
    honest = federation.terms_of
    monkeypatch.setattr(
        federation,
        "terms_of",
        lambda *a: (t := honest(*a)).model_copy(update={"deviation": t.deviation // 2}),
    )
    with pytest.raises(FederationFailed, match="shares of noise would not add up"):
        run_tiny(runs, *SHARED, "budget.noise_multiplier=50", MASKS)


def test_epsilon_is_kept_over_all_rounds(runs):
    run = run_tiny(runs, "budget.unit=client", "budget.epsilon=50", MASKS, "federation.clients=10",
                   "training.learning_rate=0.1")  # fmt: skip
    assert run.rounds[-1].epsilon <= 50
    assert run.rounds[-1].epsilon > 49.9
    assert summarise(run).epsilon == pytest.approx(run.rounds[-1].epsilon)


# ---- the attack room


def test_update_attacks_fall_to_chance_on_masked_updates(runs, monkeypatch):
    """The server's reading of single updates: far above chance in the clear, chance on masks; and
    what it reads from the sum is what was read before, no more."""
    rng = np.random.default_rng(0)  # keys of one seed, in one order
    monkeypatch.setattr("secrets.token_bytes", rng.bytes)
    monkeypatch.setattr("secrets.token_hex", lambda num: rng.bytes(num).hex())
    leaky = (
        "budget.unit=none", "federation.rounds=3", "data.held_out=0.5", "federation.clients=10",
        "training.sample_rate=1.0", "model.hidden=[64]", "federation.workers=1",
    )  # fmt: skip
    clear = run_tiny(runs, *leaky, "record.updates=true")
    masked = run_tiny(runs, *leaky, "record.masked=true", MASKS)
    settings = Attack(candidates=240)
    found = {run: on_updates(replay(run), settings) for run in (clear, masked)}
    of_clear, of_masked = (found[run]["server"] for run in (clear, masked))
    assert of_clear["reported"] == of_masked["reported"] == "coefficient_z"
    assert of_clear["coefficient_z"]["auc"]["low"] > 0.7
    auc = of_masked["coefficient_z"]["auc"]
    half = (auc["high"] - auc["low"]) / 2  # of 95 %; twice that, or one processor in twenty fails
    assert abs(auc["value"] - 0.5) < 2 * half
    sums = [found[run]["secure_sum"]["coefficient"]["auc"]["value"] for run in (clear, masked)]
    assert sums[0] == pytest.approx(sums[1], abs=0.01)
    silent = run_tiny(runs, *leaky, MASKS)
    assert on_updates(replay(silent), settings)["server"] == {"left_out": SUMS_ONLY}
