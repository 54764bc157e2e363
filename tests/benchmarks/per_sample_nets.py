"""The compiled step against Opacus's three ways and book-keeping by autograd, on nets of the field.

One DP-SGD step (forward, backward, clip, noise, update) on the same net, batch and thread, as in
`per_sample`. `ds-cnn` and `resnet8` are MLPerf Tiny's, with GroupNorm for BatchNorm. Opacus clips
by hooks, by functorch or by ghost norms; `onepass`, our own path for layers without kernels, is the
book-keeping of Bu et al. 2022, which fast-dp implements.
"""

import warnings
from collections.abc import Callable

import measure
import torch
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from clients.models import Model
from clients.protocol import Form
from clients.training.net import build
from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.compiled import Program
from privacy.dp.ledger import Ledger
from privacy.dp.training import privatize

BATCH = 256
OPACUS = ("hooks", "functorch", "ghost")


# Inputs, and one of 12 or 10 classes: 49 frames of 10 bands, a colour picture, and a window of six
# channels; the last net is one that a watch holds, with strides for pooling.
NETS: dict[str, Callable[[], tuple[nn.Module, Form]]] = {
    "ds-cnn": lambda: _ready("ds-cnn", Form((10, 49), 12)),
    "resnet8": lambda: _ready("resnet8", Form((3, 32, 32), 10)),
    "cnn1d": lambda: _ready("cnn1d", Form((6, 128), 12, "window")),
    "cnn1d-small": lambda: _small_cnn1d(Form((6, 128), 12, "window")),
}


def _ready(name: str, form: Form) -> tuple[nn.Module, Form]:
    return build(Model(name=name), form), form


def _small_cnn1d(form: Form) -> tuple[nn.Module, Form]:
    layers: list[nn.Module] = []
    for inputs, outputs in ((6, 32), (32, 64), (64, 64)):
        layers += [nn.Conv1d(inputs, outputs, 5, 2, 2), nn.GroupNorm(4, outputs), nn.ReLU()]
    head = (nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, form.outputs))
    return nn.Sequential(*layers, *head), form


def step(method: str, name: str) -> Callable[[], None]:
    """One training step of `method`: compiled, onepass, or Opacus's hooks, functorch or ghost."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, form = NETS[name]()
    x, y = torch.rand(BATCH, *form.shape), torch.randint(0, form.outputs, (BATCH,))
    program = Program.of(model, form.shape) if method == "compiled" else None
    assert program is not None or method != "compiled"
    parameters = [program.flat] if program else list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    if method in OPACUS:
        return opacus_step(method, model, optimizer, x, y)
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


def opacus_step(
    method: str, model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> Callable[[], None]:
    """A step of Opacus, as its documentation has it."""
    criterion = nn.CrossEntropyLoss()
    made = PrivacyEngine().make_private(
        module=model,
        optimizer=optimizer,
        criterion=criterion,
        data_loader=DataLoader(TensorDataset(x, y), batch_size=BATCH),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        poisson_sampling=False,
        grad_sample_mode=method,
    )
    model, optimizer = made[:2]
    criterion = made[2] if method == "ghost" else criterion

    def theirs() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return theirs


def run() -> dict[str, object]:
    """Ratios of time for each net and peer."""
    peers = {way: f"Opacus {way}" for way in OPACUS} | {"onepass": "one pass by autograd"}
    return {
        f"compiled step against {told}: {name}, batch {BATCH}": measure.compare(
            step("compiled", name), step(peer, name)
        )
        for name in NETS
        for peer, told in peers.items()
    }


if __name__ == "__main__":
    measure.show({"machine": measure.machine(), **run()})
