"""What a server reads from updates: whose record is in which update.

To first order an update is a weighted sum of the gradients of the client's records, taken at the
global weights that the server itself sent. A record that was trained on therefore has a share in
the update. Three readings of it: the cosine of the update with the record's gradient; the record's
*coefficient* when the update is written as a sum of all candidates' gradients, which takes out what
similar records explain (ridge regression, in the candidates' Gram matrix); and what the client's
own local model says of the record, compared with the other clients' (all three as z-scores over
clients, summed over rounds: Zhu et al. 2024, FedMIA).

Only dense layers are read: their per-sample gradients are outer products, so a Gram matrix needs
none of them. Shapes: N candidates, C clients, I inputs, O outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.signals import load, observe
from attacks.tape import Sample, Weights

RIDGE = 0.03  # of the regression on unit gradients
FEW_CLIENTS = 3  # with fewer there are no others to compare one with

Scores = NDArray[np.float64]


def reads(model: nn.Module) -> bool:
    """Has the model a dense layer?"""
    return any(isinstance(m, nn.Linear) for m in model.modules())


@dataclass(frozen=True, eq=False)
class Reading:
    """The candidates' gradients at the global weights of one round, ready to read updates with.

    Per-sample gradients of dense layers, kept as the outer products that they are.

    Attributes:
        sample, indices: the candidates.
        names: of the dense layers.
        a: inputs of each layer, with a column of ones where it has a bias [N, I + 1].
        d: gradients of each layer's outputs [N, O].
    """

    sample: Sample
    indices: Tensor
    names: list[str]
    a: list[Tensor]
    d: list[Tensor]

    @classmethod
    def of(cls, model: nn.Module, sample: Sample, indices: Tensor) -> "Reading":
        """Gradients of cross-entropy for the records `indices`, at the model's weights."""
        dense = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        seen: dict[str, tuple[Tensor, Tensor]] = {}

        def tap(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            return lambda _, inputs, output: seen.update({name: (inputs[0].detach(), output)})

        handles = [m.register_forward_hook(tap(n)) for n, m in dense.items()]
        try:
            with torch.enable_grad():
                logits = model(sample.inputs(indices).requires_grad_())
                loss = F.cross_entropy(logits, sample.y[indices], reduction="sum")
                slopes = torch.autograd.grad(loss, [output for _, output in seen.values()])
        finally:
            for handle in handles:
                handle.remove()
        ones = torch.ones(len(indices), 1)
        a = [
            torch.cat([inputs, ones], 1) if dense[name].bias is not None else inputs
            for name, (inputs, _) in seen.items()
        ]
        return cls(sample, indices, list(seen), a, [g.detach() for g in slopes])

    @cached_property
    def norms(self) -> Tensor:
        """L2 norms of the gradients [N]."""
        layers = zip(self.a, self.d, strict=True)
        squared = [a.square().sum(1) * d.square().sum(1) for a, d in layers]
        return torch.stack(squared).sum(0).sqrt() + 1e-12

    @cached_property
    def gram(self) -> Tensor:
        """Cosines of all pairs of gradients [N, N]."""
        total = torch.zeros(len(self.indices), len(self.indices))
        for a, d in zip(self.a, self.d, strict=True):
            total.addcmul_(a @ a.t(), d @ d.t())
        return total.div_(self.norms).div_(self.norms.unsqueeze(1))

    @cached_property
    def _root(self) -> Tensor:
        """The Cholesky factor of the regression."""
        return torch.linalg.cholesky(self.gram + RIDGE * torch.eye(len(self.indices)))

    def cosines(self, changes: Sequence[Weights]) -> Scores:
        """Cosine of each change of weights with each candidate's gradient [C, N]."""
        return torch.stack([self._cosine(change) for change in changes]).double().numpy()

    def coefficients(self, changes: Sequence[Weights]) -> Scores:
        """Each change, scaled to one, as a sum of all candidates' unit gradients [C, N]."""
        right = torch.stack([self._cosine(change) for change in changes], 1)
        return torch.cholesky_solve(right, self._root).t().double().numpy()

    def of_clients(
        self, model: nn.Module, before: Weights, after: Sequence[Weights]
    ) -> dict[str, Scores]:
        """What the clients' updates say of the candidates: scores [C, N] by kind of reading.

        Args:
            before: the global weights that were sent.
            after: the weights that each client released.
        """
        changes = [difference(before, w) for w in after]
        chosen = Sample(
            lambda i: self.sample.inputs(self.indices[i]),
            self.sample.y[self.indices],
            self.sample.images,
        )
        local = np.stack([observe(load(model, w), chosen) for w in after])
        found = {
            "cosine": self.cosines(changes),
            "coefficient": self.coefficients(changes),
            "local_model": local.astype(np.float64),
        }
        if len(after) >= FEW_CLIENTS:
            found |= {f"{name}_z": standardise(rows) for name, rows in list(found.items())}
        return found

    def _cosine(self, change: Weights) -> Tensor:
        total, squared = torch.zeros(len(self.indices)), 0.0
        for name, a, d in zip(self.names, self.a, self.d, strict=True):
            matrix = torch.from_numpy(np.asarray(change[f"{name}.weight"]))
            if f"{name}.bias" in change:
                bias = torch.from_numpy(np.asarray(change[f"{name}.bias"]))
                matrix = torch.cat([matrix, bias.unsqueeze(1)], 1)
            total += ((a @ matrix.t()) * d).sum(1)
            squared += float(matrix.square().sum())
        return total / self.norms / max(squared, 1e-24) ** 0.5


def difference(before: Weights, after: Weights) -> Weights:
    """The descent that leads from `before` to `after`: along a sum of gradients."""
    return {name: before[name] - after[name] for name in before}


def without(total: Weights, part: Weights, share: float) -> Weights:
    """A mean of changes, without the one that made `share` of it."""
    return {name: total[name] - share * part[name] for name in total}


def standardise(readings_CN: Scores) -> Scores:
    """Each client's reading against the mean and the spread of the others' for the same record."""
    num = len(readings_CN)
    mean = (readings_CN.sum(0) - readings_CN) / (num - 1)
    squares = (np.square(readings_CN).sum(0) - np.square(readings_CN)) / (num - 1)
    variance = np.maximum(squares - np.square(mean), 0)
    # Few clients do not tell the spread of one record: half of it is that of all.
    return (readings_CN - mean) / np.sqrt(variance + variance.mean() + 1e-24)
