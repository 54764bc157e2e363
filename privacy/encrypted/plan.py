"""From a net to a plan: which slot holds what, which rotations, which scale at which level.

A CKKS ciphertext holds S numbers in slots that can be added, multiplied slot by slot and rotated in
a circle. A linear layer becomes a hybrid-diagonal product (Halevi and Shoup 2014; Juvekar et al.
2018): the vector, rotated by d = 0 ... D-1, is multiplied by a diagonal of the matrix for each d,
summed, and summed again over all slots that are `period` apart. The rotations go in baby steps and
giant steps. Because the last sum runs round the whole circle, *every* slot ends as a whole output
or as zero: no partial sum, which would tell of the weights, is left in an unused slot.

Nothing here computes on ciphertexts; `privacy.encrypted.ckks` does what a plan says.

Shapes: S slots, R outputs of a layer, D diagonals, B records.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from privacy.encrypted.layout import (
    MOST_PLACES,
    Matrix,
    Spread,
    blocks,
    fewest_diagonals,
    lay_inputs,
    matrices,
    power_of_two,
    whole,
)
from privacy.encrypted.net import Array, Net, Places, normalise, pool_images
from privacy.encrypted.recipes import Recipe, require_depth
from privacy.errors import ModelError

ROTATED_BITS = 30  # of an input's scale, from which on it bears a rotation's noise
HEADROOM_BITS = 1.0  # a value may be twice the largest of the calibration before it overflows


@dataclass(frozen=True, eq=False)
class Product:
    """One linear layer in slots.

    Attributes:
        diagonals: [D, S], each as it meets the input rotated by `unit` d; complex in the first.
        babies: how many diagonals share a giant step. One: an input whose scale is too small to
            bear a rotation's noise is not rotated at all; partial products are.
        unit: slots from one diagonal to the next.
        sum_steps: rotations whose sums make outputs whole.
        bias: [S]
    """

    diagonals: Array
    babies: int
    unit: int
    sum_steps: tuple[int, ...]
    bias: Array

    @property
    def giants(self) -> int:
        """Giant steps, of `babies` diagonals each."""
        return -(-len(self.diagonals) // self.babies)

    @property
    def baby_steps(self) -> list[int]:
        """Rotations of the input."""
        return [self.unit * b for b in range(1, self.babies)]

    @property
    def giant_steps(self) -> list[int]:
        """Rotations of partial products."""
        return [self.unit * self.babies * g for g in range(1, self.giants)]

    def apply(self, x: Array) -> tuple[Array, float]:
        """What the encrypted product computes, in the clear: x [B, S].

        Returns:
            The product [B, S], and the largest magnitude on the way.
        """
        y = np.zeros_like(x)
        for d, diagonal in enumerate(self.diagonals):
            y += np.roll(x, -self.unit * d, axis=1) * diagonal
        largest = magnitude(y)
        for step in self.sum_steps:
            y += np.roll(y, -step, axis=1)
            largest = max(largest, magnitude(y))
        y = y.real + self.bias
        return y, max(largest, magnitude(y))


@dataclass(frozen=True)
class Step:
    """One step of a program and the state after it.

    Attributes:
        name: product, rescale, sum, real, bias, square or relinearize.
        layer: which.
        primes: how many data primes are left.
        scale_bits: log2 of the scale.
    """

    name: str
    layer: int
    primes: int
    scale_bits: float


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is decided before anything is encrypted.

    Attributes:
        net: the shape and pooling of its images.
        pixels: int [2, S], the pooled pixels that the client puts into the real and the imaginary
            part of each slot, -1 for none.
        logit_divisor: logits come out divided by this.
        headroom_bits: room above the largest value of the calibration, at the tightest step.
    """

    shape: tuple[int, int]
    pool: int
    recipe: Recipe
    pixels: Places
    products: tuple[Product, ...]
    num_classes: int
    logit_divisor: float
    headroom_bits: float = 0.0

    @property
    def num_slots(self) -> int:
        """S"""
        return self.recipe.degree // 2

    @cached_property
    def steps(self) -> list[Step]:
        """The program, in order. Sums come after a rescale where there is one: they get cheaper."""
        recipe = self.recipe
        primes, scale = list(recipe.prime_bits), float(recipe.input_bits)
        steps: list[Step] = []

        def note(name: str) -> None:
            steps.append(Step(name, layer, len(primes), scale))

        def rescale(after: str) -> None:
            nonlocal scale
            if (after, layer) in recipe.rescale:
                scale -= primes.pop()
                note("rescale")

        for layer in range(len(self.products)):
            scale += recipe.weight_bits[layer]
            note("product")
            rescale("product")
            note("sum")
            if layer == 0:
                note("real")
            note("bias")
            if layer + 1 < len(self.products):
                scale *= 2
                note("square")
                rescale("square")
                note("relinearize")
        return steps

    @property
    def rotations(self) -> list[int]:
        """Every rotation in use: no Galois key is made for another."""
        used: set[int] = set()
        for product in self.products:
            used.update(product.baby_steps, product.giant_steps, product.sum_steps)
        return sorted(used)

    def pack(self, images: Array) -> Array:
        """Images [B, H, W] in [0, 1] -> slots, complex [B, S]."""
        return pack(images, self.pool, self.pixels)

    def simulate(
        self, x: Array, noise: Callable[[str, int], Array | float] = lambda name, layer: 0.0
    ) -> tuple[Array, dict[tuple[str, int], float]]:
        """The program in the clear, slot by slot, on x [B, S].

        Args:
            noise: what is added after a layer's `sum`, and after its `relinearize`.

        Returns:
            The output slots, and the largest magnitude at each (step, layer).
        """
        largest = {}
        for layer, product in enumerate(self.products):
            x, seen = product.apply(x)
            x = x + noise("sum", layer)
            for name in ("product", "rescale", "sum", "real", "bias"):
                largest[name, layer] = seen
            if layer + 1 < len(self.products):
                x = np.square(x) + noise("relinearize", layer)
                largest["square", layer] = largest["relinearize", layer] = magnitude(x)
        return x, largest


