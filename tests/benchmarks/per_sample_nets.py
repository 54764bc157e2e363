"""The compiled step against Opacus's hooks and our own one-pass path, on nets of the field.

One DP-SGD step (forward, backward, clip, noise, update) on the same net, batch and thread, as in
`per_sample`. The nets have the shapes of MLPerf Tiny's `ds-cnn` and `resnet8`, with GroupNorm for
BatchNorm, and of a small convolutional net on windows of six channels.
"""

import warnings
from collections.abc import Callable

import measure
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clients.layers import AddChannel, Residual
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.compiled import Program, Shape
from privacy.dp.ledger import Ledger
from privacy.dp.training import privatize

BATCH = 256


def _normed(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [layer, nn.GroupNorm(4, channels)]


def ds_cnn() -> tuple[nn.Sequential, Shape, int]:
    """Keyword spotting on 49 frames of 10 coefficients."""
    first = nn.Conv2d(1, 64, (10, 4), 2, (5, 1), bias=False)
    layers = [AddChannel(), *_normed(first, 64), nn.ReLU()]
    for _ in range(4):
        depthwise = nn.Conv2d(64, 64, 3, 1, 1, groups=64, bias=False)
        layers += [*_normed(depthwise, 64), nn.ReLU()]
        layers += [*_normed(nn.Conv2d(64, 64, 1, bias=False), 64), nn.ReLU()]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 12))
    return nn.Sequential(*layers, *head), (49, 10), 12


def resnet8() -> tuple[nn.Sequential, Shape, int]:
    """Colour pictures of 32x32."""

    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        body = [*_normed(first, outputs), nn.ReLU(), *_normed(second, outputs)]
        shortcut: nn.Sequential | nn.Identity = nn.Identity()
        if stride > 1:
            along = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            shortcut = nn.Sequential(*_normed(along, outputs))
        return [Residual(nn.Sequential(*body), shortcut), nn.ReLU()]

    first = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
    blocks = (*block(16, 16, 1), *block(16, 32, 2), *block(32, 64, 2))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return nn.Sequential(*_normed(first, 16), nn.ReLU(), *blocks, *head), (3, 32, 32), 10


def cnn1d() -> tuple[nn.Sequential, Shape, int]:
    """Windows of 128 samples of six channels."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((6, 32), (32, 64), (64, 64)):
        layers += [*_normed(nn.Conv1d(inputs, outputs, 5, 2, 2), outputs), nn.ReLU()]
    head = (nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 12))
    return nn.Sequential(*layers, *head), (6, 128), 12


NETS = {"ds-cnn": ds_cnn, "resnet8": resnet8, "cnn1d": cnn1d}


def step(method: str, name: str) -> Callable[[], None]:
    """One training step of `method`: compiled, onepass or hooks."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, shape, classes = NETS[name]()
    x, y = torch.rand(BATCH, *shape), torch.randint(0, classes, (BATCH,))
    program = Program.of(model, shape) if method == "compiled" else None
    assert program is not None or method != "compiled"
    parameters = [program.flat] if program else list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    if method == "hooks":
        criterion = nn.CrossEntropyLoss()
        model, optimizer, _ = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            criterion=criterion,
            data_loader=DataLoader(TensorDataset(x, y), batch_size=BATCH),
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            poisson_sampling=False,
        )

        def theirs() -> None:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()

        return theirs
    private = privatize(
        program or model,
        optimizer,
        Ledger(),
        budget=Budget(noise_multiplier=1.0),
        sample_rate=1.0,
        num_records=BATCH,
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
    )

    def ours() -> None:
        for batch in private.batches(1):
            private.classify(lambda i: (x[i], y[i]), batch)

    return ours


def run() -> dict[str, object]:
    """Ratios of time for each net and peer."""
    return {
        f"{name} against {peer}": measure.compare(step("compiled", name), step(peer, name))
        for name in NETS
        for peer in ("hooks", "onepass")
    }


if __name__ == "__main__":
    measure.show({"machine": measure.machine(), **run()})
