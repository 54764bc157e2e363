"""The local loop: what one device does in one round, plain to read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clients.job import Job
from clients.records import Records
from clients.seeds import generator
from privacy.ledger import Ledger
from privacy.training import privatize


@dataclass(frozen=True)
class Round:
    """What differs from round to round, and the client's own number."""

    number: int
    client: int
    learning_rate: float
    proximal: float = 0.0  # FedProx's mu


def train(
    model: nn.Module,
    records: Records,
    members: Tensor,
    job: Job,
    round_: Round,
    ledger: Ledger,
) -> float | None:
    """Train `model` in place on the client's own records for one round.

    Args:
        records: the data set, of which `members` int64 [n] are this client's to train on.
        ledger: of this client's data; charged step by step under `unit = "record"`.

    Returns:
        The mean training loss without a budget; under one it is not computed, since it would
        leave the device without noise.

    Raises:
        BudgetExhausted: the round would overspend; nothing was computed.
        ModelError: the model cannot be trained under the budget.
    """
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=round_.learning_rate, momentum=job.training.momentum
    )
    pull = _proximal_pull(model, round_.proximal)
    path = (round_.number, round_.client)
    sampling = generator(job.seed, "sampling", *path)

    def loss(batch: Tensor) -> Tensor:
        chosen = members[batch]
        logits = model(records.inputs(chosen))
        return F.cross_entropy(logits, records.y[chosen], reduction="none")

    if job.budget.unit != "record":
        total = 0.0
        for batch in _shuffled(len(members), job, sampling):
            optimizer.zero_grad()
            mean_loss = loss(batch).mean()
            mean_loss.backward()
            pull()
            optimizer.step()
            total += mean_loss.item()
        return total / job.training.local_steps if job.budget.unit == "none" else None

    private = privatize(
        model,
        optimizer,
        ledger,
        budget=job.budget,
        sample_rate=job.training.sample_rate,
        num_records=len(members),
        sampling=sampling,
        noise=generator(job.seed, "noise", *path),
        per_sample=job.training.per_sample,
        before_update=pull if round_.proximal else None,
    )
    try:
        for batch in private.batches(job.training.local_steps):
            private.step(loss, batch)
    finally:
        private.close()
    return None


def _shuffled(num: int, job: Job, sampling: torch.Generator) -> Iterator[Tensor]:
    """Batches of round(q n) records in shuffled order, shuffled anew when all have been seen."""
    size = min(num, max(1, round(job.training.sample_rate * num)))
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(job.training.local_steps):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(num, generator=sampling)])
        batch, order = order[:size], order[size:]
        yield batch


def _proximal_pull(model: nn.Module, mu: float) -> Callable[[], None]:
    """FedProx (Li et al. 2020): add mu (w - w_global) to the gradient. It knows no record."""
    start = [p.detach().clone() for p in model.parameters()] if mu else []

    def pull() -> None:
        for p, origin in zip(model.parameters(), start, strict=False):
            assert p.grad is not None
            p.grad.add_(p.detach() - origin, alpha=mu)

    return pull


@torch.no_grad()
def evaluate(model: nn.Module, records: Records, indices: Tensor) -> tuple[float, int]:
    """Summed cross-entropy, and the number of right answers, of `model` on some records."""
    model.eval()
    loss, correct = 0.0, 0
    for batch in indices.split(500):
        logits, y = model(records.inputs(batch)), records.y[batch]
        loss += float(F.cross_entropy(logits, y, reduction="sum"))
        correct += int((logits.argmax(1) == y).sum())
    return loss, correct