def magnitude(x: Array) -> float:
    """A bound on the coefficients of the polynomials whose slots are x [B, S], before scaling.

    The embedding is an isometry up to a constant: the coefficients' Euclidean norm, and so the
    largest of them, is at most the root mean square of the slots (Cheon et al. 2017, section 2).
    """
    return float(np.sqrt(np.square(np.abs(x)).mean(1)).max())


def pack(images: Array, pool: int, pixels: Places) -> Array:
    """Average squares of `pool` pixels, then put `pixels` [2, S] into slots: complex [B, S]."""
    num = len(images)
    flat = np.concatenate([pool_images(images, pool).reshape(num, -1), np.zeros((num, 1))], axis=1)
    return flat[:, pixels[0]] + 1j * flat[:, pixels[1]]  # -1 is the zero at the end


def plan(net: Net, calibration: Array) -> Plan:
    """The fastest plan of a net's encrypted evaluation; raises as `plans`."""
    return next(plans(net, calibration))


def plans(net: Net, calibration: Array) -> Iterator[Plan]:
    """Plan a net's encrypted evaluation: depth, layouts, scales and ranges, before anything runs.

    Args:
        calibration: public images [B, H, W] in [0, 1], from which ranges are taken.

    Yields:
        Plans in the order of their speed; later ones are more exact.

    Raises:
        ModelError: the net is too deep or too wide for any ring, or would overflow; the error says
            what would fit.
    """
    candidates = require_depth(len(net.layers) - 1)
    normal, divisor = normalise(net, calibration)
    slots = candidates[-1].degree // 2
    refused: ModelError | None = ModelError(
        f"a layer does not fit {slots} slots, the most at this depth: inputs, and a convolution's "
        f"kernel elements x windows (each rounded up to a power of two), may be {slots} at most; "
        "use [model] pool, fewer hidden units, or a larger stride"
    )
    for recipe in candidates:
        if (found := _fit(normal, recipe, divisor)) is None:
            continue
        try:
            yield _require_ranges(found, calibration)
            refused = None
        except ModelError as error:
            refused = refused and error
    if refused:
        raise refused


