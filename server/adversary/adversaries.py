"""Tape -> Leakage: five adversaries, reported apart, in stages that are kept as they are done.

final_model      sees the last global model
all_rounds       sees every global model
server           reads each client's update (needs [record] updates)
secure_sum       a server behind secure aggregation: sees the sum of the updates
malicious_client sees every global model, and knows its own share in it
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch import nn

from attacks.leakage import Leakage, delong, gap, measure
from attacks.membership import federated
from attacks.membership.persons import measure_persons
from attacks.membership.scores import Portfolio
from attacks.membership.shadows import Shadows
from attacks.membership.signals import load, losses, observe, predict
from attacks.settings import Attack
from attacks.tape import Tape
from clients.data.sets import load as load_data
from privacy.errors import Interrupted
from privacy.settings import Section, override, parse
from server.adversary.answers import on_answers, on_attributes
from server.adversary.reconstruction.play import reconstruct
from server.adversary.reconstruction.victims import LEAST, require_enough
from server.adversary.replay import replay
from server.adversary.shadows import Tell, shadows_of
from server.adversary.stages import done_once, mark_of
from server.experiment.idle import require_effect
from server.run.directory import Run
from server.run.merit import names_of

MAX_ROUNDS_READ = 20
MOST_CLASSES = 100  # told one by one
SUMS_ONLY = "the server saw sums only: see secure_sum; record.masked=true keeps what it did see"
GROUPS = "the server saw a sum of each group: more than the mean of all, and the run kept none"
HOW_TO_RECORD = "the run kept no updates: run it with -s record.updates=true"

Found = dict[str, Any]


def attack(run: Run, settings: Attack, tell: Tell) -> Found:
    """Do what is left of the attacks on a run, write leakage.json, and return what is in it.

    Raises:
        RunError: the run is not finished, its data are not here, or too few.
        Interrupted: by the user; what is done is kept.
    """
    tape = replay(run)
    require_enough(run, tape)
    stages: dict[str, Callable[[], Found]] = {
        "models": lambda: on_models(
            tape,
            shadows_of(run, tape, settings, tell),
            settings,
            names_of(load_data(run.experiment.data)),
        ),
        "updates": lambda: on_updates(tape, settings) | _unread_sums(run),
        "reconstruction": lambda: reconstruct(run, tape, settings, tell),
        "robustness": lambda: on_answers(run, tape),
        "attributes": lambda: on_attributes(tape, settings),
    }
    found: Found = {"run": run.path.name, "epsilon_claimed": tape.epsilon, "delta": tape.delta}
    found["seconds"] = {}
    mark = mark_of(run, tape, settings)
    try:
        for name, stage in stages.items():
            told, found["seconds"][name] = done_once(run, name, mark, stage, tell)
            found |= told
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; go on with: privet attack {run.path.name}") from None
    found["left_out"] = _left_out(found)
    run.keep("leakage.json", found)
    return found


def _left_out(found: Found) -> dict[str, str]:
    """Which adversaries were not played, and what would bring them."""
    told = found | {"persons": found.get("final_model", {}).get("persons")}
    return {n: v["left_out"] for n, v in told.items() if isinstance(v, dict) and "left_out" in v}


# ---- the adversary who sees models


def on_models(tape: Tape, shadows: Shadows, settings: Attack, names: Sequence[str]) -> Found:
    """Membership from the last model, and from the models of all rounds.

    Args:
        names: of the classes.
    """
    model = tape.build(0)
    phi = np.stack([observe(load(model, tape.weights(r)), tape.pool) for r in tape.snapshots()])
    portfolios = {
        name: Portfolio(shadows, rounds, settings.seed)
        for name, rounds in (("final_model", False), ("all_rounds", True))
    }
    found: Found = {n: _portfolio(tape, portfolio, phi) for n, portfolio in portfolios.items()}
    if tape.pool.task == "classes":
        last = portfolios["final_model"]
        scores = last.scores(phi)[last.choose("auc")]
        found["final_model"]["classes"] = _classes(tape, scores, names)
    if tape.person is not None:
        found["final_model"]["persons"] = _persons(tape, portfolios["final_model"], phi, model)
    if tape.pool.task == "classes":
        right = [(predict(model, x).argmax(1) == x.y).numpy() for x in (tape.pool, tape.reference)]
        found["train_test_gap"] = gap(right[0][tape.member], right[1], "accuracy")
    else:
        errors = [losses(model, x) for x in (tape.reference, tape.pool)]
        found["train_test_gap"] = gap(errors[1][tape.member], errors[0], "loss")
    return found


def _persons(tape: Tape, portfolio: Portfolio, phi: NDArray, model: nn.Module) -> Found:
    """Was a whole person trained on? From the last model, by the mean of their records' scores.

    Against persons who were held out whole; or else, by the loss alone, against the test set's.
    """
    assert tape.person is not None
    if tape.whole:
        scores = portfolio.scores(phi)[portfolio.choose("auc")]
        return measure_persons(scores, tape.person, tape.member, "persons held out at random")
    assert tape.reference_person is not None
    strangers = ~np.isin(tape.reference_person, tape.person)
    signals = np.concatenate([phi[-1], observe(model, tape.reference)[strangers]])
    person = np.concatenate([tape.person, tape.reference_person[strangers]])
    member = np.concatenate([tape.member, np.zeros(int(strangers.sum()), dtype=bool)])
    others = "persons of the test set, who may differ in more than that"
    return measure_persons(signals.astype(float), person, member, others)


def _portfolio(tape: Tape, portfolio: Portfolio, phi: NDArray) -> Found:
    scores = portfolio.scores(phi)
    chosen = {key: portfolio.choose(key) for key in ("auc", "tpr")}

    def measured(name: str) -> Leakage:
        trials = list(zip(portfolio.trials[name], portfolio.members, strict=True))
        return measure(name, scores[name], tape.member, trials=trials, delta=tape.delta)

    reported = {name: measured(name) for name in sorted({*chosen.values(), "loss"})}
    return {
        "chosen_on_shadows": chosen,
        "auc": reported[chosen["auc"]].to_dict()["auc"],
        "tpr_at_1_percent": reported[chosen["tpr"]].to_dict()["tpr_at_1_percent"],
        "attacks": {name: found.to_dict() for name, found in reported.items()},
        "subjects": _subjects(tape, scores[chosen["auc"]]),
    }


def _subjects(tape: Tape, scores: NDArray) -> list[Found]:
    """For each client, its own members against its own held-out records."""
    rows = []
    for client in np.unique(tape.owner):
        mine = tape.owner == client
        member = tape.member[mine]
        if not 1 < member.sum() < len(member) - 1:
            continue
        own = scores[mine]
        figure = delong(own, member)
        p = mannwhitneyu(own[member], own[~member], alternative="greater").pvalue
        rows.append({"client": int(client), **vars(figure), "p_value": float(p)})
    return rows


def _classes(tape: Tape, scores: NDArray, names: Sequence[str]) -> list[Found]:
    """For each class with `LEAST` of both, its members against its held-out records; the first of
    those that are told apart best."""
    y = tape.pool.y.numpy()
    rows = []
    for c in np.unique(y):
        member = tape.member[y == c]
        counts = {"members": int(member.sum()), "non_members": int((~member).sum())}
        if min(counts.values()) >= LEAST:
            rows.append({"class": names[c], **vars(delong(scores[y == c], member)), **counts})
    return sorted(rows, key=lambda row: -row["value"])[:MOST_CLASSES]


# ---- the adversary who sees updates


def _unread_sums(run: Run) -> Found:
    """What is not measured where the server saw sums of groups: only their mean is kept."""
    federation, secure = run.experiment.federation, run.experiment.secure
    grouped = federation.secure_aggregation != "none" and secure.groups > 1
    return {"secure_sum": {"left_out": GROUPS}} if grouped else {}


def on_updates(tape: Tape, settings: Attack) -> Found:
    """Membership from each client's updates, from their sum, and by one of the clients."""
    if not federated.readable(tape.build(0).eval(), tape.pool.inputs(torch.arange(1))):
        reason = {"left_out": "the model has no dense layer to read gradients from"}
        return {"server": reason, "secure_sum": reason, "malicious_client": reason}
    chosen = _candidates(tape, settings)
    candidates = federated.Candidates(tape.pool, torch.from_numpy(chosen))
    model = tape.build(0)
    totals: dict[int, dict[str, NDArray]] = {}
    times: dict[int, int] = {}
    summed, others = np.zeros(len(chosen)), np.zeros(len(chosen))
    for number in _rounds_read(tape):
        before, after = tape.weights(number - 1), tape.weights(number)
        reading = federated.Reading.of(load(model, before), candidates)
        change = federated.difference(before, after)
        whole = reading.coefficient(change)
        summed += whole
        cohort = list(tape.recipe.cohorts[number - 1])
        own = tape.update(number, 0) if tape.update and 0 in cohort and not tape.sums_only else None
        if own is None:
            others += whole
        elif len(cohort) > 1:
            without = federated.without(change, federated.difference(before, own), 1 / len(cohort))
            others += reading.coefficient(without)
        if tape.update:
            released = {c: w for c in cohort if (w := _released(tape, number, c)) is not None}
            for name, rows in reading.of_clients(model, before, list(released.values())).items():
                for client, row in zip(released, rows, strict=True):
                    total = totals.setdefault(client, {})
                    total[name] = total.get(name, 0) + row
            for client in released:
                times[client] = times.get(client, 0) + 1
    member, owner = tape.member[chosen], tape.owner[chosen]
    found: Found = {"secure_sum": _one("coefficient", summed, member)}
    strangers = owner != 0
    found["malicious_client"] = (
        _one("coefficient", others[strangers], member[strangers])
        if member[strangers].any() and not member[strangers].all()
        else {"left_out": "one client alone has nobody to spy on"}
    )
    found["server"] = (
        _server(totals, times, member, owner)
        if tape.update
        else {"left_out": SUMS_ONLY if tape.sums_only else HOW_TO_RECORD}
    )
    return found


