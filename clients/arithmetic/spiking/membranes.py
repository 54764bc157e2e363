"""Kernels: membranes and spikes over time, and the way back, a record at a time, in the cache.

Nothing is kept for the way back but the currents: the neurons fire again, which costs less than to
write all their membranes down and to read them. So it is with spikes that are pooled by windows of
2x2, stride 1, before a convolution reads them: they are never written down. Images lie channels
last here, as torch's convolutions are fastest.

Shapes: B records, T steps, N neurons; of images N = H x W x C channels, a line W x C.
"""

import math
from typing import Any

import numpy as np

from privacy.compiling import compiled, compiling

FAST_SIGMOID, ARCTAN = 0, 1

# Divisors, which are never 0 here, are not looked at: the loop becomes vector instructions.
dividing: Any = compiling(error_model="numpy")


@dividing  # type: ignore[untyped-decorator]
def _fire(currents: Any, decay: Any, theta: Any, to_zero: bool, u: Any, s: Any) -> None:
    """Of one record: currents [T or 1, N] -> membranes u and spikes s, [T, N]."""
    one, zero, held = u.dtype.type(1), u.dtype.type(0), len(currents) == 1
    for t in range(len(u)):
        current, now, fired = currents[0 if held else t], u[t], s[t]
        if t == 0:
            for n in range(len(now)):
                now[n] = current[n]
        elif to_zero:
            before, spent = u[t - 1], s[t - 1]
            for n in range(len(now)):
                now[n] = decay * ((one - spent[n]) * before[n]) + current[n]
        else:
            before, spent = u[t - 1], s[t - 1]
            for n in range(len(now)):
                now[n] = decay * before[n] + current[n] - spent[n] * theta
        for n in range(len(now)):
            fired[n] = one if now[n] > theta else zero


@dividing  # type: ignore[untyped-decorator]
def _by_slope(u: Any, theta: Any, surrogate: int, slope: Any, g: Any) -> None:
    """g times the surrogate's derivative at membranes u, [N]; in the precision of u."""
    one = u.dtype.type(1)
    if surrogate == FAST_SIGMOID:
        for n in range(len(u)):
            away = one + slope * abs(u[n] - theta)
            g[n] *= one / (away * away)
    else:
        most, bend = slope / (one + one), one * (math.pi / 2) ** 2
        for n in range(len(u)):
            away = slope * (u[n] - theta)
            g[n] *= most / (one + away * away * bend)


@dividing  # type: ignore[untyped-decorator]
def _go_back(
    g: Any, u: Any, s: Any, decay: Any, theta: Any, to_zero: bool, surrogate: int, slope: Any,
    out: Any,
) -> None:  # fmt: skip
    """Of one record: gradients g of spikes [T, N], which become those of membranes -> of currents,
    added to out [T or 1, N]."""
    one, held = u.dtype.type(1), len(out) == 1
    for t in range(len(u) - 1, -1, -1):
        now, fired, into = g[t], s[t], out[0 if held else t]
        _by_slope(u[t], theta, surrogate, slope, now)
        if t + 1 < len(u):
            later = g[t + 1]
            for n in range(len(now)):
                kept = decay * (one - fired[n]) if to_zero else decay
                now[n] += kept * later[n]
        for n in range(len(now)):
            into[n] += now[n]


@compiled  # type: ignore[untyped-decorator]
def fire(currents: Any, decay: Any, theta: Any, to_zero: bool, out: Any) -> None:
    """Currents [B, T or 1, N] -> spikes, out [B, T, N]."""
    u = np.empty(out.shape[1:], out.dtype)
    for b in range(len(out)):
        _fire(currents[b], decay, theta, to_zero, u, out[b])


@compiled  # type: ignore[untyped-decorator]
def back(
    g: Any, currents: Any, decay: Any, theta: Any, to_zero: bool, surrogate: int, slope: Any,
    out: Any,
) -> None:  # fmt: skip
    """Gradients g of spikes [B, T, N] -> of currents, out [B, T or 1, N] of zeros."""
    u, s, own = np.empty_like(g[0]), np.empty_like(g[0]), np.empty_like(g[0])
    for b in range(len(g)):
        _fire(currents[b], decay, theta, to_zero, u, s)
        own[:] = g[b]
        _go_back(own, u, s, decay, theta, to_zero, surrogate, slope, out[b])