def _fit(net: Net, recipe: Recipe, divisor: float) -> Plan | None:
    """Lay the net out in a recipe's slots, or None if it does not fit."""
    slots = recipe.degree // 2
    unit, features, found = matrices(net)
    if max(power_of_two(len(matrix.bias)) for matrix in found) > slots:
        return None
    if (laid := lay_inputs(found[0], unit, slots)) is None:
        return None
    layout, diagonals = laid
    pixels = np.append(features, -1)[layout]
    spread = whole(len(found[0].bias), slots, slots)
    period = power_of_two(len(found[0].bias))
    babies = _babies(diagonals) if recipe.input_bits >= ROTATED_BITS else 1
    products = [_product(found[0], diagonals, babies, unit, spread)]
    for number, matrix in enumerate(found[1:], start=2):
        outputs, layout = len(matrix.bias), spread.layout
        if number < len(found) and period < slots:
            spread, period = blocks(outputs, slots, period), slots
        else:
            spread, period = whole(outputs, slots, period), power_of_two(outputs)
        if (placed := fewest_diagonals(matrix, layout, spread)) is None:
            return None
        products.append(_product(matrix, placed, _babies(placed), 1, spread))
    return Plan(net.shape, net.pool, recipe, pixels, tuple(products), len(found[-1].bias), divisor)


def _babies(diagonals: Array) -> int:
    """As many baby steps as giant steps, or twice as many."""
    return 1 << math.ceil(math.log2(len(diagonals)) / 2)


def _product(matrix: Matrix, diagonals: Array, babies: int, unit: int, spread: Spread) -> Product:
    bias = np.append(matrix.bias, 0.0)[spread.layout]
    return Product(diagonals, babies, unit, spread.sum_steps, bias)


def _require_ranges(found: Plan, calibration: Array) -> Plan:
    """Refuse a plan in which a value could pass half the modulus: CKKS overflows in silence.

    The last layer is scaled down to the room there is: the order of its logits stays.
    """
    busiest = max(len(product.diagonals) for product in found.products)
    x = found.pack(
        calibration[: max(32, min(256, MOST_PLACES * 16 // (busiest * found.num_slots)))]
    )
    room = _room(found, found.simulate(x)[1])
    last = len(found.products) - 1
    lacking = HEADROOM_BITS - min(bits for (_, layer), bits in room.items() if layer == last)
    shrink = 2.0 ** -max(0.0, lacking)
    final = found.products[last]
    scaled = replace(final, diagonals=final.diagonals * shrink, bias=final.bias * shrink)
    for (name, layer), bits in room.items():
        if layer != last and bits < HEADROOM_BITS:
            raise ModelError(
                f"layer {layer}: after its {name}, values at their scale would overflow the "
                f"modulus by {HEADROOM_BITS - bits:.1f} bits, headroom included; train with weight "
                "decay, or use fewer inputs a layer"
            )
    return replace(
        found,
        products=(*found.products[:last], scaled),
        logit_divisor=found.logit_divisor / shrink,
        headroom_bits=max(HEADROOM_BITS, min(room.values())),
    )


def _room(found: Plan, largest: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    """Bits between the largest value and half the modulus, after each step."""
    room = {}
    for step in found.steps:
        modulus_bits = sum(found.recipe.prime_bits[: step.primes])
        value_bits = math.log2(max(largest[step.name, step.layer], 1e-9))
        room[step.name, step.layer] = modulus_bits - 1 - step.scale_bits - value_bits
    return room