def _server(
    totals: dict[int, dict[str, NDArray]], times: dict[int, int], member: NDArray, owner: NDArray
) -> Found:
    """Pairs (client, record): was this record in this client's updates?

    Which reading is reported is fixed beforehand: the coefficient, standardised over clients where
    there are enough of them. Not members are the records that no client trained on.
    """
    names = list(next(iter(totals.values())))
    reported = "coefficient_z" if "coefficient_z" in names else "coefficient"
    readings: dict[str, Found] = {}
    subjects = []
    for name in names:
        rows = []
        for client, total in sorted(totals.items()):
            used = (member & (owner == client)) | ~member
            score = total[name][used] / times[client]
            rows.append((score, (member & (owner == client))[used], np.flatnonzero(used)))
            if name == reported and 1 < rows[-1][1].sum() < used.sum() - 1:
                subjects.append({"client": client, **vars(delong(score, rows[-1][1]))})
        scores, members, clusters = (np.concatenate(part) for part in zip(*rows, strict=True))
        readings[name] = _measured(name, scores, members, clusters)
    return {"reported": reported, **readings, "subjects": subjects}


def _one(name: str, scores: NDArray, member: NDArray) -> Found:
    return {"reported": name, name: _measured(name, scores, member)}


def _measured(
    name: str, scores: NDArray, member: NDArray, clusters: NDArray | None = None
) -> Found:
    return measure(name, scores, member, clusters=clusters).to_dict()


