"""Shadow models: what the run's model would have been, had it been trained on other records.

Stacks of dense layers are trained together, K models in each matrix product, without or with DP-SGD
under the run's own budget. A dense layer's per-sample norm is |x|^2 |g|^2 (Goodfellow 2015), so
clipping needs no per-sample gradient. A convnet, or other arithmetic than float, goes through
`Tape.fit`: the run's own code.

Shapes: K models, B records in a batch, I inputs, O outputs, N candidates, R snapshots.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.membership.batches import batches
from attacks.membership.signals import BLOCK, load, observe, signal
from attacks.tape import Bools, Floats, Loss, Recipe, Sample, Tape, Weights, cross_entropy

THIN = 32  # outputs of a first layer for which reading a record costs more than its products


@dataclass(frozen=True, eq=False)
class Shadows:
    """Shadow models, as far as an attack looks at them.

    Attributes:
        member: bool [K, N], which candidates each was trained on. Models 2i and 2i + 1 share the
            pool between them, so every candidate is in half of the models.
        phi: signals of the candidates, float32 [K, R, N]; the last snapshot is the end.
    """

    member: Bools
    phi: Floats

    def __len__(self) -> int:
        return len(self.member)

    def arrays(self) -> Weights:
        """As named arrays, to be kept."""
        return {"member": self.member.astype(np.uint8), "phi": self.phi}

    @classmethod
    def join(cls, parts: Sequence["Shadows"]) -> "Shadows":
        """All models of several groups."""
        return cls(
            np.concatenate([p.member for p in parts]).astype(bool),
            np.concatenate([p.phi for p in parts]),
        )


def split_pool(owner: NDArray, num_models: int, seed: int, unit: NDArray | None = None) -> Bools:
    """bool [K, N]: each client's records halved at random, a half for each model of a pair.

    Args:
        unit: int [N]: rows with one value, a person's, go into one half.
    """
    rng = np.random.default_rng(seed)
    member = np.zeros((num_models, len(owner)), dtype=bool)
    for client in np.unique(owner):
        mine = np.flatnonzero(owner == client)
        own = mine if unit is None else np.unique(unit[mine])
        for k in range(0, num_models, 2):
            order = rng.permutation(own)
            half = (len(own) + rng.integers(2)) // 2 if len(own) > 1 else 1
            for model, part in zip((k, k + 1), (order[:half], order[half:]), strict=True):
                if model < num_models:
                    member[model, part if unit is None else mine[np.isin(unit[mine], part)]] = True
    return member


def train_shadows(tape: Tape, num_models: int, seed: int) -> Shadows:
    """Train `num_models` shadows by the fastest way that the model allows."""
    member = split_pool(tape.shares, num_models, seed, tape.person if tape.whole else None)
    seeds = [seed * 1000 + k for k in range(num_models)]
    models = [tape.build(s) for s in seeds]
    rounds = tape.snapshots()
    if tape.recipe.plain and is_dense(models[0]):
        stack = Stack.of(models)
        parts = [
            [torch.from_numpy(np.flatnonzero(row & (tape.shares == c))) for row in member]
            for c in range(int(tape.shares.max()) + 1)
        ]
        generator = torch.Generator().manual_seed(seed)
        steps = train_stack(stack, tape.pool, parts, tape.recipe, generator)
        return Shadows(
            member, np.stack([stack.observe(tape.pool) for r in steps if r in rounds], 1)
        )
    phi = [
        np.stack([observe(load(model, weights), tape.pool) for weights in snapshots])
        for model, snapshots in zip(models, tape.fit(member, seeds, rounds), strict=True)
    ]
    return Shadows(member, np.stack(phi))


# ---- many dense models at once


def is_dense(model: nn.Module) -> bool:
    """Is it flatten, then dense layers with activations between that own no parameter?

    By exact type: a subclass may compute something else.
    """
    if type(model) is not nn.Sequential:
        return False
    layers = [m for m in model if list(m.parameters())]
    plain = all(not list(m.buffers()) and not list(m.children()) for m in model)
    return plain and all(type(m) is nn.Linear for m in layers) and type(model[0]) is nn.Flatten


class Stack:
    """K dense models of one shape. Weights [K, O, I] and biases [K, O], layer after layer."""

    def __init__(
        self, weights: list[Tensor], names: list[str], activations: list[list[nn.Module]]
    ) -> None:
        self.weights = weights
        self.names = names
        self._activations = activations  # after each dense layer
        self._biased = [f"{n.rpartition('.')[0]}.bias" in names for n in names if "weight" in n]

    @classmethod
    def of(cls, models: Sequence[nn.Module]) -> "Stack":
        """Stack models for which `is_dense` holds."""
        states = [m.state_dict() for m in models]
        names = list(states[0])
        model = models[0]
        assert isinstance(model, nn.Sequential)
        dense = [i for i, m in enumerate(model) if isinstance(m, nn.Linear)] + [len(model)]
        activations = [list(model[a + 1 : b]) for a, b in pairwise(dense)]
        return cls([torch.stack([s[n] for s in states]) for n in names], names, activations)

    def unstack(self) -> list[Weights]:
        """The weights of each model."""
        pairs = list(zip(self.names, self.weights, strict=True))
        return [{n: w[k].numpy().copy() for n, w in pairs} for k in range(len(self.weights[0]))]

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The inputs x and outputs z of each dense layer, [K, B, .], from x [K, B, I] or, one
        batch for all models, [B, I]. The last output is the logits."""
        inputs, outputs = [], []
        weights = iter(self.weights)
        for biased, activations in zip(self._biased, self._activations, strict=True):
            w_KOI = next(weights)
            if x.dim() == 2:
                z = (x @ w_KOI.flatten(0, 1).t()).view(len(x), *w_KOI.shape[:2]).transpose(0, 1)
                z = z + next(weights).unsqueeze(1) if biased else z
            elif biased:
                z = torch.baddbmm(next(weights).unsqueeze(1), x, w_KOI.transpose(1, 2))
            else:
                z = torch.bmm(x, w_KOI.transpose(1, 2))
            inputs.append(x)
            outputs.append(z if z.requires_grad else z.requires_grad_(torch.is_grad_enabled()))
            x = outputs[-1]
            for activation in activations:
                x = activation(x)
        return inputs, outputs

    def gradients(
        self,
        x: Tensor,
        y_KB: Tensor,
        factor: Callable[[Tensor], Tensor],
        loss_of: Loss = cross_entropy,
    ) -> list[Tensor]:
        """Weighted sums over the batch of each model's per-sample gradients of the loss.

        Args:
            x: as for `forward`.
            y_KB: labels [K, B], or targets [K, B, .].
            factor: weights [K, B] from the per-sample gradient norms [K, B].
        """
        with torch.enable_grad():
            inputs, outputs = self.forward(x)
            loss = loss_of(outputs[-1].flatten(0, 1), y_KB.flatten(0, 1)).sum()
            slopes = torch.autograd.grad(loss, outputs)
        layers = list(zip(inputs, slopes, self._biased, strict=True))
        squared = sum((_squared(x.detach()) + biased) * _squared(g) for x, g, biased in layers)
        assert isinstance(squared, Tensor)
        c_KB = factor(squared.sqrt())
        sums = []
        for x, g, biased in layers:
            weighted = g * c_KB.unsqueeze(-1)
            sums.append(_weight_sum(weighted, x.detach()))
            if biased:
                sums.append(weighted.sum(1))
        return sums

    @torch.no_grad()
    def observe(self, sample: Sample) -> Floats:
        """The signal of every record under every model, [K, N]."""
        pieces = []
        for i in torch.arange(len(sample)).split(BLOCK):
            x = sample.inputs(i).flatten(1)
            outputs_KBO, y = self.forward(x)[1][-1], sample.targets(i, x)
            told = [signal(outputs, y, sample) for outputs in outputs_KBO]
            pieces.append(torch.stack(told))
        return torch.cat(pieces, 1).numpy()


