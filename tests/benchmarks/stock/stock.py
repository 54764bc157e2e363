"""DP-SGD in a federation, as the documentation of Flower and of Opacus has it.

Each round, each client wraps its model by `PrivacyEngine.make_private` and trains for one epoch of
Poisson batches. The server averages, and evaluates on the whole test set. The job `linear` is
logistic regression by plain SGD, on shuffled batches.
"""

import json
import time
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")
client = ClientApp()
server = ServerApp()


def net(job: str) -> nn.Module:
    """The net of Opacus's MNIST example, or none but a dense layer."""
    if job == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, padding=3), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.MaxPool2d(2, 1),
        nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


@lru_cache
def load(path: str, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels, once a process."""
    arrays = np.load(path)
    x = torch.from_numpy(arrays[f"{part}_x"]).float().div_(255).unsqueeze(1)
    return x, torch.from_numpy(arrays[f"{part}_y"]).long()


@client.train()
def train(message: Message, context) -> Message:
    config = context.run_config
    x, y = load(config["data"], "train")
    num = len(x) // config["clients"]
    start = context.node_config["partition-id"] * num
    private = config["job"] == "private"
    loader = DataLoader(
        TensorDataset(x[start : start + num], y[start : start + num]),
        batch_size=config["batch"],
        shuffle=not private,
    )
    trained = model = net(config["job"])
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25 if private else 0.03)
    if private:
        trained, optimizer, loader = PrivacyEngine().make_private(
            module=model, optimizer=optimizer, data_loader=loader, noise_multiplier=1.0,
            max_grad_norm=1.0,
        )  # fmt: skip
    trained.train()
    criterion = nn.CrossEntropyLoss()
    for images, labels in loader:
        optimizer.zero_grad()
        criterion(trained(images), labels).backward()
        optimizer.step()
    metrics = MetricRecord({"num-examples": num})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@server.main()
def main(grid, context) -> None:
    config = context.run_config
    x, y = load(config["data"], "test")
    model, times = net(config["job"]), []

    @torch.no_grad()
    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        began = time.time()
        model.load_state_dict(arrays.to_torch_state_dict())
        correct = sum(
            int((model(a).argmax(1) == b).sum())
            for a, b in zip(x.split(500), y.split(500), strict=True)
        )
        times.append({"began": began, "ended": time.time(), "accuracy": correct / len(y)})
        return MetricRecord({"accuracy": correct / len(y)})

    strategy = FedAvg(
        fraction_train=config["cohort"] / config["clients"],
        min_train_nodes=config["cohort"],
        min_available_nodes=config["clients"],
        fraction_evaluate=0.0,
    )
    torch.manual_seed(0)
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(net(config["job"]).state_dict()),
        train_config=ConfigRecord(),
        num_rounds=config["rounds"],
        evaluate_fn=evaluate,
    )
    part = Path(config["result"] + ".part")
    part.write_text(json.dumps(times))
    part.rename(config["result"])
