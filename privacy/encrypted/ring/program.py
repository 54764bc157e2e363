"""A plan on words: what `privacy.encrypted.ckks` computes through SEAL, several times as fast.

Parameters, keys and ciphertexts on the wire are the same; SEAL's part is to encode the weights when
a service starts. Against SEAL three things are saved: a transform takes vectors of numbers; a
ciphertext that is rotated in several ways is decomposed once; and rotated partial products are
divided by the keys' prime when they have been summed.

Shapes: N the ring's degree, l primes that are left, K all primes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from privacy.encrypted.plan import Plan, Product
from privacy.encrypted.recipes import Recipe
from privacy.encrypted.ring import foreign, switching
from privacy.encrypted.ring.encoding import encodings
from privacy.encrypted.ring.foreign import Level
from privacy.encrypted.ring.modular import (
    MOST_PRIME_BITS,
    Places,
    Residues,
    Words,
    balanced,
    machine_fits,
)
from privacy.encrypted.ring.seeds import SEED_BYTES, expand
from privacy.encrypted.ring.transforms import reversed_bits, tables, turned
from privacy.errors import CiphertextError, ModelError
from privacy.seal import SLACK_BYTES, make_context, to_bytes


def fits(recipe: Recipe) -> bool:
    """Whether this machine and the primes are such that numbers stay exact, and fast."""
    return max(*recipe.prime_bits, recipe.special_bits) <= MOST_PRIME_BITS and machine_fits()


@dataclass(frozen=True, eq=False)
class RingKeys:
    """A client's evaluation keys [L, 2, K, N]: by Galois element, and that which relinearizes."""

    galois: dict[int, Residues]
    relinearization: Residues