def _weight_sum(g_KBO: Tensor, x: Tensor) -> Tensor:
    """Sum over the batch of the outer products of g and x [K, B, I] or [B, I]: [K, O, I]."""
    if x.dim() == 3:
        return torch.bmm(g_KBO.transpose(1, 2), x)
    return (g_KBO.transpose(1, 2).flatten(0, 1) @ x).view(len(g_KBO), -1, x.shape[-1])


def _squared(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=-1).square()


def train_stack(
    stack: Stack,
    sample: Sample,
    parts: Sequence[Sequence[Tensor]],
    recipe: Recipe,
    generator: torch.Generator,
) -> Iterator[int]:
    """Run the whole federation for K models at once, in place; yield the number of each round.

    Args:
        parts: for each client, the records [n] that each of the K models has there.
    """
    pace = [torch.zeros_like(w) for w in stack.weights]  # the server's momentum
    for number, (cohort, rate) in enumerate(
        zip(recipe.cohorts, recipe.learning_rates, strict=True), start=1
    ):
        start = [w.clone() for w in stack.weights]
        sizes = torch.tensor([[float(len(p)) for p in parts[c]] for c in cohort])
        mean = [torch.zeros_like(w) for w in start]
        for share_K, client in zip(sizes / sizes.sum(0).clamp(min=1), cohort, strict=True):
            for w, origin in zip(stack.weights, start, strict=True):
                w.copy_(origin)
            _train_client(stack, sample, parts[client], recipe, rate, generator)
            for total, w in zip(mean, stack.weights, strict=True):
                total.add_(w * share_K.view(-1, *[1] * (w.dim() - 1)))
        for w, origin, after, velocity in zip(stack.weights, start, mean, pace, strict=True):
            velocity.mul_(recipe.server_momentum).add_(origin - after)
            torch.sub(origin, velocity, alpha=recipe.server_learning_rate, out=w)
        yield number


