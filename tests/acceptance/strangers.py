"""Steps that are not ours under the audit: the whole museum, and correct loops of Opacus, by seeds.

run as: python tests/acceptance/strangers.py [--seeds 10]

Exit status 1 if fewer than 14 of the 15 faults are red, or if more than one correct audit in 60 is.
"""

# ruff: noqa: E402
import argparse
import json
import sys
import time
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
warnings.simplefilter("ignore")

import museum
import numpy as np
import torch
from opacus import PrivacyEngine
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from attacks.audit import Claims, audit_step
from attacks.audit.steps.engine import of_engine

SIGMA, RATE, STEPS = 1.0, 0.25, 8


def engine(mode):
    """An Opacus loop: a small net with biases, SGD, Poisson sampling."""

    def private(x, y, noise_multiplier, sample_rate):
        net = nn.Sequential(nn.Linear(museum.FEATURES, 6), nn.Tanh(), nn.Linear(6, museum.CLASSES))
        batch = max(1, round(sample_rate * len(x)))
        loader = DataLoader(TensorDataset(x, y), batch_size=batch)
        more = {"criterion": nn.CrossEntropyLoss()} if mode == "ghost" else {}
        *made, loader = PrivacyEngine().make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.05),
            data_loader=loader,
            noise_multiplier=noise_multiplier,
            max_grad_norm=1.0,
            grad_sample_mode=mode,
            **more,
        )
        loader.batch_sampler.sample_rate = sample_rate  # of the records that there are
        made[1].expected_batch_size = max(sample_rate * len(x), 1e-12)
        return (*made, loader)

    return private


def virtual(model, optimizer, loader, criterion, steps):
    """The same through BatchMemoryManager: logical batches in parts of four."""
    done = 0
    while done < steps:
        with BatchMemoryManager(
            data_loader=loader, max_physical_batch_size=4, optimizer=optimizer
        ) as parts:
            for x, y in parts:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                last = not optimizer._check_skip_next_step(pop_next=False)
                optimizer.step()
                done += last
                if done == steps:
                    return


LOOPS = {
    "hooks": ("hooks", None),
    "ghost": ("ghost", None),
    "functorch": ("functorch", None),
    "virtual steps": ("hooks", virtual),
}


def audited(make, seed):
    x, y = museum.records(seed=seed)
    started = time.process_time()
    found = audit_step(make, Claims(x.astype(np.float32), y, SIGMA, RATE, STEPS), seed)
    return found, time.process_time() - started


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--loops", nargs="*", default=list(LOOPS))
    asked = parser.parse_args()
    caught, seconds, alarms, correct = {}, [], [], 0
    for fault in museum.FAULTS:
        found, took = audited(museum.maker(fault), 0)
        caught[fault] = [check.name for check in found.checks if check.state == "FAILED"]
        seconds.append(took)
    for name in ("numpy", *asked.loops):
        for seed in range(asked.seeds):
            make = museum.maker()
            if name in LOOPS:
                mode, train = LOOPS[name]
                make = of_engine(engine(mode), steps=STEPS, noise_multiplier=SIGMA,
                                 sample_rate=RATE, train=train)  # fmt: skip
            found, took = audited(make, seed)
            correct += 1
            seconds.append(took)
            alarms += [
                f"{name}, seed {seed}: {check.name}: {check.measured}"
                for check in found.checks
                if check.state != "passed" and check.name != "accounting"
            ]
    red = sum(bool(caught[fault]) for fault in museum.ASKED)
    figures = {
        "caught": f"{red} of {len(museum.ASKED)}",
        "red": caught,
        "correct": correct,
        "alarms": alarms,
        "most_seconds": round(max(seconds), 2),
    }
    print(json.dumps(figures, indent=1))
    return 0 if red >= 14 and len(alarms) * 60 <= correct else 1


if __name__ == "__main__":
    sys.exit(main())
