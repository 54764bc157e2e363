"""What is pruned is no part of a record's norm, nor of the sum: on every way of clipping."""

import copy

import pytest
import torch
from torch import Tensor, nn

from privacy.cipher import Key
from privacy.dp.budget import Budget
from privacy.dp.compiled import Program
from privacy.dp.ledger import Ledger
from privacy.dp.training import privatize

CLIP, NUM = 0.3, 40
NETS = {
    "dense": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 7, bias=False), nn.Tanh(),
        nn.Linear(7, 3),
    ),
    "planes": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    ),
    "last": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ),
}  # fmt: skip


def given(name: str) -> tuple[nn.Sequential, list[Tensor], Tensor, Tensor]:
    """A net, masks of its weights and of no bias, records and labels; some are far too large."""
    torch.manual_seed(3)
    model = NETS[name]()
    kept = [
        (torch.rand_like(p) < 0.3).float() if p.dim() > 1 else torch.ones_like(p)
        for p in model.parameters()
    ]
    with torch.no_grad():
        for p, one in zip(model.parameters(), kept, strict=True):
            p.mul_(one)
    x = torch.randn(NUM, 1, 8, 8) * torch.logspace(-1, 3, NUM).view(-1, 1, 1, 1)
    return model, kept, x, torch.arange(NUM) % 3


def slow(model: nn.Module, kept: list[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    """The sum of the records' gradients, each without what is pruned, clipped: one by one."""
    model = copy.deepcopy(model).double()
    total = [torch.zeros_like(p) for p in model.parameters()]
    for one, label in zip(x.double(), y, strict=True):
        loss = nn.functional.cross_entropy(model(one[None]), label[None])
        found = torch.autograd.grad(loss, list(model.parameters()))
        left = [g * k for g, k in zip(found, kept, strict=True)]
        norm = float(sum(g.square().sum() for g in left) ** 0.5)
        for t, g in zip(total, left, strict=True):
            t += g * min(1.0, CLIP / norm)
    return total


def stepped(
    per_sample: str, model: nn.Sequential, kept: list[Tensor] | None, x: Tensor, y: Tensor
) -> list[Tensor]:
    """The sum that a step without noise takes off the weights."""
    model = copy.deepcopy(model)
    before = [p.detach().clone() for p in model.parameters()]
    program = Program.of(model, tuple(x.shape[1:])) if per_sample == "compiled" else None
    trained = list(model.parameters()) if program is None else [program.flat]
    masks = {}
    if kept is not None:
        own = kept if program is None else [torch.cat([k.flatten() for k in kept])]
        masks = dict(zip(trained, own, strict=True))
    private = privatize(
        program or model,
        torch.optim.SGD(trained, lr=1.0),
        Ledger(),
        budget=Budget(noise_multiplier=0.0, clip=CLIP),
        sample_rate=1.0,
        num_records=len(x),
        sampling=Key.of("batches", 1),
        noise=Key.of("noise", 2),
        per_sample="hooks" if per_sample == "hooks" else "onepass",
        kept=masks,
    )
    for batch in private.batches(1):
        private.classify(lambda piece: (x[piece], y[piece]), batch)
    private.close()
    pairs = zip(before, model.parameters(), strict=True)
    return [(old - p.detach()).double() * len(x) for old, p in pairs]


@pytest.mark.parametrize("per_sample", ["compiled", "onepass", "hooks"])
@pytest.mark.parametrize("name", NETS)
def test_a_record_is_clipped_by_what_is_left_of_its_gradient(name: str, per_sample: str) -> None:
    model, kept, x, y = given(name)
    wanted = slow(model, kept, x, y)
    found = stepped(per_sample, model, kept, x, y)
    dense = stepped(per_sample, model, None, x, y)
    for f, w, k in zip(found, wanted, kept, strict=True):
        assert not f[k == 0].any()
        assert torch.allclose(f, w, rtol=1e-2, atol=2e-3 * CLIP)
    apart = sum(float(((d - w) * k).norm()) for d, w, k in zip(dense, wanted, kept, strict=True))
    assert apart > CLIP  # were the whole gradient clipped, the sums would show it


@pytest.mark.parametrize("per_sample", ["compiled", "onepass", "hooks"])
def test_no_record_moves_the_sum_by_more_than_the_clip(per_sample: str) -> None:
    model, kept, x, y = given("dense")
    all_of_them = stepped(per_sample, model, kept, x, y)
    for one in (0, NUM - 1):
        rest = [i for i in range(NUM) if i != one]
        others = stepped(per_sample, model, kept, x[rest], y[rest])
        moved = [a - b for a, b in zip(all_of_them, others, strict=True)]
        assert float(sum(m.square().sum() for m in moved)) ** 0.5 < CLIP * 1.001
