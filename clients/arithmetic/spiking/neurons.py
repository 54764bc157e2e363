"""Leaky integrate-and-fire neurons, and surrogates for the derivative of a spike.

With I the current into a neuron and theta its threshold,

    u[t] = decay u[t-1] + I[t] - theta s[t-1]      reset by subtraction, or
    u[t] = decay (1 - s[t-1]) u[t-1] + I[t]        reset to zero;
    s[t] = 1 if u[t] > theta else 0

(Eshraghian et al., "Training spiking neural networks using lessons from deep learning", Proc. of
the IEEE 2023). On the way back s has a surrogate derivative at x = u - theta, and the reset none:

    fast-sigmoid   1 / (1 + slope |x|)^2                    Zenke and Ganguli 2018
    arctan         slope / 2 / (1 + (pi / 2 slope x)^2)     Fang et al. 2021

Shapes: B records, T steps, N neurons.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from clients.arithmetic.settings import Arithmetic
from clients.arithmetic.spiking import membranes
from clients.arithmetic.spiking.membranes import ARCTAN, FAST_SIGMOID

SURROGATES = {"fast-sigmoid": FAST_SIGMOID, "arctan": ARCTAN}


class Neurons(nn.Module):
    """Neurons that fire; in the place of an activation.

    Attributes:
        steps: T.
        held: the current has no axis of time: it is the same at every step.
    """

    def __init__(self, settings: Arithmetic) -> None:
        super().__init__()
        self.steps, self.decay, self.theta = settings.time_steps, settings.decay, settings.threshold
        self.to_zero = settings.reset == "zero"
        self.surrogate, self.slope = SURROGATES[settings.surrogate], settings.slope
        self.held = False

    def forward(self, current: Tensor) -> Tensor:
        """Currents [B, T, ...], or held ones [B, ...] -> spikes, 0 or 1, [B, T, ...]."""
        spikes: Tensor = _Spikes.apply(current, self)
        return spikes

    def pooled(self, current: Tensor) -> Tensor:
        """As `forward` of float32 [B, T, C, H, W] or [B, C, H, W], and the largest of windows 2x2,
        stride 1: [B, T, C, H - 1, W - 1]."""
        largest: Tensor = _Pooled.apply(current, self)
        return largest

    def fire(self, current: Tensor) -> Tensor:
        """Spikes, [B, T, N]."""
        i_BTN = self._flat(current)
        s = i_BTN.new_empty(len(i_BTN), self.steps, i_BTN.shape[2])
        membranes.fire(i_BTN.numpy(), *self._leak(i_BTN), s.numpy())
        return s

    def back(self, g: Tensor, current: Tensor) -> Tensor:
        """Gradients of spikes [B, T, ...] -> of currents, like them."""
        i_BTN = self._flat(current)
        out, g_BTN = torch.zeros_like(i_BTN), g.flatten(2).contiguous().numpy()
        seen = (g_BTN, i_BTN.numpy(), *self._leak(i_BTN), *self._surrogate(i_BTN))
        membranes.back(*seen, out.numpy())
        return out.view(current.shape)

    def fire_pooled(self, current: Tensor) -> Tensor:
        """As `pooled`, the channels last in memory."""
        images = self._images(current)
        height, width, channels = images.shape[2:]
        out = images.new_empty(len(images), self.steps, height - 1, width - 1, channels)
        membranes.fire_pooled(images.numpy(), *self._leak(images), out.numpy())
        return out.movedim(-1, -3)

    def back_pooled(self, g: Tensor, current: Tensor) -> Tensor:
        """As `back`, of gradients of pooled spikes."""
        images, g = self._images(current), g.movedim(-3, -1).contiguous()
        out = torch.zeros_like(images)
        seen = (g.numpy(), images.numpy(), *self._leak(images), *self._surrogate(images))
        membranes.back_pooled(*seen, out.numpy())
        return out.movedim(-1, -3).reshape(current.shape)

    def back_twice(self, g: Tensor, current: Tensor) -> Tensor:
        """As `back`, of expressions of torch, for gradients of gradients."""
        g_BTN, later = g.flatten(2), torch.zeros(())
        u, spent, membranes = torch.zeros(()), torch.zeros(()), []
        for i_BN in self._in_time(current).expand(-1, self.steps, -1).unbind(1):
            u = self.decay * ((1 - spent) * u if self.to_zero else u) + i_BN
            u = u if self.to_zero else u - spent * self.theta
            spent = (u.detach() > self.theta).to(u.dtype)
            membranes.append(u)
        found = []
        for t in reversed(range(self.steps)):
            x = membranes[t] - self.theta
            kept = self.decay * (x.detach() <= 0).to(x.dtype) if self.to_zero else self.decay
            if self.surrogate == FAST_SIGMOID:
                steepness = (1 + self.slope * x.abs()).pow(-2)
            else:
                steepness = self.slope / 2 / (1 + (math.pi / 2 * self.slope * x).square())
            later = g_BTN[:, t] * steepness + kept * later
            found.append(later)
        back = torch.stack(found[::-1], 1)
        return (back.sum(1, keepdim=True) if self.held else back).view(current.shape)

    def _record(self, current: Tensor) -> torch.Size:
        """The shape of one record's currents at one step."""
        return current.shape[1 if self.held else 2 :]

    def _in_time(self, current: Tensor) -> Tensor:
        """[B, T or 1, N]"""
        steps = 1 if self.held else self.steps
        return current.reshape(len(current), steps, math.prod(self._record(current)))

    def _flat(self, current: Tensor) -> Tensor:
        return self._in_time(current.detach()).contiguous()

    def _images(self, current: Tensor) -> Tensor:
        """[B, T or 1, H, W, C]"""
        images = current.detach().movedim(-3, -1)
        return (images.unsqueeze(1) if self.held else images).contiguous()

    def _leak(self, like: Tensor) -> tuple[Any, Any, bool]:
        """What membranes are made by, in the precision of a tensor."""
        number = like.numpy().dtype.type
        return number(self.decay), number(self.theta), self.to_zero

    def _surrogate(self, like: Tensor) -> tuple[int, Any]:
        return self.surrogate, like.numpy().dtype.type(self.slope)

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"steps={self.steps}, decay={self.decay}, threshold={self.theta}"


class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, neurons: Neurons) -> Tensor:
        ctx.save_for_backward(current)
        ctx.neurons = neurons
        spikes = neurons.fire(current)
        return spikes.view(len(spikes), neurons.steps, *neurons._record(current))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (current,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants the gradient of this gradient
            return ctx.neurons.back_twice(g, current), None
        return ctx.neurons.back(g, current), None


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, neurons: Neurons) -> Tensor:
        ctx.save_for_backward(current)
        ctx.neurons = neurons
        return neurons.fire_pooled(current)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (current,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            s = ctx.neurons(current.detach()).requires_grad_()
            largest = nn.functional.max_pool2d(s.flatten(0, 1), 2, 1).view(g.shape)
            (g,) = torch.autograd.grad(largest, s, g, create_graph=True)
            return ctx.neurons.back_twice(g, current), None
        return ctx.neurons.back_pooled(g, current), None