class RingProgram:
    """A plan with its weights, ready to run on a client's ciphertexts."""

    def __init__(self, plan: Plan) -> None:
        """Encode every weight, once, and compile the kernels.

        Raises:
            ModelError: SEAL refuses the parameters, or a layer's weights are all zero.
        """
        recipe = plan.recipe
        self.plan = plan
        self.context = make_context(recipe.degree, recipe.prime_bits, recipe.special_bits)
        key_data = self.context.key_context_data()
        self._primes = [modulus.value() for modulus in key_data.parms().coeff_modulus()]
        self._minor = to_bytes(key_data.parms())[4]  # of SEAL's version
        self._tables = tables(self._primes, recipe.degree)
        self._key_level = self._level(key_data)
        data, self._levels = self.context.first_context_data(), {}
        while data is not None:
            level = self._level(data)
            self._levels[len(level.primes)] = level
            data = data.next_context_data()
        self._weights: dict[int, dict[int, list[tuple[int, Residues]]]] = {}
        self._biases: dict[int, Residues] = {}
        self._encode()
        self._work = np.empty((3, recipe.degree))
        self._orders: dict[int, Places] = {}
        self._compile()

    def _level(self, data: Any) -> Level:
        parms = data.parms()
        primes = np.array([modulus.value() for modulus in parms.coeff_modulus()], np.uint64)
        parms_id = b"".join(int(word).to_bytes(8, "little") for word in data.parms_id())
        return Level(parms_id, primes, self.plan.recipe.degree)

    def _encode(self) -> None:
        before = len(self.plan.recipe.prime_bits)
        entering = []  # the primes that are left before each step
        for step in self.plan.steps:
            entering.append(before)
            before = step.primes
        for encoded in encodings(self.plan, self.context):
            level = self._levels[entering[encoded.step]]
            words = foreign.read_plaintext(to_bytes(encoded.plaintext), level)
            (values,) = self._enter(words[None])
            if self.plan.steps[encoded.step].name == "bias":
                self._biases[encoded.step] = values
            else:
                giants = self._weights.setdefault(encoded.step, {})
                giants.setdefault(encoded.giant, []).append((encoded.baby, values))
        if len(self._weights) < len(self.plan.products):
            raise ModelError("a layer's weights are all zero at their scale: nothing is computed")

    def _compile(self) -> None:
        """Every kernel, before a client waits for it: of an image of zeros under keys of zeros."""
        level = self._levels[len(self.plan.recipe.prime_bits)]
        empty = np.zeros((len(level.primes), 2, len(self._primes), level.degree))
        keys = RingKeys(dict.fromkeys(self._elements, empty), empty)
        words = np.stack([expand(bytes(SEED_BYTES), level.primes, level.degree)] * 2)
        self._leave(self.evaluate(self._enter(words), keys))

    @cached_property
    def _elements(self) -> list[int]:
        """Galois elements in use; the last conjugates."""
        rotations = [self._element(rotation) for rotation in self.plan.rotations]
        return [*rotations, 2 * self.plan.recipe.degree - 1]

    def _element(self, rotation: int) -> int:
        return pow(3, rotation, 2 * self.plan.recipe.degree)

    def _order(self, element: int) -> Places:
        """What the automorphism X -> X^e makes of values: at each place, where its value was."""
        if element not in self._orders:
            degree = self.plan.recipe.degree
            exponents = 2 * reversed_bits(degree) + 1  # of the root, at each place in SEAL's order
            place = np.empty(2 * degree, np.int64)
            place[exponents] = np.arange(degree)
            there = turned(np.arange(degree))
            here = np.empty(degree, np.int64)
            here[there] = np.arange(degree)
            self._orders[element] = here[place[exponents * element % (2 * degree)]][there]
        return self._orders[element]

    def load_keys(self, parts: tuple[bytes, ...]) -> RingKeys:
        """Evaluation keys from bytes: Galois keys, relinearization keys.

        Raises:
            CiphertextError: they are not keys under these parameters, or lack a rotation.
        """
        if len(parts) != 2:
            raise CiphertextError(f"{len(parts)} parts, where two kinds of keys belong")
        level, elements = self._key_level, self._elements
        each = len(self.plan.recipe.prime_bits) * (16 * level.num_words + SLACK_BYTES)
        most = len(elements) * each + 8 * level.degree + SLACK_BYTES
        places = [element // 2 for element in elements]
        found = foreign.read_keys(parts[0], level, places, most)
        (relinearization,) = foreign.read_keys(parts[1], level, [0], each + SLACK_BYTES).values()
        galois = {}
        for element in elements:
            values = self._enter(found.pop(element // 2))
            galois[element] = np.empty_like(values)
            galois[element][..., self._order(element)] = values
        return RingKeys(galois, self._enter(relinearization))

    def run(self, parts: tuple[bytes, ...], keys: RingKeys) -> tuple[bytes, ...]:
        """From an encrypted image, one ciphertext, to encrypted logits.

        Raises:
            CiphertextError: the upload is not what a client of this model sends.
        """
        if len(parts) != 1:
            raise CiphertextError(f"{len(parts)} parts, where one ciphertext belongs")
        level = self._levels[len(self.plan.recipe.prime_bits)]
        scale = 2.0**self.plan.recipe.input_bits
        most = 16 * level.num_words + SLACK_BYTES
        words = foreign.read_ciphertext(parts[0], level, scale, most)
        answer = self.evaluate(self._enter(words), keys)
        left = self._levels[answer.shape[1]]
        written = self._leave(answer)
        return (foreign.write_ciphertext(written, left, self._last_scale, self._minor),)

    def _leave(self, answer: Residues) -> Words:
        words = np.empty(answer.shape, np.uint64)
        switching.leave(answer, self._tables, words)
        return words

    def _enter(self, words: Words) -> Residues:
        """Words [..., 2 or 1, l, N] as values."""
        values = np.empty(words.shape)
        flat = (-1, *words.shape[-2:])
        switching.enter(words.reshape(flat), self._tables, values.reshape(flat))
        return values

    @cached_property
    def _last_scale(self) -> float:
        """Of an answer, to the last bit as SEAL has it."""
        scale, left = 2.0**self.plan.recipe.input_bits, len(self.plan.recipe.prime_bits)
        for step in self.plan.steps:
            if step.name == "product":
                scale *= 2.0 ** self.plan.recipe.weight_bits[step.layer]
            elif step.name == "square":
                scale *= scale
            elif step.name == "rescale":
                left = step.primes
                scale /= self._primes[left]
        return scale

    def evaluate(self, x: Residues, keys: RingKeys) -> Residues:
        """The plan's steps on the values of a ciphertext [2, l, N], which are changed."""
        t = self._tables
        for number, step in enumerate(self.plan.steps):
            product = self.plan.products[step.layer]
            if step.name == "product":
                x = self._multiply(self._weights[number], product, x, keys)
            elif step.name == "sum":
                for rotation in product.sum_steps:
                    self._add_turned(x, self._element(rotation), keys)
            elif step.name == "real":
                self._add_turned(x, 2 * self.plan.recipe.degree - 1, keys)
            elif step.name == "bias":
                switching.add(x[:1], self._biases[number][None], t)
            elif step.name == "square":
                squared = np.empty((3, *x.shape[1:]))
                switching.square(x, t, squared)
                x = squared
            elif step.name == "rescale":
                x = self._rescale(x)
            elif step.name == "relinearize":
                switched = self._switch(self._decompose(x[2]), keys.relinearization)
                x = np.ascontiguousarray(x[:2])
                switching.add(x, switched, t)
        return x

    def _decompose(self, x: Residues) -> Residues:
        digits = np.empty((len(x), len(x) + 1, x.shape[1]))
        switching.decompose(x, self._tables, self._work, digits)
        return digits

    def _meet(self, digits: Residues, key: Residues) -> Residues:
        sums = np.empty((2, *digits.shape[1:]))
        switching.meet(digits, key, self._tables, sums)
        return sums

    def _settle(self, sums: Residues) -> Residues:
        left = sums.shape[1] - 1
        out = np.empty((len(sums), left, sums.shape[2]))
        unit = self._units(self._primes[-1], left)
        switching.settle(sums, unit, self._tables, self._work, out)
        return out

    def _switch(self, digits: Residues, key: Residues) -> Residues:
        return self._settle(self._meet(digits, key))

    def _rescale(self, x: Residues) -> Residues:
        left = x.shape[1] - 1
        t = self._tables.first(left + 1)
        out = np.empty((len(x), left, x.shape[2]))
        switching.settle(x, self._units(self._primes[left], left), t, self._work, out)
        return out

    def _units(self, prime: int, left: int) -> Residues:
        """One over a prime, modulo each prime that is left."""
        units = [balanced(pow(prime, -1, p), p) for p in self._primes[:left]]
        return np.array(units, np.float64)

    def _add_turned(self, x: Residues, element: int, keys: RingKeys) -> None:
        switched = self._switch(self._decompose(x[1]), keys.galois[element])
        switching.add(switched[:1], x[:1], self._tables)
        switching.add_turned(x, switched, self._order(element), self._tables)

    def _multiply(
        self,
        giants: dict[int, list[tuple[int, Residues]]],
        product: Product,
        x: Residues,
        keys: RingKeys,
    ) -> Residues:
        t, left, degree = self._tables, x.shape[1], x.shape[2]
        babies = {0: x}
        if product.babies > 1:
            digits = self._decompose(x[1])
            for baby, rotation in enumerate(product.baby_steps, start=1):
                element = self._element(rotation)
                switched = self._switch(digits, keys.galois[element])
                switching.add(switched[:1], x[:1], t)
                babies[baby] = np.empty_like(x)
                switching.turn(switched, self._order(element), babies[baby])
        total: Residues | None = None  # what is not turned
        unsettled: Residues | None = None
        for giant, diagonals in giants.items():
            partial = np.empty((2, left, degree))
            for place, (baby, diagonal) in enumerate(diagonals):
                switching.accumulate(babies[baby], diagonal, t, partial, place == 0)
            if giant == 0:
                total = partial
                continue
            if unsettled is None:
                unsettled = np.zeros((2, left + 1, degree))
            element = self._element(product.giant_steps[giant - 1])
            sums = self._meet(self._decompose(partial[1]), keys.galois[element])
            whole = [balanced(self._primes[-1] % p, p) for p in self._primes[:left]]
            order = self._order(element)
            switching.gather(sums, partial[0], np.array(whole, float), order, t, unsettled)
        if unsettled is not None:
            settled = self._settle(unsettled)
            if total is None:
                return settled
            switching.add(total, settled, t)
        assert total is not None  # a layer has weights
        return total
