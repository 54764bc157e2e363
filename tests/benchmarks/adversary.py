"""The adversary against its peers: what it finds, what that costs, and whether the audit sees.

Fashion-MNIST and a perceptron of 128 throughout. By itself, this file takes the names of parts.
"""

import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
from opacus import PrivacyEngine
from toolbox import against_art
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from attacks.leakage import area, auc, bootstrap, tpr_at
from attacks.membership.scores import ATTACKS, Evidence, Portfolio
from attacks.membership.shadows import Shadows, Stack, train_shadows, train_stack
from attacks.membership.signals import observe
from attacks.tape import Nature, Recipe, Sample, Tape
from clients.data.sets import load
from clients.data.settings import Data
from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.dp.accounting.solving import solve_noise_multiplier
from server.adversary.adversaries import attack, on_updates, settings_of
from server.adversary.auditing import audit_of
from server.adversary.replay import replay
from server.engines.launch import launch
from server.experiment.loading import load_experiment

POOL, MEMBERS, RATE = 4000, 2000, 0.128
MODELS, GROUP = 32, 16


def tape(epsilon: float | None) -> Tape:
    """2,000 of 4,000 records: 40 epochs of momentum SGD, or 120 steps of DP-SGD."""
    dataset = load(Data(name="fashion-mnist"))
    chosen = torch.randperm(60_000, generator=torch.Generator().manual_seed(5))[:POOL]
    images = torch.from_numpy(dataset.train_x)[chosen].float() / 255
    labels = torch.from_numpy(dataset.train_y)[chosen].long()
    pool = Sample(lambda i: images[i], labels, lambda i: images[i])

    def fresh(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return build(Model(), Form((28, 28), 10))

    recipe = Recipe([[0]] * 10, 125, 0.032, 0.9, [0.05] * 10, None, 1.0)
    if epsilon:
        sigma = solve_noise_multiplier(epsilon, 1e-5, RATE, 120)
        recipe = Recipe([[0]] * 10, 12, RATE, 0.0, [2.0] * 10, sigma, 1.0)
    everyone = np.zeros(POOL, np.int32)
    unknown: Any = None
    return Tape(
        pool, everyone, everyone, unknown, pool, 10, fresh, unknown, None, frozenset(),
        recipe, unknown, "", epsilon, 1e-5, Nature("picture", (28, 28)),
    )  # fmt: skip


def models(epsilon: float | None, count: int = MODELS) -> Shadows:
    """Models that take turns as targets and as shadows."""
    world = tape(epsilon)
    torch.set_num_threads(1)
    with ThreadPoolExecutor(2) as pool:
        parts = pool.map(lambda s: train_shadows(world, GROUP, s + 1), range(count // GROUP))
        return Shadows.join(list(parts))


def without_pair(k: int, count: int, shadows: Shadows) -> np.ndarray:
    """`count` shadows in pairs for the target k, none of them its own pair."""
    pairs = [i for i in range(len(shadows) // 2) if i != k // 2]
    chosen = np.random.default_rng(k).permutation(pairs)[: count // 2]
    return np.concatenate([[2 * i, 2 * i + 1] for i in chosen])


def trained(world: Tape, count: int, seed: int) -> tuple[Stack, np.ndarray]:
    """A trained stack, and which records each model has."""
    from attacks.membership.shadows import split_pool

    torch.set_num_threads(1)
    member = split_pool(world.shares, count, seed)
    stack = Stack.of([world.build(seed * 1000 + k) for k in range(count)])
    parts = [[torch.from_numpy(np.flatnonzero(row)) for row in member]]
    generator = torch.Generator().manual_seed(seed)
    for _ in train_stack(stack, world.pool, parts, world.recipe, generator):
        pass
    return stack, member


def few_shadows(shadows: Shadows) -> dict[str, Any]:
    """AUC of RMIA offline with 4 shadows over that with 31, each model a target in turn."""
    values: dict[int, list[float]] = {4: [], 8: [], 31: []}
    phi = shadows.phi[:, -1]
    for k in range(len(shadows)):
        for count, found in values.items():
            others = (
                np.array([i for i in range(len(shadows)) if i != k])
                if count == 31
                else without_pair(k, count, shadows)
            )
            e = Evidence(phi[k], phi[others], shadows.member[others])
            found.append(auc(ATTACKS["rmia_offline"](e), shadows.member[k]))
    means = {count: float(np.mean(v)) for count, v in values.items()}
    ratios = np.array(values[4]) / np.array(values[31])
    half = 1.96 * ratios.std(ddof=1) / len(ratios) ** 0.5
    return {"ratio": means[4] / means[31], "plus_minus": float(half), "auc": means}


def by_epsilon() -> dict[str, Any]:
    """AUC of the attack chosen on one half of the models, on the other half, by budget."""
    results = {}
    for name, epsilon in (("none", None), ("8", 8.0), ("1", 1.0)):
        shadows = models(epsilon, 32)
        portfolio = Portfolio(shadows, rounds=False)
        held = range(GROUP, 2 * GROUP)
        fitted = range(GROUP)

        def mean(attack: str, over: Any, portfolio: Portfolio = portfolio) -> float:
            trials = portfolio.trials[attack]
            return float(np.mean([auc(trials[k], portfolio.members[k]) for k in over]))

        chosen = max(portfolio.trials, key=lambda a: mean(a, fitted))
        # One ROC of all targets: scores by rank, so that no target's scale decides.
        ranks = [portfolio.trials[chosen][k].argsort().argsort() / POOL for k in held]
        figure = bootstrap(
            area,
            np.concatenate(ranks),
            np.concatenate([portfolio.members[k] for k in held]),
            np.random.default_rng(0),
            np.tile(np.arange(POOL), len(ranks)),
        )
        sure = (shadows.phi[:, -1] > 0)[~shadows.member].mean()
        results[name] = {"attack": chosen, **vars(figure), "p_over_half_outside": float(sure)}
    return results


def training_speed() -> dict[str, Any]:
    """16 DP-SGD models of 20 steps: all together on two threads, or by Opacus one by one."""
    import dataclasses

    warnings.simplefilter("ignore")
    world = tape(8.0)
    steps, count = 20, 16
    world = dataclasses.replace(
        world,
        recipe=dataclasses.replace(
            world.recipe, cohorts=[[0]], learning_rates=[2.0], local_steps=steps
        ),
    )
    x, y = world.pool.originals(torch.arange(MEMBERS)), world.pool.y[:MEMBERS]

    def ours() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda s: trained(world, count // 2, s), (1, 2)))

    def opacus(threads: int) -> None:
        torch.set_num_threads(threads)
        for _ in range(2):  # of 16: the others take as long, and none helps another
            model = world.build(0)
            model, optimizer, loader = PrivacyEngine().make_private(
                module=model,
                optimizer=torch.optim.SGD(model.parameters(), lr=2.0),
                data_loader=DataLoader(TensorDataset(x, y), batch_size=round(RATE * MEMBERS)),
                noise_multiplier=world.recipe.noise_multiplier,
                max_grad_norm=1.0,
            )
            done = 0
            while done < steps:
                for images, labels in loader:
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(model(images), labels).backward()
                    optimizer.step()
                    done += 1
                    if done == steps:
                        break

    timed = {}
    for threads in (1, 2):
        found = measure.compare(ours, lambda t=threads: opacus(t), repeats=3, warmup=1)  # type: ignore[misc]
        for key in ("ratio", "ratio_least", "ratio_greatest"):
            found[key] *= count / 2
        found["opacus_models_timed"] = 2
        timed[f"against opacus with {threads} threads"] = found
    return timed


def updates() -> dict[str, Any]:
    """The server reading updates against LOSS on the final model: 8 clients x 200 records."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(3):
            run = launch(load_experiment("tiny", [*FEDERATED, f"seed={seed}"]), Path(folder))
            world = replay(run)
            found = on_updates(world, settings_of(run, ["attack.candidates=2600"]))
            model = world.build(0)
            model.load_state_dict({k: torch.from_numpy(v) for k, v in world.weights(20).items()})
            scores = observe(model, world.pool)
            single = [
                tpr_at(scores[u], world.member[u], 0.01)
                for c in range(8)
                for u in [(world.member & (world.owner == c)) | ~world.member]
            ]
            server = found["server"]
            rows.append(
                {
                    "loss": float(np.mean(single)),
                    "server": server[server["reported"]]["tpr_at_1_percent"],
                    "cosine": server["cosine"]["tpr_at_1_percent"],
                    "auc": server[server["reported"]]["auc"],
                    "secure_sum_auc": found["secure_sum"]["coefficient"]["auc"],
                }
            )
    ratios = [r["server"]["value"] / r["loss"] for r in rows]
    return {"ratio": float(np.median(ratios)), "ratios": ratios, "runs": rows}


FEDERATED = (
    "data.name=fashion-mnist", "data.limit=2600", "data.held_out=0.3846", "federation.clients=8",
    "federation.rounds=20", "model.hidden=[128]", "training.sample_rate=0.16",
    "training.local_steps=12", "training.learning_rate=0.1", "budget.unit=none",
    "record.updates=true",
)  # fmt: skip


def audits(count: int = 100) -> dict[str, Any]:
    """Correct runs at epsilon 8: how many are accused, and how much the canaries prove."""
    torch.set_num_threads(1)
    experiment = load_experiment("tiny").resolve()
    accused: Counter[str] = Counter()
    bounds: dict[str, list[float]] = {}
    alarms, started = 0, time.perf_counter()
    for seed in range(count):
        done = audit_of(experiment, None, seed)
        alarms += not done.passed
        accused.update(check.name for check in done.checks if not check.passed)
        for bound in done.bounds:
            bounds.setdefault(bound.name, []).append(bound.epsilon / done.epsilon)
    shares = {  # median, and the fifth from either end of a hundred
        name: [float(v) for v in np.quantile(values, [0.5, 0.05, 0.95])]
        for name, values in bounds.items()
    }
    return {
        "false_alarms": alarms,
        "of": count,
        "by_check": dict(accused),
        "share_of_epsilon_proven": shares,
        "seconds_each": (time.perf_counter() - started) / count,
    }


def demo() -> dict[str, Any]:
    """Attack and audit of the demonstration's run, from nothing; the run itself is not timed."""
    with tempfile.TemporaryDirectory() as folder:
        run = launch(load_experiment("dp", ["record.updates=true"]), Path(folder))
        started = time.perf_counter()
        found = attack(run, settings_of(run, []), lambda line: print(line, file=sys.stderr))
        attacked = time.perf_counter()
        audited = audit_of(run.experiment, run)
        done = time.perf_counter()
    return {
        "attack_s": attacked - started,
        "audit_s": done - attacked,
        "stages_s": found["seconds"],
        "audit_passed": audited.passed,
        "cores": os.cpu_count(),
    }


PARTS = {
    "tpr_against_art": against_art,
    "rmia_4_against_31_shadows": lambda: few_shadows(models(None)),
    "dp_shadows_against_opacus": training_speed,
    "server_against_final_loss": updates,
    "auc_by_epsilon": by_epsilon,
    "audit": audits,
    "demo": demo,
}


def run() -> dict[str, Any]:
    """Every part."""
    return {name: part() for name, part in PARTS.items()}


if __name__ == "__main__":
    measure.show({name: PARTS[name]() for name in sys.argv[1:] or PARTS})
