"""The PUBLIC side of CKKS: a planned program on ciphertexts, through TenSEAL's own door to SEAL.

`tenseal.sealapi` exposes SEAL's evaluator and encoder; there the weights are encoded once, a
product's diagonals are summed before anything is rescaled, and only the rotations in use have keys.
Every context made here has 128-bit security (`privacy.security`). Nothing here can decrypt.

SEAL holds Python's lock while it computes: for two answers at once take two processes.
"""

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tenseal.sealapi as seal

from privacy.encrypted.layout import power_of_two
from privacy.encrypted.net import Array, Net
from privacy.encrypted.plan import ROTATED_BITS, Plan, plans
from privacy.encrypted.recipes import Recipe
from privacy.encrypted.ring.encoding import encodings
from privacy.errors import CiphertextError, ModelError
from privacy.seal import MOST_KEYS_BYTES, SLACK_BYTES, from_bytes, make_context, to_bytes
from privacy.security import ERROR_DEVIATION

ROUNDING = 500  # public images on which the shift by rounded weights is measured
ASKED, FAITHFUL = 1000, 0.998  # those on which labels are compared, and how many must be the same


def context_of(recipe: Recipe) -> Any:
    """A recipe's context."""
    return make_context(recipe.degree, recipe.prime_bits, recipe.special_bits)


def galois_elements(rotations: list[int], degree: int) -> list[int]:
    """The automorphisms X -> X^e that a program needs: SEAL wants e = 3^k, not the rotation k.

    The last is complex conjugation, e = -1.
    """
    return [*(pow(3, k, 2 * degree) for k in rotations), 2 * degree - 1]


class NothingLeft(ModelError):
    """All weights of a layer are zero, or are rounded to it at the scale of a plan."""


def choose_plan(net: Net, images: Array) -> Plan:
    """The fastest plan under whose noise all but 2 in 1,000 public images keep their label.

    Args:
        images: [B, H, W] in [0, 1], from which ranges are taken as well.

    Raises:
        ModelError: none fits the net, or its keys are too large; the error says what would fit.
    """
    for planned in plans(net, images):
        if planned.recipe.input_bits >= ROTATED_BITS:
            break  # scales at which no label changes
        with suppress(NothingLeft):  # finer scales keep what is rounded to nothing at these
            planned = correct_rounding(planned, images[:ROUNDING])
            if faithfulness(planned, images[:ASKED]) >= FAITHFUL:
                break
    require_keys(context_of(planned.recipe), len(planned.rotations))
    return planned


def require_keys(context: Any, rotations: int) -> None:
    """Refuse evaluation keys that no service takes, before they are made.

    Each is as large as one that is made here and forgotten.

    Raises:
        ModelError: they are.
    """
    num = rotations + 2  # and those that conjugate and relinearize
    each = len(to_bytes(seal.KeyGenerator(context).create_relin_keys()))
    if num * each > MOST_KEYS_BYTES:
        raise ModelError(
            f"evaluation keys of this model would have {num * each / 1e6:.0f} MB, {num} of "
            f"{each / 1e6:.1f}; a service takes {MOST_KEYS_BYTES / 1e6:.0f}: use fewer layers, or "
            "narrower ones ([model] hidden, width or channels), or a larger [model] pool"
        )


