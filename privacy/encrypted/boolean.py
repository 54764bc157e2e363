"""The PUBLIC side of boolean FHE: a perceptron of signs as a Concrete circuit (TFHE).

Weights, pixels and activations are -1 or +1. With bits u = (x + 1) / 2 the sums are
W x + b = 2 (W u + t), so a hidden bit is [W u + t >= 0]: additions, which cost next to nothing, and
one programmable bootstrap a unit, whose price is the width of the sum. Low bits of the sum are
rounded off and the bootstrap may err: near the threshold a sign matters little. The highest bit may
be left out: the few sums that need it wrap round. How much of each is chosen by the accuracy that
simulated encryption keeps (`compile_net`).

It is built on concrete-python and not on Concrete ML, whose quantized networks put several bits and
a requantization where one sign does (784 bootstraps an image, about 10 s), and of which one pin has
no wheel for Python 3.12.

Shapes: B records, I inputs, H hidden units, R classes.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from concrete import fhe
from concrete.fhe.compilation.configuration import RangeRestriction
from numpy.typing import NDArray

from privacy.encrypted.net import Array, pool_images
from privacy.errors import CiphertextError, ModelError

Integers = NDArray[np.int64]


class Choice(NamedTuple):
    """What a circuit gives up for speed.

    Attributes:
        narrowed_bits: by which sums are narrower than the widest sum of the validation records.
        rounded_bits: low bits of a sum that are rounded off.
        p_error: that a bootstrap errs.
    """

    narrowed_bits: int
    rounded_bits: int
    p_error: float


CHOICES = (  # the cheapest first
    Choice(1, 3, 0.5),
    Choice(1, 3, 0.3),
    Choice(1, 2, 0.1),
    Choice(1, 1, 0.1),
    Choice(0, 1, 0.1),
    Choice(0, 0, 2.0**-20),
)
# Concrete's optimizer reckons rings of many small polynomials cheap, but their keys are six times
# as large, and reading them at each bootstrap takes more time than the operations do.
GLWE_DIMENSION = 1
KEPT = 0.005  # of the accuracy that a choice may cost
FEWEST_SHOWN = 20  # records from which a circuit learns its widths
SLACK_BYTES = 64  # by which encodings of ciphertexts of one kind may differ
MOST_ERROR = 0.35  # root mean square of a logit's error over the logits' spread: else it is broken


@dataclass(frozen=True, eq=False)
class BinaryNet:
    """logits = V sign(W x + b) + c, x = sign(pixel - threshold), up to a positive factor.

    Attributes:
        w: -1 or +1, [H, I]; b: [H].
        v: -1 or +1, [R, H]; c: [R].
        shape, pool, threshold: images (H, W), averaged in squares, then compared.
    """

    w: Integers
    b: Array
    v: Integers
    c: Array
    shape: tuple[int, int]
    pool: int
    threshold: float

    def __post_init__(self) -> None:
        """Raises: ModelError: a weight is neither -1 nor +1, or shapes do not match."""
        if not (np.abs(self.w) == 1).all() or not (np.abs(self.v) == 1).all():
            raise ModelError("a binarized net's weights are -1 or +1")
        if self.v.shape[1] != len(self.w) or len(self.b) != len(self.w):
            raise ModelError("the layers of the binarized net do not fit each other")

    @property
    def offsets(self) -> Integers:
        """t [H]: a hidden bit is [W u + t >= 0]."""
        return np.floor((self.b - self.w.sum(1)) / 2).astype(np.int64)

    @property
    def constants(self) -> Integers:
        """What is added to V h, h the hidden bits, so that its order is that of the logits, [R]."""
        return np.rint((self.c - self.v.sum(1)) / 2).astype(np.int64)

    def bits(self, images: Array) -> Integers:
        """Images [B, H, W] in [0, 1] -> bits [B, I]."""
        return binarize(images, self.pool, self.threshold)

    def logits(self, bits: Integers) -> Integers:
        """The integers that the circuit computes, in the clear: [B, I] -> [B, R]."""
        hidden = (bits @ self.w.T + self.offsets >= 0).astype(np.int64)
        return hidden @ self.v.T + self.constants


def binarize(images: Array, pool: int, threshold: float) -> Integers:
    """Has a pixel (a mean of `pool` x `pool`) reached the threshold? [B, I]"""
    pooled = pool_images(images.astype(np.float32), pool)
    return (pooled.reshape(len(images), -1) >= np.float32(threshold)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Compiled:
    """A circuit, and how it was chosen.

    Attributes:
        choice: what was given up.
        simulated_accuracy, plain_accuracy: on the validation records.
        complexity: Concrete's estimate of its cost.
        input_bytes: of an encrypted image.
    """

    circuit: Any
    choice: Choice
    simulated_accuracy: float
    plain_accuracy: float
    complexity: float
    input_bytes: int

    def server_bytes(self) -> bytes:
        """`server.zip`: the compiled circuit, no key."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "server.zip"
            self.circuit.server.save(path)
            return path.read_bytes()

    def client_specs(self) -> bytes:
        """What a client needs to make keys and encrypt."""
        specs = self.circuit.client.specs.serialize()
        return specs if isinstance(specs, bytes) else specs.encode()


