"""The PUBLIC side of boolean FHE: a perceptron of signs as a Concrete circuit (TFHE).

Weights, pixels and activations are -1 or +1. With bits u = (x + 1) / 2 the sums are
W x + b = 2 (W u + t), so a hidden unit is the sign of W u + t >= 0: additions, which cost next to
nothing, and one programmable bootstrap a unit, whose price is the width of the sum. Two bits of
that width are saved without any loss:

- All sums of an image are even or odd together, as its number of ones is. The client, who knows
  that, sends it as one bit more; with it each sum is brought to the even number below, and its
  lowest bit, which is zero then, is left out (`even_rows`).
- A bootstrap's table is negacyclic: what it says of v it says of v + 2^p with the other sign. A
  sign is just that, so the padding bit on which tables rely is not needed (`_sign_tables`).

Nothing else is given up. A bootstrap may err only as rarely as keeps the chance of any error in an
answer below `ERROR_RATE`, whatever the image; no record is read to compile. The width of the sums
is what the weights can reach, or the one that training was told to keep to and `SPARE_BITS` more: a
sum beyond it would wrap round.

It is built on concrete-python and not on Concrete ML, whose quantized networks put several bits and
a requantization where one sign does (784 bootstraps an image, about 10 s), and of which one pin has
no wheel for Python 3.12.

Shapes: B records, I inputs, H hidden units, R classes.
"""

import json
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from concrete import fhe
from concrete.fhe.compilation.configuration import RangeRestriction
from concrete.fhe.dtypes import Integer
from concrete.fhe.values import EncryptedTensor

from privacy.encrypted.signs import STEPS, BinaryNet, Integers, with_parity, wrapped_logits
from privacy.errors import CiphertextError, ModelError
from privacy.security import BIT_DEVIATION, SECURITY_BITS, estimate_bits, least_tfhe_deviation

ERROR_RATE = 1e-3  # chance that noise changes any number of an answer, at most
SPARE_BITS = 1  # of a sum, above the width that training was told to keep to
LEAST_SUM_BITS = 4  # what Concrete makes tables for
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGQUIT)
CALIBRATION = "bounds derived from the weights, no record of any data set"
# Concrete's optimizer reckons rings of many small polynomials cheap, but their keys are six times
# as large, and reading them at each bootstrap takes more time than the operations do.
GLWE_DIMENSION = 1
# The bits that are rounded off are zero: nothing is to be clipped, and no half step to be added.
ROUNDING = fhe.ApproximateRoundingConfig(
    logical_clipping=False,
    approximate_clipping_start_precision=False,
    reduce_precision_after_approximate_clipping=False,
    symetrize_deltas=False,
)
SHOWN = 2  # drawn inputs on which a new circuit is simulated
ENVELOPE_BYTES, SLACK_BYTES = 248, 64  # round serialized ciphertexts; by which it may differ


class Lattice(NamedTuple):
    """What something of a circuit is encrypted under: secret bits, and an error on the torus."""

    dimension: int
    deviation: float


@dataclass(frozen=True, eq=False)
class Compiled:
    """A circuit, and what is known of it.

    Attributes:
        sum_bits: the width of its sums, sign included.
        p_error: that a bootstrap, or the decryption of a logit, errs.
        error_rate: that any of them does in an answer, at most.
        complexity: Concrete's estimate of its cost.
        input_bytes: of an encrypted image.
    """

    circuit: Any
    sum_bits: int
    p_error: float
    error_rate: float
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


