"""One-pass per-sample clipping against Opacus: its hooks and its ghost clipping.

One DP-SGD step (forward, backward, clip, noise, update) on the same net, batch and thread.
Opacus is used as documented, through `PrivacyEngine.make_private`.
"""

import os
import sys
import warnings
from collections.abc import Callable

import measure
import torch
from opacus import PrivacyEngine
from opacus.layers import DPGRU, DPMultiheadAttention
from torch import Tensor, nn
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


STEPS, CHANNELS, CLASSES = 64, 6, 12


class Gru(nn.Module):
    """Windows [B, T, 6] through a GRU of torch or of Opacus, and a dense layer on its last step."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.gru = kind(CHANNELS, 64, batch_first=True)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0][:, -1])


class Attention(nn.Module):
    """One block of a transformer over windows [B, T, 6], with attention of torch or of Opacus."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Linear(CHANNELS, 64)
        self.attention = kind(64, 4, batch_first=True)
        self.norm, self.last = nn.LayerNorm(64), nn.LayerNorm(64)
        self.wide, self.narrow = nn.Linear(64, 128), nn.Linear(128, 64)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.narrow(torch.relu(self.wide(self.last(x))))
        return self.head(x.mean(1))


SEQUENCES = {  # the net, and its layer by torch and by Opacus
    "gru-256": (Gru, nn.GRU, DPGRU),
    "attention-256": (Attention, nn.MultiheadAttention, DPMultiheadAttention),
}


def sequence_net(method: str, workload: str, size: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A net over windows, by whose layers `method` can, with a batch of `size`."""
    net, torchs, opacuss = SEQUENCES[workload]
    x, y = torch.randn(size, STEPS, CHANNELS), torch.randint(0, CLASSES, (size,))
    return net(torchs if method == "ours" else opacuss), x, y


def picture_net(workload: str, size: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A net of ours over pictures, with a batch of `size`."""
    settings, _ = WORKLOADS[workload]
    x, y = torch.rand(size, 28, 28), torch.randint(0, 10, (size,))
    return build(settings, Form((28, 28), 10)), x, y


def our_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A step of the path that ships: compiled where there are kernels for all layers."""
    net = Net(model, tuple(x.shape[1:]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    private = privatize(
        net.program or model,
        FlatSGD(net.program.flat, 0.1, 0.0) if net.program else optimizer,
        Ledger(),
        budget=Budget(noise_multiplier=1.0),
        sample_rate=1.0,
        num_records=len(x),
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
    )

    def ours() -> None:
        for batch in private.batches(1):
            private.classify(lambda i: (x[i], y[i]), batch)

    return ours


def step(method: str, workload: str, records: int = 0) -> Callable[[], None]:
    """One training step of `method`, ours, hooks or ghost, on the workload's batch or on fewer."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if workload in SEQUENCES:
        model, x, y = sequence_net(method, workload, records or 256)
    else:
        model, x, y = picture_net(workload, records or WORKLOADS[workload][1])
    if method == "ours":
        return our_step(model, x, y)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(TensorDataset(x, y), batch_size=len(x))
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
    results: dict[str, object] = {"load": os.getloadavg()}
    pairs = [(w, size, peer) for w, (_, size) in WORKLOADS.items() for peer in ("hooks", "ghost")]
    pairs += [(w, 256, "hooks") for w in SEQUENCES]
    for workload, size, peer in pairs:
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