def compile_net(
    net: BinaryNet, bits: Integers, labels: NDArray, choices: Sequence[Choice] = CHOICES
) -> Compiled:
    """Compile with the first choice that keeps the accuracy, and test what came out.

    Args:
        bits: validation records [B, I]; their sums also set the circuit's widths.
        labels: [B]

    Raises:
        ModelError: Concrete finds no parameters for any choice, or what it compiled is wrong.
    """
    plain = _accuracy(net.logits(bits), labels)
    for choice in choices:
        try:
            circuit = _compile(net, bits, choice)
        except RuntimeError:  # NoParametersFound
            continue
        simulated = np.array([circuit.simulate(record) for record in bits])
        accuracy = _accuracy(simulated, labels)
        if accuracy >= plain - KEPT:
            input_bytes = _self_test(net, circuit, bits)
            return Compiled(circuit, choice, accuracy, plain, circuit.complexity, input_bytes)
    raise ModelError(
        "Concrete finds no parameters under which this net keeps its accuracy: hold its sums "
        "with [arithmetic] accumulator_bits, or use fewer pixels or hidden units"
    )


def _compile(net: BinaryNet, bits: Integers, choice: Choice) -> Any:
    weight, offsets = net.w.T.astype(np.int64), net.offsets
    head, constants = net.v.T.astype(np.int64), net.constants
    rounded_bits, half = choice.rounded_bits, (1 << choice.rounded_bits) >> 1
    offsets = offsets - half  # to the nearest: what rounds to zero or more is -half or more

    def forward(u: Any) -> Any:
        sums = u @ weight + offsets
        if rounded_bits:
            sums = fhe.round_bit_pattern(
                sums, lsbs_to_remove=rounded_bits, exactness=fhe.Exactness.APPROXIMATE
            )
        return (sums >= 0) @ head + constants

    restriction = RangeRestriction()
    restriction.add_available_glwe_dimension(GLWE_DIMENSION)
    configuration = fhe.Configuration(
        p_error=choice.p_error,
        range_restriction=restriction,
        loop_parallelize=True,
        compress_evaluation_keys=True,
        compress_input_ciphertexts=True,
        fhe_simulation=True,
        show_progress=False,
    )
    shown = bits[_narrow(net, bits, choice.narrowed_bits, half)]
    return fhe.Compiler(forward, {"u": "encrypted"}).compile(list(shown), configuration)


def _narrow(net: BinaryNet, bits: Integers, narrowed_bits: int, half: int) -> NDArray[np.bool_]:
    """The records whose sums fit in fewer bits than all records' do, [B].

    Concrete makes a circuit as wide as the records that it is shown need.

    Raises:
        RuntimeError: hardly any do.
    """
    sums = bits @ net.w.T
    # in each record: the products, what is rounded, and what it is rounded to
    least = np.minimum(sums, sums + net.offsets - half).min(1)
    most = np.maximum(sums, sums + net.offsets).max(1)
    limit = 1 << max(int(most.max()).bit_length(), int(-1 - least.min()).bit_length())
    limit >>= narrowed_bits
    fits = (least >= -limit) & (most < limit)
    if fits.sum() < FEWEST_SHOWN:
        raise RuntimeError(f"only {fits.sum()} records fit")
    return np.asarray(fits)


def _self_test(net: BinaryNet, circuit: Any, bits: Integers) -> int:
    """Run one record in real FHE: Concrete may compile what computes wrongly (its issue 1306).

    Returns:
        The bytes of an encrypted record.

    Raises:
        ModelError: it does.
    """
    circuit.keygen()
    upload = circuit.encrypt(bits[0])
    encrypted = np.array(circuit.decrypt(circuit.run(upload)))
    plain = net.logits(bits[:200])
    error = math.sqrt(float(np.square(encrypted - plain[0]).mean()))
    if error > MOST_ERROR * float(plain.std()):
        raise ModelError(
            f"the compiled circuit computes wrongly: its logits are off by {error:.1f} where they "
            f"spread by {plain.std():.1f}; choose other rounding or a smaller p_error"
        )
    return len(upload.serialize())


def _accuracy(logits: NDArray, labels: NDArray) -> float:
    return float((logits.argmax(1) == labels).mean())


class Circuit:
    """A compiled circuit, ready to run on a client's ciphertexts."""

    def __init__(self, path: Path, input_bytes: int) -> None:
        """Args:
        path: of `server.zip`.
        input_bytes: what an encrypted image takes: all take the same.
        """
        self._server = fhe.Server.load(path)
        self._input_bytes = input_bytes

    def load_keys(self, parts: tuple[bytes, ...]) -> Any:
        """Evaluation keys from bytes.

        Raises:
            CiphertextError: they are not.
        """
        if len(parts) != 1:
            raise CiphertextError(f"{len(parts)} parts, where one belongs")
        try:
            return fhe.EvaluationKeys.deserialize(parts[0])
        except (RuntimeError, ValueError) as error:
            raise CiphertextError(f"not evaluation keys: {error}") from None

    def run(self, parts: tuple[bytes, ...], keys: Any) -> tuple[bytes, ...]:
        """From encrypted bits to encrypted logits.

        Raises:
            CiphertextError: the upload is not what a client of this model sends.
        """
        if len(parts) != 1 or abs(len(parts[0]) - self._input_bytes) > SLACK_BYTES:
            raise CiphertextError(f"not an encrypted image of about {self._input_bytes} bytes")
        try:
            answer = self._server.run(fhe.Value.deserialize(parts[0]), evaluation_keys=keys)
        except (RuntimeError, ValueError) as error:
            raise CiphertextError(f"could not be computed: {error}") from None
        return (answer.serialize(),)