def _train_client(
    stack: Stack,
    sample: Sample,
    part: Sequence[Tensor],
    recipe: Recipe,
    rate: float,
    generator: torch.Generator,
) -> None:
    """`local_steps` steps of SGD or DP-SGD of every model on its own records of one client."""
    # A client may have no record in some model: its share there is 0, and has to stay finite.
    sizes = torch.tensor([len(p) for p in part]).clamp(min=1)
    sigma, clip = recipe.noise_multiplier, recipe.clip
    private = sigma is not None
    velocity = [torch.zeros_like(w) for w in stack.weights]
    for records, kept_KB in batches(
        part, recipe, generator, shared=stack.weights[0].shape[1] <= THIN
    ):
        flat = sample.inputs(records.flatten()).flatten(1)
        x = flat.view(*records.shape, flat.shape[1])
        y = sample.targets(records.flatten(), flat)
        y_KB = y.view(*records.shape, *y.shape[1:]).expand(*kept_KB.shape, *y.shape[1:])
        expected = recipe.sample_rate * sizes if private else kept_KB.sum(1).clamp(min=1)
        share_KB = kept_KB / expected.unsqueeze(1)

        def factor(norms_KB: Tensor, share_KB: Tensor = share_KB) -> Tensor:
            return share_KB * (clip / (norms_KB + 1e-6)).clamp(max=1.0) if private else share_KB

        gradients = stack.gradients(x, y_KB, factor, sample.loss)
        if recipe.gradient_norm and not private:
            _shorten(gradients, recipe.gradient_norm)
        for w, v, g in zip(stack.weights, velocity, gradients, strict=True):
            if sigma:
                scale = (sigma * clip / expected).view(-1, *[1] * (w.dim() - 1))
                g.addcmul_(torch.empty_like(g).normal_(generator=generator), scale)
            v.mul_(recipe.momentum).add_(g)
            w.sub_(v, alpha=rate)


def _shorten(gradients: list[Tensor], most: float) -> None:
    """Each model's gradient of the batch to a norm of at most `most`, as torch clips it."""
    norms_K = sum(g.flatten(1).square().sum(1) for g in gradients)
    assert isinstance(norms_K, Tensor)
    factor_K = (most / (norms_K.sqrt() + 1e-6)).clamp(max=1.0)
    for g in gradients:
        g.mul_(factor_K.view(-1, *[1] * (g.dim() - 1)))
