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

from clients.arithmetic.dice import compiled
from clients.arithmetic.settings import Arithmetic
from clients.seeds import inlined

FAST_SIGMOID, ARCTAN = 0, 1
SURROGATES = {"fast-sigmoid": FAST_SIGMOID, "arctan": ARCTAN}


@compiled  # type: ignore[untyped-decorator]
def _fire(currents: Any, decay: Any, theta: Any, to_zero: bool, u: Any, s: Any) -> None:
    """Currents [B, T or 1, N] -> membranes u and spikes s, [B, T, N]."""
    one, held = currents.dtype.type(1), currents.shape[1] == 1
    for b in range(u.shape[0]):
        for t in range(u.shape[1]):
            current, now, fired = currents[b, 0 if held else t], u[b, t], s[b, t]
            if t == 0:
                for n in range(len(now)):
                    now[n] = current[n]
            elif to_zero:
                before, spent = u[b, t - 1], s[b, t - 1]
                for n in range(len(now)):
                    now[n] = decay * ((one - spent[n]) * before[n]) + current[n]
            else:
                before, spent = u[b, t - 1], s[b, t - 1]
                for n in range(len(now)):
                    now[n] = decay * before[n] + current[n] - spent[n] * theta
            for n in range(len(now)):
                fired[n] = one if now[n] > theta else one - one


@inlined  # type: ignore[untyped-decorator]
def _steepness(x: Any, surrogate: int, slope: Any, one: Any) -> Any:
    """A surrogate's derivative at x, in the precision of x."""
    if surrogate == FAST_SIGMOID:
        away = one + slope * abs(x)
        return one / (away * away)
    away = slope * x
    return slope * (one / (one + one)) / (one + away * away * (one * (math.pi / 2) ** 2))


@compiled  # type: ignore[untyped-decorator]
def _go_back(
    g: Any, u: Any, decay: Any, theta: Any, to_zero: bool, surrogate: int, slope: Any, out: Any
) -> None:
    """Gradients g of spikes [B, T, N] -> of currents, out [B, T or 1, N] of zeros."""
    one, held = out.dtype.type(1), out.shape[1] == 1
    for b in range(u.shape[0]):
        later = out[b, 0] * (one - one)  # of the membrane, from the steps after
        for t in range(u.shape[1] - 1, -1, -1):
            now, from_spike, into = u[b, t], g[b, t], out[b, 0 if held else t]
            for n in range(len(now)):
                x = now[n] - theta
                kept = one - one if to_zero and x > 0 else decay
                later[n] = from_spike[n] * _steepness(x, surrogate, slope, one) + kept * later[n]
                into[n] += later[n]


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

    def fire(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Membranes and spikes, [B, T, N]."""
        i_BTN = self._flat(current.detach()).contiguous()
        u = i_BTN.new_empty(len(i_BTN), self.steps, i_BTN.shape[2])
        s, number = torch.empty_like(u), u.numpy().dtype.type
        decay, theta = number(self.decay), number(self.theta)
        _fire(i_BTN.numpy(), decay, theta, self.to_zero, u.numpy(), s.numpy())
        return u, s

    def back(self, g: Tensor, u: Tensor) -> Tensor:
        """Gradients of spikes [B, T, N] at membranes u -> of currents, [B, T or 1, N]."""
        out = u.new_zeros(len(u), 1 if self.held else self.steps, u.shape[2])
        number = u.numpy().dtype.type
        _go_back(
            g.contiguous().numpy(),
            u.numpy(),
            number(self.decay),
            number(self.theta),
            self.to_zero,
            self.surrogate,
            number(self.slope),
            out.numpy(),
        )
        return out

    def back_twice(self, g: Tensor, current: Tensor) -> Tensor:
        """As `back`, of expressions of torch, for gradients of gradients."""
        g_BTN, later = g.flatten(2), torch.zeros(())
        u, spent, membranes = torch.zeros(()), torch.zeros(()), []
        for i_BN in self._flat(current).expand(-1, self.steps, -1).unbind(1):
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
        return back.sum(1, keepdim=True) if self.held else back

    def _flat(self, current: Tensor) -> Tensor:
        shape = current.shape[1 if self.held else 2 :]
        return current.reshape(len(current), 1 if self.held else self.steps, math.prod(shape))

    def extra_repr(self) -> str:
        """As torch prints its own."""
        return f"steps={self.steps}, decay={self.decay}, threshold={self.theta}"


class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, neurons: Neurons) -> Tensor:
        u, s = neurons.fire(current)
        ctx.save_for_backward(current, u)
        ctx.neurons = neurons
        return s.view(len(u), neurons.steps, *current.shape[1 if neurons.held else 2 :])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        current, u = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants the gradient of this gradient
            return ctx.neurons.back_twice(g, current).view(current.shape), None
        return ctx.neurons.back(g.flatten(2), u).view(current.shape), None