def correct_rounding(plan: Plan, images: Array) -> Plan:
    """Take from the last bias what rounded weights and fresh noise add to the mean logits.

    Activations after a square are positive: a rounded weight shifts a logit on every image, and so
    does the square of an input's noise. (Bias correction, Nagel et al. 2019, section 4.2, measured
    instead of derived.)

    Args:
        images: public images [B, H, W] in [0, 1].
    """
    x, last = plan.pack(images), plan.products[-1]
    noisy = _freshly_encrypted(x, plan.recipe, np.random.default_rng(0))
    shift = Program(plan).rounded().simulate(noisy)[0].mean(0) - plan.simulate(x)[0].mean(0)
    period = power_of_two(plan.num_classes)  # after which the logits repeat
    each = shift.real.reshape(-1, period).mean(0)
    corrected = replace(last, bias=last.bias - np.tile(each, len(shift) // period))
    return replace(plan, products=(*plan.products[:-1], corrected))


def faithfulness(plan: Plan, images: Array) -> float:
    """The share of public images [B, H, W] whose label stays, under the noise that is expected."""
    x, rng = plan.pack(images), np.random.default_rng(0)
    deviations = switching_noise(plan)
    noisy, _ = (
        Program(plan)
        .rounded()
        .simulate(
            _freshly_encrypted(x, plan.recipe, rng),
            lambda *place: rng.normal(0, deviations[place], x.shape),
        )
    )
    period = power_of_two(plan.num_classes)
    labels = [
        z.reshape(len(z), -1, period).mean(1)[:, : plan.num_classes].argmax(1)
        for z in (plan.simulate(x)[0], noisy)
    ]
    return float((labels[0] == labels[1]).mean())


def _freshly_encrypted(x: Array, recipe: Recipe, rng: np.random.Generator) -> Array:
    """Slots with, in their real and imaginary part, the noise of the ring's coefficients."""
    deviation = ERROR_DEVIATION * math.sqrt(recipe.degree / 2) / 2**recipe.input_bits
    drawn = rng.normal(0, deviation, (2, *x.shape))
    return np.asarray(x + drawn[0] + 1j * drawn[1])


def switching_noise(plan: Plan) -> dict[tuple[str, int], float]:
    """The deviation, in a slot, of what key switches have added after each `sum` and `relinearize`.

    A switch multiplies the errors of a key, a polynomial of deviation 3.19 for each prime q of the
    data, by residues modulo q, and divides by the special prime p (Kim, Polyakov and Zucca 2021,
    section 3.2): in a slot it leaves 3.19 N / sqrt(24) times the root of the sum of (q / p)^2.
    """
    recipe, found = plan.recipe, {}
    primes, before = len(recipe.prime_bits), float(recipe.input_bits)
    for step in plan.steps:
        ratios = [2.0 ** (q - recipe.special_bits) for q in recipe.prime_bits[:primes]]
        switch = ERROR_DEVIATION * recipe.degree / math.sqrt(24) * math.hypot(*ratios)
        product = plan.products[step.layer]
        if step.name == "product":
            rotated = np.arange(len(product.diagonals)) % product.babies > 0
            weight = np.square(np.abs(product.diagonals[rotated])).sum(0).mean()
            variance = (switch / 2.0**before) ** 2 * weight
            variance += (product.giants - 1) * (switch / 2.0**step.scale_bits) ** 2
        elif step.name == "sum":
            for _ in product.sum_steps:
                variance = 2 * variance + (switch / 2.0**step.scale_bits) ** 2
            found["sum", step.layer] = math.sqrt(variance)
        elif step.name == "relinearize":
            found["relinearize", step.layer] = switch / 2.0**step.scale_bits
        primes, before = step.primes, step.scale_bits
    return found


@dataclass(frozen=True, eq=False)
class EvaluationKeys:
    """What a server needs of a client to rotate and to square; it cannot decrypt with them."""

    galois: Any
    relinearization: Any


class Program:
    """A plan with its weights encoded, ready to run on a client's ciphertexts."""

    def __init__(self, plan: Plan) -> None:
        """Encode every weight, once.

        Raises:
            ModelError: SEAL refuses the parameters.
        """
        self.plan = plan
        self.context = context_of(plan.recipe)
        self._evaluator = seal.Evaluator(self.context)
        self._encoder = seal.CKKSEncoder(self.context)  # which decodes, too
        self._diagonals: list[list[list[tuple[int, Any]]]] = []
        self._biases: list[Any] = []
        self._encode()
        primes = len(plan.recipe.prime_bits)
        self._polynomial_bytes = 8 * plan.recipe.degree  # modulo one prime
        self._key_bytes = primes * (2 * (primes + 1) * self._polynomial_bytes + SLACK_BYTES)

    def _encode(self) -> None:
        """By layer and giant step, the baby step and the diagonal of each product; and biases."""
        for product in self.plan.products:
            self._diagonals.append([[] for _ in range(product.giants)])
        for encoded in encodings(self.plan, self.context):
            step = self.plan.steps[encoded.step]
            if step.name == "bias":
                self._biases.append(encoded.plaintext)
            else:
                giants = self._diagonals[step.layer]
                giants[encoded.giant].append((encoded.baby, encoded.plaintext))
        if not all(any(giants) for giants in self._diagonals):
            raise NothingLeft("a layer's weights are all zero at their scale: nothing is computed")

    def rounded(self) -> Plan:
        """The plan with its weights as they were encoded, each rounded at its scale."""
        products = list(self.plan.products)
        for layer, giants in enumerate(self._diagonals):
            product = products[layer]
            diagonals = np.zeros(product.diagonals.shape, complex)
            whole = 2.0 if layer == 0 else 1.0  # as halved in `_encode_product`
            for giant, encoded in enumerate(giants):
                for baby, plaintext in encoded:
                    turned = np.array(self._encoder.decode_complex(plaintext)) * whole
                    steps = product.unit * product.babies * giant
                    diagonals[product.babies * giant + baby] = np.roll(turned, -steps)
            real = diagonals if layer == 0 else diagonals.real  # as what it meets is
            products[layer] = replace(product, diagonals=real)
        return replace(self.plan, products=tuple(products))

    def load_keys(self, parts: tuple[bytes, ...]) -> EvaluationKeys:
        """Evaluation keys from bytes: Galois keys, relinearization keys.

        Raises:
            CiphertextError: they are not keys under these parameters, or lack a rotation.
        """
        if len(parts) != 2:
            raise CiphertextError(f"{len(parts)} parts, where two kinds of keys belong")
        elements = galois_elements(self.plan.rotations, self.plan.recipe.degree)
        most = len(elements) * self._key_bytes + 8 * self.plan.recipe.degree + SLACK_BYTES
        keys = EvaluationKeys(
            from_bytes(seal.GaloisKeys(), self.context, parts[0], most),
            from_bytes(seal.RelinKeys(), self.context, parts[1], self._key_bytes + SLACK_BYTES),
        )
        for element in elements:
            if not keys.galois.has_key(element):
                raise CiphertextError("the Galois keys lack a rotation of this model")
        return keys

    def run(self, parts: tuple[bytes, ...], keys: EvaluationKeys) -> tuple[bytes, ...]:
        """From an encrypted image, one ciphertext, to encrypted logits.

        Raises:
            CiphertextError: the upload is not what a client of this model sends.
        """
        if len(parts) != 1:
            raise CiphertextError(f"{len(parts)} parts, where one ciphertext belongs")
        most = self._polynomial_bytes * 2 * len(self.plan.recipe.prime_bits) + SLACK_BYTES
        x = from_bytes(seal.Ciphertext(), self.context, parts[0], most)
        if (
            x.size() != 2
            or x.parms_id() != self.context.first_parms_id()
            or x.scale != 2.0**self.plan.recipe.input_bits
            or x.is_transparent()
        ):
            raise CiphertextError("the ciphertext is not at this model's first level and scale")
        return (to_bytes(self.evaluate(x, keys)),)

    def evaluate(self, x: Any, keys: EvaluationKeys) -> Any:
        """The plan's steps on a ciphertext, which is changed."""
        evaluator = self._evaluator
        for step in self.plan.steps:
            if step.name == "product":
                x = self._multiply(step.layer, x, keys.galois)
            elif step.name == "sum":
                turned = seal.Ciphertext()
                for rotation in self.plan.products[step.layer].sum_steps:
                    evaluator.rotate_vector(x, rotation, keys.galois, turned)
                    evaluator.add_inplace(x, turned)
            elif step.name == "real":
                conjugate = seal.Ciphertext()
                evaluator.complex_conjugate(x, keys.galois, conjugate)
                evaluator.add_inplace(x, conjugate)
            elif step.name == "bias":
                evaluator.add_plain_inplace(x, self._biases[step.layer])
            elif step.name == "square":
                evaluator.square_inplace(x)
            elif step.name == "rescale":
                evaluator.rescale_to_next_inplace(x)
            elif step.name == "relinearize":
                evaluator.relinearize_inplace(x, keys.relinearization)
        return x

    def _multiply(self, layer: int, x: Any, galois: Any) -> Any:
        evaluator, product = self._evaluator, self.plan.products[layer]
        babies = {0: x}
        for number, rotation in enumerate(product.baby_steps, start=1):
            babies[number] = seal.Ciphertext()
            evaluator.rotate_vector(x, rotation, galois, babies[number])
        total, term = None, seal.Ciphertext()
        for giant, diagonals in enumerate(self._diagonals[layer]):
            partial = None
            for baby, diagonal in diagonals:
                if partial is None:
                    partial = seal.Ciphertext()
                    evaluator.multiply_plain(babies[baby], diagonal, partial)
                else:
                    evaluator.multiply_plain(babies[baby], diagonal, term)
                    evaluator.add_inplace(partial, term)
            if partial is None:
                continue
            if giant:
                rotation = product.giant_steps[giant - 1]
                evaluator.rotate_vector_inplace(partial, rotation, galois)
            if total is None:
                total = partial
            else:
                evaluator.add_inplace(total, partial)
        return total
