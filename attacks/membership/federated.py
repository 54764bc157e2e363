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
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.membership.signals import load, observe
from attacks.tape import Sample, Weights

RIDGE = 0.03  # of the regression on unit gradients
FEW = 16  # updates read at a time
FEW_CLIENTS = 3  # with fewer there are no others to compare one with

Scores = NDArray[np.float64]


@torch.no_grad()
def readable(model: nn.Module, x: Tensor) -> list[str]:
    """Dense layers that read each record once, as numbers in a row.

    Elsewhere, over the steps of a sequence say, a per-sample gradient is no outer product.
    """
    dense = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    shapes: dict[str, list[int]] = {name: [] for name in dense}

    def tap(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, inputs, output: shapes[name].append(inputs[0].dim())

    handles = [m.register_forward_hook(tap(n)) for n, m in dense.items()]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    return [name for name, dims in shapes.items() if dims == [2]]


class Candidates:
    """Records whose gradients are held against updates, and what is the same in every round."""

    def __init__(self, sample: Sample, indices: Tensor) -> None:
        x, y = sample.inputs(indices), sample.y[indices]
        self.sample = replace(
            sample, inputs=lambda i: x[i], y=y, originals=lambda i: sample.originals(indices[i])
        )
        self.x, self.y = x, sample.targets(indices, x)
        self._products: dict[str, tuple[Tensor, Tensor]] = {}

    def products(self, name: str, a_NI: Tensor) -> Tensor:
        """Scalar products of all pairs of a layer's inputs [N, N]; a first layer's stay."""
        known = self._products.get(name)
        if known is None or not torch.equal(known[0], a_NI):
            known = self._products[name] = (a_NI, a_NI @ a_NI.t())
        return known[1]


@dataclass(frozen=True, eq=False)
class Reading:
    """The candidates' gradients at the global weights of one round, ready to read updates with.

    Per-sample gradients of dense layers, kept as the outer products that they are.

    Attributes:
        names: of the dense layers.
        a: inputs of each layer, with a column of ones where it has a bias [N, I + 1].
        d: gradients of each layer's outputs [N, O].
    """

    candidates: Candidates
    names: list[str]
    a: list[Tensor]
    d: list[Tensor]

    @classmethod
    def of(cls, model: nn.Module, candidates: Candidates) -> "Reading":
        """Gradients of the loss for the candidates, at the model's weights."""
        modules = dict(model.named_modules())
        dense = {n: modules[n] for n in readable(model, candidates.x[:1])}
        seen: dict[str, tuple[Tensor, Tensor]] = {}

        def tap(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            return lambda _, inputs, output: seen.update({name: (inputs[0].detach(), output)})

        handles = [m.register_forward_hook(tap(n)) for n, m in dense.items()]
        try:
            with torch.enable_grad():
                outputs = model(candidates.x.detach().requires_grad_())
                loss = candidates.sample.loss(outputs, candidates.y).sum()
                slopes = torch.autograd.grad(loss, [output for _, output in seen.values()])
        finally:
            for handle in handles:
                handle.remove()
        ones = torch.ones(len(candidates.y), 1)
        a = [
            torch.cat([inputs, ones], 1) if dense[name].bias is not None else inputs
            for name, (inputs, _) in seen.items()
        ]
        return cls(candidates, list(seen), a, [g.detach() for g in slopes])

    @cached_property
    def norms(self) -> Tensor:
        """L2 norms of the gradients [N]."""
        layers = zip(self.a, self.d, strict=True)
        squared = [a.square().sum(1) * d.square().sum(1) for a, d in layers]
        return torch.stack(squared).sum(0).sqrt() + 1e-12

    @cached_property
    def gram(self) -> Tensor:
        """Cosines of all pairs of gradients [N, N]."""
        num = len(self.norms)
        total = torch.zeros(num, num)
        for name, a, d in zip(self.names, self.a, self.d, strict=True):
            total.addcmul_(self.candidates.products(name, a), d @ d.t())
        return total.div_(self.norms).div_(self.norms.unsqueeze(1))

    @cached_property
    def _root(self) -> Tensor:
        """The Cholesky factor of the regression."""
        return torch.linalg.cholesky(self.gram + RIDGE * torch.eye(len(self.norms)))

    def cosines(self, changes: Sequence[Weights]) -> Tensor:
        """Cosine of each change of weights with each candidate's gradient [C, N]."""
        return torch.cat([self._cosines(changes[i : i + FEW]) for i in range(0, len(changes), FEW)])

    def coefficients(self, cosines_CN: Tensor) -> Tensor:
        """Each change, scaled to one, as a sum of all candidates' unit gradients [C, N]."""
        return torch.cholesky_solve(cosines_CN.t(), self._root).t()

    def coefficient(self, change: Weights) -> Scores:
        """`coefficients` of one change [N]."""
        return self.coefficients(self.cosines([change]))[0].double().numpy()

    def of_clients(
        self, model: nn.Module, before: Weights, after: Sequence[Weights]
    ) -> dict[str, Scores]:
        """What the clients' updates say of the candidates: scores [C, N] by kind of reading.

        Args:
            before: the global weights that were sent.
            after: the weights that each client released.
        """
        cosines = self.cosines([difference(before, w) for w in after])
        local = np.stack([observe(load(model, w), self.candidates.sample) for w in after])
        found = {
            "cosine": cosines.double().numpy(),
            "coefficient": self.coefficients(cosines).double().numpy(),
            "local_model": local.astype(np.float64),
        }
        if len(after) >= FEW_CLIENTS:
            found |= {f"{name}_z": standardise(rows) for name, rows in list(found.items())}
        return found

    def _cosines(self, changes: Sequence[Weights]) -> Tensor:
        num = len(changes)
        total, squared = torch.zeros(num, len(self.norms)), torch.zeros(num, 1)
        for name, a, d in zip(self.names, self.a, self.d, strict=True):
            rows = torch.stack([_matrix(change, name) for change in changes])
            against = (a @ rows.flatten(0, 1).t()).view(len(a), num, -1)
            total += (against * d.unsqueeze(1)).sum(2).t()
            squared += rows.square().sum((1, 2)).unsqueeze(1)
        return total / self.norms / squared.clamp(min=1e-24).sqrt()


def _matrix(change: Weights, name: str) -> Tensor:
    """A dense layer's weights, and its bias as one column more [O, I + 1]."""
    matrix = torch.from_numpy(np.asarray(change[f"{name}.weight"]))
    if f"{name}.bias" not in change:
        return matrix
    return torch.cat([matrix, torch.from_numpy(np.asarray(change[f"{name}.bias"]))[:, None]], 1)


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
