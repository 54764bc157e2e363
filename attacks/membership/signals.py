"""What a model says about one record: the raw material of every membership attack.

Shapes: N records, C classes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.tape import Floats, Sample, Weights

BLOCK = 1000  # records a forward pass
LEAST_LOSS = 1e-12  # below which all are alike


def scaled_logit(logits_NC: Tensor, y_N: Tensor) -> Tensor:
    """log p_y / (1 - p_y) [..., N] from logits [..., N, C] (Carlini et al. 2022, section IV-C).

    Loss, confidence and this are functions of one another; this one is nearly normal over models,
    and loses nothing where p_y is close to 1.
    """
    index = y_N.expand(logits_NC.shape[:-1]).unsqueeze(-1)
    own = logits_NC.gather(-1, index).squeeze(-1)
    others = logits_NC.scatter(-1, index, -torch.inf)
    return own - others.logsumexp(-1)


def signal(outputs: Tensor, targets: Tensor, sample: Sample) -> Tensor:
    """What is looked at, of each record [B]; larger for smaller losses, under any task.

    With exp(-loss) for p_y it is the scaled logit: -log(exp(loss) - 1).
    """
    if sample.task == "classes":
        return scaled_logit(outputs, targets)
    loss = sample.loss(outputs, targets).double().clamp(min=LEAST_LOSS)
    return (-loss - torch.log(-torch.expm1(-loss))).float()


def confidence(phi: NDArray) -> NDArray:
    """p_y from the scaled logit."""
    return 1 / (1 + np.exp(-np.clip(phi.astype(np.float64), -80, 80)))


def load(model: nn.Module, weights: Weights) -> nn.Module:
    """`model` with these weights in it, in evaluation mode."""
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
    return model.eval()


@torch.no_grad()
def observe(model: nn.Module, sample: Sample) -> Floats:
    """The signal of each record, float32 [N]."""
    pieces = []
    for i in torch.arange(len(sample)).split(BLOCK):
        x = sample.inputs(i)
        pieces.append(signal(model(x), sample.targets(i, x), sample))
    return torch.cat(pieces).float().numpy()


@torch.no_grad()
def predict(model: nn.Module, sample: Sample) -> Tensor:
    """Outputs [N, K]."""
    return torch.cat([model(sample.inputs(i)) for i in torch.arange(len(sample)).split(BLOCK)])


@torch.no_grad()
def losses(model: nn.Module, sample: Sample) -> NDArray[np.float64]:
    """The loss of each record [N]."""
    pieces = []
    for i in torch.arange(len(sample)).split(BLOCK):
        x = sample.inputs(i)
        pieces.append(sample.loss(model(x), sample.targets(i, x)))
    return torch.cat(pieces).double().numpy()
