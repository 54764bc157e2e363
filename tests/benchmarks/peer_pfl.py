"""The peer of `federation_pfl`: pfl's simulation of the same clients, in a process of its own.

Plain SGD on the devices, central DP (clipping and Gaussian noise on the updates), one thread: less
work than a clipped gradient for each record. The devices evaluate nothing. Prints the seconds of
each central iteration.
"""

import json
import sys
import time

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism
from torch import nn


class Net(nn.Sequential):
    """The net of Opacus's MNIST example, with what pfl asks of a module."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1),
            nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1),
            nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip

    def loss(self, x: torch.Tensor, y: torch.Tensor, is_eval: bool = False) -> torch.Tensor:
        self.train(not is_eval)
        return nn.functional.cross_entropy(self(x), y)

    @torch.no_grad()
    def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, Weighted]:
        return {"loss": Weighted(float(self.loss(x, y, True)) * len(y), len(y))}


class Clock(TrainingProcessCallback):
    """When each iteration ended."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        self.times.append(time.perf_counter())
        return False, Metrics()


def main(data: str, clients: int, cohort: int, batch: int, rounds: int) -> None:
    torch.set_num_threads(1)
    arrays = np.load(data)
    x = torch.from_numpy(arrays["train_x"]).float().div_(255).unsqueeze(1)
    y = torch.from_numpy(arrays["train_y"]).long()
    size = len(x) // clients

    def device(user: int) -> PyTorchTensorDataset:
        mine = slice(user * size, (user + 1) * size)
        return PyTorchTensorDataset([x[mine], y[mine]])

    def dataset() -> FederatedDataset:
        return FederatedDataset(device, get_user_sampler("random", range(clients)))

    module = Net()
    model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0))
    mechanism = CentrallyAppliedPrivacyMechanism(GaussianMechanism(1.0, 1.0))
    clock = Clock()
    FederatedAveraging().run(
        NNAlgorithmParams(rounds, 10**9, cohort, None),
        SimulatedBackend(dataset(), dataset(), [mechanism]),
        model,
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=0.25, local_batch_size=batch),
        callbacks=[clock],
    )
    print(json.dumps(np.diff(clock.times).tolist()))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
