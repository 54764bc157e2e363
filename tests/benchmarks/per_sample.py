"""One-pass per-sample clipping against Opacus: its hooks and its ghost clipping.

One DP-SGD step (forward, backward, clip, noise, update) on the same net, batch and thread.
Opacus is used as documented, through `PrivacyEngine.make_private`.
"""

import sys
import warnings
from collections.abc import Callable

import measure
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clients.models import Model
from clients.protocol import Form
from clients.training.net import Net, build
from clients.training.optimizers import FlatSGD
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger
from privacy.dp.training import privatize

WORKLOADS = {  # model, batch
    "mlp-256": (Model(name="perceptron", hidden=(256,)), 256),
    "mlp-1024": (Model(name="perceptron", hidden=(256,)), 1024),
    "cnn-256": (Model(name="convnet"), 256),
}


def step(method: str, workload: str, records: int = 0) -> Callable[[], None]:
    """One training step of `method`, ours, hooks or ghost, on the workload's batch or on fewer."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings, size = WORKLOADS[workload]
    size = records or size
    model = build(settings, Form((28, 28), 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.rand(size, 28, 28), torch.randint(0, 10, (size,))
    if method == "ours":
        net = Net(model, (28, 28))
        assert net.program is not None
        private = privatize(
            net.program,
            FlatSGD(net.program.flat, 0.1, 0.0),
            Ledger(),
            budget=Budget(noise_multiplier=1.0),
            sample_rate=1.0,
            num_records=size,
            sampling=Key.of("batches", 1),
            noise=Key.of("noise", 2),
        )

        def ours() -> None:
            for batch in private.batches(1):
                private.classify(lambda i: (x[i], y[i]), batch)

        return ours

    loader = DataLoader(TensorDataset(x, y), batch_size=size)
    criterion = nn.CrossEntropyLoss()
    made = PrivacyEngine().make_private(
        module=model,
        optimizer=optimizer,
        criterion=criterion,
        data_loader=loader,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        poisson_sampling=False,
        grad_sample_mode=method,
    )
    if method == "ghost":
        model, optimizer, criterion, _ = made
    else:
        model, optimizer, _ = made

    def theirs() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return theirs


def run() -> dict[str, object]:
    """Ratios of time and of memory for each workload and peer."""
    results: dict[str, object] = {}
    for workload, (_, size) in WORKLOADS.items():
        for peer in ("hooks", "ghost"):
            timed = measure.compare(step("ours", workload), step(peer, workload))
            timed["samples_per_s"] = size / sorted(timed["ours_s"])[len(timed["ours_s"]) // 2]
            memory = {
                method: measure.peak_memory_mb("per_sample.py", method, workload)
                for method in ("ours", peer)
            }
            timed["peak_mb"] = memory
            timed["memory_ratio"] = memory[peer] / memory["ours"]
            results[f"{workload} against opacus {peer}"] = timed
    return results


if __name__ == "__main__":
    step(*sys.argv[1:], records=2)()  # code is loaded, by all
    one_step = step(*sys.argv[1:])
    measure.report_peak_memory(lambda: [one_step() for _ in range(3)])
