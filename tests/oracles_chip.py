"""Slow, obvious models for clients.chip: registers that shift, and loops counted one by one."""

import itertools

import numpy as np


def systolic(a, b, rows, columns, stationary):
    """Multiply a [m, k] by b [k, n] on a simulated array; returns the product and the cycles.

    Every register of every element is shifted every cycle. Unused elements hold zeros, and take
    part in the timing as they do in hardware.
    """
    m, k = a.shape
    n = b.shape[1]
    product, clock = np.zeros((m, n)), 0
    if stationary == "inputs":  # the same array with the operands' parts exchanged
        out, cycles = systolic(b.T, a.T, rows, columns, "weights")
        return out.T, cycles
    if stationary == "outputs":
        for i, j in itertools.product(range(0, m, rows), range(0, n, columns)):
            left = _pad(a[i : i + rows], rows, k)
            top = _pad(b[:, j : j + columns].T, columns, k)
            sums, cycles = _outputs_stay(left, top)
            product[i : i + rows, j : j + columns] = sums[: m - i, : n - j]
            clock += cycles
    else:
        for i, j in itertools.product(range(0, k, rows), range(0, n, columns)):
            held = np.zeros((rows, columns))
            part = b[i : i + rows, j : j + columns]
            held[: part.shape[0], : part.shape[1]] = part
            stream = _pad(a[:, i : i + rows].T, rows, m)
            sums, cycles = _weights_stay(held, stream)
            product[:, j : j + columns] += sums[:, : n - j]
            clock += cycles
    return product, clock


def _pad(operand, count, length):
    padded = np.zeros((count, length))
    padded[: operand.shape[0]] = operand
    return padded


def _outputs_stay(left, top):
    rows, depth = left.shape
    columns = len(top)
    across, down = np.zeros((rows, columns)), np.zeros((rows, columns))
    seen = np.full((rows, columns), -1)  # which of the `depth` operands is in an element
    index = np.full((rows, columns), -1)
    sums, cycle = np.zeros((rows, columns)), 0
    while (seen < depth - 1).any():
        across[:, 1:], index[:, 1:] = across[:, :-1].copy(), index[:, :-1].copy()
        down[1:] = down[:-1].copy()
        for r in range(rows):
            t = cycle - r
            across[r, 0], index[r, 0] = (left[r, t], t) if 0 <= t < depth else (0, -1)
        for c in range(columns):
            t = cycle - c
            down[0, c] = top[c, t] if 0 <= t < depth else 0
        live = index >= 0
        sums += np.where(live, across * down, 0)
        seen = np.where(live, index, seen)
        cycle += 1
    return sums, cycle


def _weights_stay(held, stream):
    rows, columns = held.shape
    length = stream.shape[1]
    weights, cycle = np.zeros((rows, columns)), 0
    for r in reversed(range(rows)):  # shifted in from the top, the last row first
        weights[1:] = weights[:-1].copy()
        weights[0] = held[r]
        cycle += 1
    across, down = np.zeros((rows, columns)), np.zeros((rows, columns))
    out, taken, start = np.zeros((length, columns)), 0, cycle
    while taken < length * columns:
        across[:, 1:] = across[:, :-1].copy()
        passed = np.vstack([np.zeros(columns), down[:-1].copy()])
        for r in range(rows):
            t = cycle - start - r
            across[r, 0] = stream[r, t] if 0 <= t < length else 0
        down = passed + across * weights
        for c in range(columns):
            t = cycle - start - (rows - 1) - c
            if 0 <= t < length:
                out[t, c] = down[-1, c]
                taken += 1
        cycle += 1
    return out, cycle


def walk(nest):
    """(products, distinct inputs that are no padding, outputs, weights) of a nest, loop by loop.

    Padding is taken to lie at the end of rows and columns: their number is what counts.
    """
    real = (nest.height - nest.padding[0], nest.width - nest.padding[1])
    products, inputs, outputs, weights = 0, set(), set(), set()
    for n, g, f, p, q in itertools.product(
        *map(range, (nest.batch, nest.groups, nest.filters, nest.rows, nest.columns))
    ):
        outputs.add((n, g, f, p, q))
        for c, r, s in itertools.product(
            *map(range, (nest.channels, nest.kernel_rows, nest.kernel_columns))
        ):
            products += 1
            weights.add((g, f, c, r, s))
            y = p * nest.stride[0] + r * nest.dilation[0]
            x = q * nest.stride[1] + s * nest.dilation[1]
            if y < real[0] and x < real[1]:
                inputs.add((n, g, c, y, x))
    return products, len(inputs), len(outputs), len(weights)


def live_words(network):
    """The most words alive at once: what no planner can go under."""
    last = {}
    for index, layer in enumerate(network.layers):
        for source in layer.inputs:
            last[source] = index
    worst = 0
    for index, layer in enumerate(network.layers):
        alive = layer.size
        for source in range(-1, index):
            if last.get(source, -2) >= index:
                alive += network.layers[source].size if source >= 0 else network.input_size
        worst = max(worst, alive)
    return worst


def dense_events(spikes, outputs):
    """Spikes [T, I] -> synapses that they reach and neurons that one reaches, a pair a step."""
    found = []
    for step in spikes:
        at = [(i, o) for i, s in enumerate(step) if s for o in range(outputs)]
        found.append((len(at), len({o for _, o in at})))
    return found


def window_events(spikes, filters, size, stride, pad):
    """As `dense_events`, of spikes [T, C, H, W] under windows that `filters` neurons look through;
    0 filters: one for each channel, which sees that channel alone."""
    found = []
    for step in spikes:
        rows, columns = ((n + 2 * pad - size) // stride + 1 for n in step.shape[1:])
        events, reached = 0, set()
        for c, y, x in np.argwhere(step):
            for j, i in itertools.product(range(rows), range(columns)):
                inside = 0 <= y + pad - j * stride < size and 0 <= x + pad - i * stride < size
                for f in range(filters or 1) if inside else ():
                    events += 1
                    reached.add((f if filters else c, j, i))
        found.append((events, len(reached)))
    return found