@contextmanager
def own_signals() -> Iterator[None]:
    """LLVM's compiler installs handlers of its own; give the process back those that it had.

    That of SIGPIPE ends the process: a client that closes its connection would end the service.
    """
    before = {number: signal.getsignal(number) for number in (*ENDING, signal.SIGPIPE)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number, handler in before.items():
                signal.signal(number, handler)


@own_signals()
def compile_net(net: BinaryNet, accumulator_bits: int = 0, p_error: float = 0.0) -> Compiled:
    """Compile, from the weights alone, and check what came out.

    Args:
        accumulator_bits: the width to which training kept the sums; 0 if it did not, and the width
            is then what the weights can reach, at a price.
        p_error: of a bootstrap, in place of what `ERROR_RATE` asks for: for tests.

    Raises:
        ModelError: Concrete finds no parameters, or what it compiled is insecure or wrong.
    """
    sum_bits = net.reach_bits
    if accumulator_bits:
        sum_bits = min(sum_bits, accumulator_bits + SPARE_BITS)
    sum_bits = max(sum_bits, LEAST_SUM_BITS)
    chances = len(net.w) + len(net.v)  # a bootstrap a unit, a decryption a class
    asked = p_error or ERROR_RATE / chances
    try:
        circuit = _compile(net, sum_bits, asked)
    except RuntimeError:  # NoParametersFound
        raise ModelError(
            f"Concrete finds no parameters for sums of {sum_bits} bits: hold them with "
            "[arithmetic] accumulator_bits, or use fewer pixels or hidden units"
        ) from None
    if circuit.programmable_bootstrap_count != len(net.w) or circuit.p_error > asked:
        raise ModelError(
            f"the compiled circuit has {circuit.programmable_bootstrap_count} bootstraps that err "
            f"at {circuit.p_error:.2g}, where {len(net.w)} at {asked:.2g} were asked for"
        )
    specs = json.loads(circuit.client.specs.serialize())
    _require_security(lattices(specs))
    _require_right(net, circuit, sum_bits)
    rate = chances * circuit.p_error
    input_bytes = circuit.size_of_inputs + ENVELOPE_BYTES
    return Compiled(circuit, sum_bits, circuit.p_error, rate, circuit.complexity, input_bytes)


def _compile(net: BinaryNet, sum_bits: int, p_error: float) -> Any:
    """The circuit as it is written: every width is stated, and none is learned from inputs."""
    rows, offsets = net.even_rows()
    stored_bits = sum_bits - 1  # without the padding bit; the lowest is rounded off
    tables, signs = _sign_tables(net, stored_bits)
    weight, head, constants = rows.T, STEPS * (net.v * signs).T, net.constants
    # A signed number meets its table half a range higher. Constants wrap round as sums do, and in
    # two parts they are no wider than a sum.
    shift = (offsets - (1 << stored_bits - 1) + (1 << stored_bits)) % (1 << sum_bits)
    shift = shift - (1 << stored_bits)
    first = shift // 2
    second = shift - first

    def forward(u: Any) -> Any:
        sums = u @ weight + first + second
        even = fhe.round_bit_pattern(sums, lsbs_to_remove=1, exactness=fhe.Exactness.APPROXIMATE)
        return tables[even] @ head + constants

    restriction = RangeRestriction()
    restriction.add_available_glwe_dimension(GLWE_DIMENSION)
    configuration = fhe.Configuration(
        p_error=p_error,
        range_restriction=restriction,
        approximate_rounding_config=ROUNDING,
        loop_parallelize=True,
        compress_evaluation_keys=True,
        compress_input_ciphertexts=True,
        fhe_simulation=True,
        show_progress=False,
    )
    bits = EncryptedTensor(Integer(is_signed=False, bit_width=stored_bits), (weight.shape[0],))
    return fhe.Compiler.assemble(forward, {"u": bits}, configuration)


def _sign_tables(net: BinaryNet, stored_bits: int) -> tuple[fhe.LookupTable, Integers]:
    """A table a unit which says +1 of every sum from 0 up, and so -1 of every sum below.

    Concrete takes a table of one value for a constant and leaves the bootstrap out, unless units
    have different ones: every other says -1, and its unit counts the other way.

    Returns:
        The tables, and the sign [H] with which their results count.
    """
    signs = np.where(np.arange(len(net.w)) % 2, -1, 1)
    if len(signs) < 2:
        raise ModelError("one hidden unit, where two at least make a circuit")
    each = [fhe.LookupTable([int(sign)] * (1 << stored_bits)) for sign in signs]
    tables = fhe.LookupTable(np.array(each, dtype=object))
    width = 1 + net.largest_logit.bit_length()
    tables.output_dtype = Integer(is_signed=True, bit_width=width)
    return tables, signs


def lattices(specs: dict[str, Any]) -> list[Lattice]:
    """All that keys and inputs are encrypted under, from Concrete's specification of a client."""
    found = []
    for key in specs["keyset"]["lweBootstrapKeys"]:
        params = key["params"]
        secret_bits = params["glweDimension"] * params["polynomialSize"]
        found.append(Lattice(secret_bits, params["variance"] ** 0.5))
    for key in specs["keyset"]["lweKeyswitchKeys"]:
        params = key["params"]
        found.append(Lattice(params["outputLweDimension"], params["variance"] ** 0.5))
    for circuit in specs["circuits"]:
        for value in circuit["inputs"]:
            params = value["typeInfo"]["lweCiphertext"]["encryption"]
            found.append(Lattice(params["lweDimension"], params["variance"] ** 0.5))
    return found


def _require_security(found: list[Lattice]) -> None:
    """Raise ModelError if one of the lattices offers less than 128 bits."""
    for dimension, deviation in found:
        least = least_tfhe_deviation(dimension)
        bits = estimate_bits(dimension, 64, deviation * 2.0**64, BIT_DEVIATION)
        if deviation < least or bits < SECURITY_BITS:
            raise ModelError(
                f"TFHE parameters: an error of {deviation:.3g} in dimension {dimension}; at "
                f"{SECURITY_BITS}-bit security {least:.3g} is the least"
            )


def _require_right(net: BinaryNet, circuit: Any, sum_bits: int) -> None:
    """Simulate drawn inputs: Concrete may compile what computes wrongly (its issue 1306).

    Noise changes one answer in 1 / `ERROR_RATE` at most, so one that is right is enough, and that
    none is tells of another fault.

    Raises:
        ModelError: none is right.
    """
    bits = np.random.default_rng(0).integers(0, 2, (SHOWN, net.w.shape[1]))
    wanted = wrapped_logits(net, bits, sum_bits)
    found = [circuit.simulate(record) for record in with_parity(bits)]
    if not any(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)):
        raise ModelError("the compiled circuit computes wrongly: no simulated answer is right")


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