def _candidates(tape: Tape, settings: Attack) -> NDArray:
    """Records whose gradients are held against the updates: members and not, as many of each."""
    rng = np.random.default_rng(settings.seed)
    inside, outside = np.flatnonzero(tape.member), np.flatnonzero(~tape.member)
    half = settings.candidates // 2
    few = min(len(outside), max(half, settings.candidates - len(inside)))
    parts = [
        rng.choice(inside, min(len(inside), settings.candidates - few), replace=False),
        rng.choice(outside, few, replace=False),
    ]
    return np.sort(np.concatenate(parts))


def _rounds_read(tape: Tape) -> Iterator[int]:
    rounds = tape.recipe.rounds
    count = min(rounds, MAX_ROUNDS_READ)
    yield from sorted({1 + i * rounds // count for i in range(count)})


def _released(tape: Tape, number: int, client: int) -> dict[str, NDArray] | None:
    assert tape.update is not None
    return tape.update(number, client) if (number, client) in tape.released else None


def settings_of(run: Run, assignments: list[str] | None) -> Attack:
    """The run's [attack], with what the command line sets: `-s attack.shadows=16`.

    Raises:
        SettingsError: no such key, a wrong value, or one that would change nothing.
    """
    tables, origins = override({"attack": run.experiment.attack.model_dump()}, assignments or [])
    means = parse(Means, tables, "privet attack", origins).attack
    require_effect(run.experiment.model_copy(update={"attack": means}), origins)
    return means


class Means(Section):
    """What `privet attack -s` may set."""

    attack: Attack
