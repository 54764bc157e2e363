"""A generator that learns what a class looks like from models alone (Hitaj et al. 2017).

The shared model is the discriminator: the generator makes images that it takes for the target
class, which only the victim holds. A malicious client also trains the model to call those images
*fake*, so that the victim's next update must tell more of what sets its own images apart.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NOISE = 48  # numbers that an image is made from


class Generator(nn.Module):
    """Noise [B, NOISE] -> images [B, H, W] or [B, C, H, W] in [0, 1]; sides are multiples of 4."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.low = (shape[-2] // 4, shape[-1] // 4)
        channels = shape[0] if len(shape) == 3 else 1
        self.dense = nn.Linear(NOISE, 32 * self.low[0] * self.low[1])
        self.layers = nn.Sequential(
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.ConvTranspose2d(16, channels, 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Make images."""
        images: Tensor = self.layers(self.dense(z).view(-1, 32, *self.low))
        return images.view(len(z), *self.shape)


class Spy:
    """One adversary's generator, and how it learns from the models that it gets to see.

    Args:
        shape: of the images.
        target: the class to be imitated.
    """

    def __init__(self, shape: tuple[int, ...], target: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = Generator(shape)
        self._target = target
        self._noise = torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.Adam(self.generator.parameters(), lr=2e-3, betas=(0.5, 0.999))

    def learn(self, discriminator: nn.Module, steps: int = 30, batch: int = 64) -> None:
        """Make images that `discriminator` takes for the target; it stays as it is."""
        discriminator.eval()
        self.generator.train()
        target = torch.full((batch,), self._target)
        for _ in range(steps):
            images = self.generator(torch.randn(batch, NOISE, generator=self._noise))
            loss = F.cross_entropy(discriminator(images), target)
            self._optimizer.zero_grad()
            gradients = torch.autograd.grad(loss, list(self.generator.parameters()))
            for p, g in zip(self.generator.parameters(), gradients, strict=True):
                p.grad = g
            self._optimizer.step()

    @torch.no_grad()
    def images(self, num: int) -> Tensor:
        """What it makes by now [num, *shape]."""
        self.generator.eval()
        made: Tensor = self.generator(torch.randn(num, NOISE, generator=self._noise))
        return made
