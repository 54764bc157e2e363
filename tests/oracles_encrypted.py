"""Slow, obvious references for encrypted inference, and small nets to try it on."""

import numpy as np

from privacy.encrypted.net import Convolution, Dense, Net


def logits(net, image):
    """A net on one image, pixel by pixel; centred, as the encrypted logits are."""
    pool = net.pool
    height, width = net.shape[0] // pool, net.shape[1] // pool
    pooled = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            pooled[i, j] = image[i * pool : (i + 1) * pool, j * pool : (j + 1) * pool].mean()
    x = pooled.ravel()
    for number, layer in enumerate(net.layers):
        if number:
            x = x * x
        if isinstance(layer, Convolution):
            k, out = layer.weight.shape[1], []
            for kernel, bias in zip(layer.weight, layer.bias, strict=True):
                for i in range(0, height - k + 1, layer.stride):
                    for j in range(0, width - k + 1, layer.stride):
                        out.append((kernel * pooled[i : i + k, j : j + k]).sum() + bias)
            x = np.array(out)
        else:
            x = np.array([row @ x + b for row, b in zip(layer.weight, layer.bias, strict=True)])
    return x - x.mean()


def perceptron(rng, shape, widths, pool=1):
    """Random weights of the size that training leaves."""
    inputs = (shape[0] // pool) * (shape[1] // pool)
    layers = []
    for outputs in widths:
        weight = rng.normal(0, inputs**-0.5, (outputs, inputs))
        layers.append(Dense(weight, rng.normal(0, 0.1, outputs)))
        inputs = outputs
    return Net(shape, pool, tuple(layers))


def convnet(rng, shape, channels, kernel, stride, widths):
    """As `perceptron`, behind a convolution."""
    windows = ((shape[0] - kernel) // stride + 1) * ((shape[1] - kernel) // stride + 1)
    first = Convolution(
        rng.normal(0, 1 / kernel, (channels, kernel, kernel)), rng.normal(0, 0.1, channels), stride
    )
    inputs = channels * windows
    layers = []
    for outputs in widths:
        weight = rng.normal(0, inputs**-0.5, (outputs, inputs))
        layers.append(Dense(weight, rng.normal(0, 0.1, outputs)))
        inputs = outputs
    return Net(shape, 1, (first, *layers))


def values(coefficients, root, p):
    """A polynomial at odd powers of a root, in the order that SEAL gives them; whole numbers."""
    degree, found = len(coefficients), []
    bits = degree.bit_length() - 1
    for place in range(degree):
        reverse = int(format(place, f"0{bits}b")[::-1], 2)
        x, total = pow(root, 2 * reverse + 1, p), 0
        for coefficient in reversed(coefficients):
            total = (total * x + int(coefficient)) % p
        found.append(total)
    return found


def ring_product(a, b):
    """Two polynomials multiplied modulo X^N + 1, coefficient by coefficient."""
    degree = len(a)
    found = [0] * degree
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            sign = 1 if i + j < degree else -1
            found[(i + j) % degree] += sign * int(x) * int(y)
    return found


def automorphism(a, element):
    """X -> X^element modulo X^N + 1."""
    degree, found = len(a), [0] * len(a)
    for i, x in enumerate(a):
        place = i * element % (2 * degree)
        found[place % degree] = int(x) if place < degree else -int(x)
    return found


def rest(x, p):
    """x modulo p, between -p / 2 and p / 2."""
    x = int(x) % p
    return x - p if 2 * x > p else x


def divided(residues, primes):
    """A polynomial's coefficients [L + 1][N] over its last prime, rounded, modulo the others."""
    last = primes[-1]
    nearest = [rest(x, last) for x in residues[-1]]
    return [
        [(int(x) - y) * pow(last, -1, p) % p for x, y in zip(row, nearest, strict=True)]
        for row, p in zip(residues[:-1], primes[:-1], strict=True)
    ]


def key_switch(x, key, primes):
    """Coefficients x [l][N] under a key [L][2][K][N] of all K primes: two polynomials [2][l][N]."""
    left, degree = len(x), len(x[0])
    places = [*range(left), len(primes) - 1]
    digits = [[rest(c, primes[j]) for c in x[j]] for j in range(left)]
    found = []
    for part in range(2):
        sums = []
        for place in places:
            total = [0] * degree
            for j in range(left):
                product = ring_product(digits[j], key[j][part][place])
                total = [(a + b) % primes[place] for a, b in zip(total, product, strict=True)]
            sums.append(total)
        found.append(divided(sums, [primes[place] for place in places]))
    return found
