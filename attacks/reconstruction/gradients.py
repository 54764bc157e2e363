"""Each record's own gradient, of many records at once, in a form that can be derived again.

`torch.func` gives all of them in one pass. A model is asked record by record where it cannot be
mapped over records (functions with a backward pass of their own, values that decide), or comes out
otherwise: of attention torch 2.3 maps a wrong second derivative.

Shapes: B records, P numbers in all trained parameters.
"""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from attacks.tape import Loss
from privacy.errors import ModelError

CLOSE = 1e-3  # of the largest number: so near does a pass over many come to one over each


class Gradients:
    """Gradients of a model's loss.

    Attributes:
        together: one pass gives those of all records.
        size: P
    """

    def __init__(self, model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> None:
        """Find out, on records x [B, ...] with targets y [B, ...], whether one pass does it.

        Args:
            model: differentiable twice, but for attention, which is seen to here.

        Raises:
            ModelError: its gradient has no derivative.
        """
        self._model, self._loss = _derivable(model), loss
        self._named = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        self.size = sum(p.numel() for p in self._named.values())
        self.together = self._agree(x[:2].detach(), y[:2])

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Of records x [B, ...] with targets y [B, ...]: [B, P], a function of x."""
        with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
            return self._of_all(self._model, x, y) if self.together else self._of_each(x, y)

    def flat(self, named: Mapping[str, Tensor]) -> Tensor:
        """Numbers by parameter, in the order of a gradient's: [P]."""
        return torch.cat([named[name].flatten() for name in self._named])

    def _of_all(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        def one(parameters: dict[str, Tensor], record: Tensor, target: Tensor) -> Tensor:
            outputs = functional_call(model, parameters, (record[None],))
            return self._loss(outputs, target[None]).sum()

        with warnings.catch_warnings():  # an LSTM goes record by record, which torch regrets
            warnings.filterwarnings("ignore", "There is a performance drop")
            found = vmap(grad(one), (None, 0, 0))(self._named, x, y)
        return torch.cat([g.flatten(1) for g in found.values()], 1)

    def _of_each(self, x: Tensor, y: Tensor) -> Tensor:
        found = []
        for i in range(len(x)):
            error = self._loss(self._model(x[i : i + 1]), y[i : i + 1]).sum()
            each = torch.autograd.grad(
                error, list(self._named.values()), create_graph=True, materialize_grads=True
            )
            found.append(torch.cat([g.flatten() for g in each]))
        return torch.stack(found)

    def _agree(self, x: Tensor, y: Tensor) -> bool:
        """Are the gradients of one pass, and their derivatives, those of each record alone?"""
        told: list[tuple[Tensor, Tensor]] = []
        for ask in (self._of_each, lambda *some: self._of_all(copy.deepcopy(self._model), *some)):
            read = x.clone().requires_grad_()
            try:
                with sdpa_kernel(SDPBackend.MATH):
                    found = ask(read, y)
                    (slope,) = torch.autograd.grad(found.square().sum(), [read])
            except RuntimeError as error:
                if told:
                    return False
                reason = str(error).partition("\n")[0]
                raise ModelError(f"the model's gradient has no derivative ({reason})") from error
            told.append((found.detach(), slope))
        return all(
            torch.allclose(alone, many, rtol=0, atol=CLOSE * float(alone.abs().max()))
            for alone, many in zip(*told, strict=True)
        )


def _derivable(model: nn.Module) -> nn.Module:
    """A copy whose recurrent layers are given a first state: the one they make is no record's."""

    def begin(cells: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        assert isinstance(cells, nn.RNNBase)
        if len(given) != 1 or given[0].dim() != 3 or cells.proj_size:
            return None
        layers = cells.num_layers * (1 + cells.bidirectional)
        records = given[0].shape[0 if cells.batch_first else 1]
        state = given[0].new_zeros(layers, records, cells.hidden_size)
        return given[0], (state, state) if isinstance(cells, nn.LSTM) else state

    twin = copy.deepcopy(model)
    for layer in twin.modules():
        if isinstance(layer, nn.RNNBase):
            layer.register_forward_pre_hook(begin)
    return twin