@dividing  # type: ignore[untyped-decorator]
def _pool(s: Any, height: int, line: int, channels: int, best: Any, out: Any) -> None:
    """Whether a neuron of a window fired: images s [H, line], flat -> out [H - 1, line - C], flat.

    All images are one row, with line + C zeros before and behind: windows that would wrap round an
    edge are computed too, in `best`, and left out.
    """
    ahead, short = line + channels, np.uint64(line - channels)
    own, right, below, across = s[ahead:], s[ahead + channels :], s[ahead + line :], s[2 * ahead :]
    for p in range(len(best)):
        best[p] = max(max(own[p], right[p]), max(below[p], across[p]))
    to = np.uint64(0)
    for row in range(len(best) // line):
        if (row + 1) % height:
            start = np.uint64(row * line)
            for j in range(short):
                out[to + j] = best[start + j]
            to += short


@dividing  # type: ignore[untyped-decorator]
def _unpool(g: Any, s: Any, height: int, line: int, channels: int, windows: Any, out: Any) -> None:
    """The gradient g of each window goes to its first neuron that fired, or to its first one.

    Images s as in `_pool`; so are the gradients put into `windows`: those that wrap have zeros.
    """
    one, at = s.dtype.type(1), np.uint64(0)
    ahead, short = line + channels, np.uint64(line - channels)
    windows[:] = 0
    for row in range(len(out) // line):
        if (row + 1) % height:
            start = np.uint64(row * line + ahead)
            for j in range(short):
                windows[start + j] = g[at + j]
            at += short
    own, right, below, across = s[ahead:], s[ahead + channels :], s[ahead + line :], s[2 * ahead :]
    left, above, above_right = s[line:], s[channels:], s[2 * channels :]
    g_own, g_left, g_above = windows[ahead:], windows[line:], windows[channels:]
    for p in range(len(out)):
        by_left, by_above = one - left[p], one - above[p]
        nobody = (one - own[p]) * (one - right[p]) * (one - below[p]) * (one - across[p])
        total = g_own[p] * (own[p] + nobody)
        total += g_left[p] * own[p] * by_left
        total += g_above[p] * own[p] * by_above * (one - above_right[p])
        out[p] = total + windows[p] * own[p] * by_left * by_above * (one - s[p])


@compiled  # type: ignore[untyped-decorator]
def fire_pooled(currents: Any, decay: Any, theta: Any, to_zero: bool, out: Any) -> None:
    """Currents [B, T or 1, H, W, C] -> largest spikes of windows, out [B, T, H - 1, W - 1, C]."""
    height, line, channels = currents.shape[2], currents.shape[3] * out.shape[4], out.shape[4]
    ahead = line + channels
    u = np.empty((out.shape[1], height * line), out.dtype)
    s, best = np.zeros(u.size + 2 * ahead, out.dtype), np.empty(u.size, out.dtype)
    inside = s[ahead : ahead + u.size].reshape(u.shape)
    for b in range(len(out)):
        _fire(currents[b].reshape(-1, height * line), decay, theta, to_zero, u, inside)
        _pool(s, height, line, channels, best, out[b].reshape(out[b].size))


@compiled  # type: ignore[untyped-decorator]
def back_pooled(
    g: Any, currents: Any, decay: Any, theta: Any, to_zero: bool, surrogate: int, slope: Any,
    out: Any,
) -> None:  # fmt: skip
    """As `back`, of gradients g of pooled spikes -> of currents, out like them, of zeros."""
    height, line, channels = currents.shape[2], currents.shape[3] * g.shape[4], g.shape[4]
    ahead = line + channels
    u = np.empty((g.shape[1], height * line), g.dtype)
    s, own = np.zeros(u.size + 2 * ahead, g.dtype), np.empty_like(u)
    windows, inside = np.empty_like(s), s[ahead : ahead + u.size].reshape(u.shape)
    for b in range(len(g)):
        _fire(currents[b].reshape(-1, height * line), decay, theta, to_zero, u, inside)
        _unpool(g[b].reshape(g[b].size), s, height, line, channels, windows, own.reshape(own.size))
        into = out[b].reshape(-1, height * line)
        _go_back(own, u, inside, decay, theta, to_zero, surrogate, slope, into)
