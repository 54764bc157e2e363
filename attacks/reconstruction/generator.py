"""A generator that learns what a class looks like from models alone.

The shared models of all rounds are the discriminator, as in Hitaj et al. 2017: images are sought
that they take for the target class, which only the victim holds. A network that makes images of
noise falls into one of them; here each is a sample of a posterior. The prior is a normal one on the
principal axes of the adversary's own records, of other classes (Tipping and Bishop 1999), and a
sample is what has the least loss near to a draw of the prior (randomize, then optimize: Bardsley et
al. 2014), so as many draws as there are, as many images; a prior that no model moves shows as such.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AXES = 100  # of the prior
TRUST = 1000.0  # records that a model's word on one image is worth, beside the prior
RATE, STEPS = 0.1, 45  # of the search; both of Adam
NOISE, SHIFT = 0.1, 2  # of the images that models are shown: a deviation, and pixels


class Spy:
    """One adversary's generator, and the models that it gets to see.

    Args:
        own: the adversary's records [N, *shape], in [0, 1]: none is of the target class.
        target: the class to be imitated.
    """

    def __init__(self, own: Tensor, target: int, seed: int) -> None:
        self._own, self._target, self._seed = own, target, seed
        self._models: list[nn.Module] = []
        rows = own.flatten(1)
        self._mean = rows.mean(0)
        _, values, axes = torch.linalg.svd(rows - self._mean, full_matrices=False)
        deviations = (values[:AXES] / len(rows) ** 0.5).clamp(min=1e-6)
        self._axes = axes[:AXES] * deviations[:, None]
        self._coordinates = (rows - self._mean) @ (axes[:AXES] / deviations[:, None]).T

    def see(self, model: nn.Module) -> None:
        """A model that classifies records, one class among which is the target; a copy is kept."""
        self._models.append(copy.deepcopy(model).eval())

    def images(self, num: int, steps: int = STEPS) -> Tensor:
        """Images [num, *shape] that models of the later half of rounds take for the target."""
        generator = torch.Generator().manual_seed(self._seed)
        started = self._coordinates[self.origins(num)]
        found = started.clone().requires_grad_()
        optimizer = torch.optim.Adam([found], RATE, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        asked = self._models[len(self._models) // 2 :]
        target = torch.full((num,), self._target)
        for step in range(steps):
            shown = _disturbed(self._made(found), generator)
            loss = TRUST * F.cross_entropy(asked[step % len(asked)](shown), target, reduction="sum")
            loss = loss + 0.5 * (found - started).square().sum()
            (found.grad,) = torch.autograd.grad(loss, [found])
            optimizer.step()
            schedule.step()
        return self._inked(self._made(found.detach()))

    def origins(self, num: int) -> Tensor:
        """Of the adversary's own records, those that each image is drawn near to: int64 [num]."""
        order = torch.randperm(len(self._own), generator=torch.Generator().manual_seed(self._seed))
        return order.repeat(-(-num // len(order)))[:num]

    def _made(self, coordinates: Tensor) -> Tensor:
        return (self._mean + coordinates @ self._axes).view(-1, *self._own.shape[1:]).clamp(0, 1)

    def _inked(self, images: Tensor) -> Tensor:
        """The same, with as much black, grey and white as all of the adversary's records have."""
        values = self._own.flatten().sort().values
        places = torch.linspace(0, len(values) - 1, images.numel()).long()
        inked = torch.empty(images.numel())
        inked[images.flatten().argsort()] = values[places]
        return inked.view_as(images)


def _disturbed(images: Tensor, generator: torch.Generator) -> Tensor:
    """As models are shown images, so that none is liked for a few pixels (Zhao et al. 2020)."""
    down, right = (int(n) for n in torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator))
    rows, columns = images.shape[-2:]
    wide = F.pad(images, (SHIFT,) * 4)[..., SHIFT - down :, SHIFT - right :]
    return wide[..., :rows, :columns] + NOISE * torch.randn(images.shape, generator=generator)
