"""Sampling as a mechanism before the auditor: what a state read from records' energies tells.

`clients.arithmetic.pbits.private` is asked many times, with a canary among the records and without
it, and an adversary who sees one state guesses which it was. The canary's whole term lies on one
spin, which two other records hold the other way: so epsilon comes near its bound, and spins that
are 1 all the same are not so rare that nothing can be measured.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from attacks.audit.canaries import Bound, epsilon_independent
from attacks.audit.claim import LEVEL
from attacks.leakage import clopper_pearson
from clients.arithmetic.pbits import private
from clients.arithmetic.pbits.sampling import log_boltzmann
from privacy.errors import SettingsError
from privacy.files import is_file
from privacy.settings import Range, Section, parse, read_toml

PROMISED, MEASURED = "promised", "measured, not promised"
AGAINST = 2  # records that hold the canary's spin the other way
Machine = tuple[NDArray[np.int32], NDArray[np.int32]]


class Sampler(Section):
    """[sampler]: of what is audited; the auditor makes up the records.

    Attributes:
        spins: of a state. `records`: whose terms the energy is. `coupled`: terms have couplings.
        clip: of a record's term. `I0`: inverse temperature.
        sweeps: of a chain. `states`: read for each guess, chains or draws.
    """

    spins: Annotated[int, Range(2, 12)] = 8
    records: Annotated[int, Range(AGAINST, 1000)] = 20
    coupled: bool = True
    clip: Annotated[float, Range(1e-3, 1e3)] = 1.0
    I0: Annotated[float, Range(1e-4, 10)] = 0.5
    sweeps: Annotated[int, Range(1, 1000)] = 8
    states: Annotated[int, Range(100, 1_000_000)] = 20_000


class _File(Section):
    sampler: Sampler


@dataclass(frozen=True)
class Reading:
    """One way to read a state.

    Attributes:
        epsilon, delta: proved.
        proof: of what.
        here: epsilon of this very canary among these records, by enumeration.
        bound: a lower bound on epsilon, from guesses, all but certain (1 in 10,000).
    """

    name: str
    state: str
    epsilon: float
    delta: float
    proof: str
    here: float
    bound: Bound

    @property
    def passed(self) -> bool:
        """Is there no more found than was promised?"""
        return self.bound.epsilon <= self.epsilon


@dataclass(frozen=True)
class Sampled:
    """Both ways; `charged`: what a ledger may be charged, that of the exact sampler alone."""

    readings: tuple[Reading, ...]
    charged: float

    @property
    def passed(self) -> bool:
        """Did both keep what is proved of them?"""
        return all(reading.passed for reading in self.readings)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"passed": self.passed, **asdict(self)}


def load_sampler(name: str) -> Sampler:
    """Read [sampler] by the path of its TOML file.

    Raises:
        SettingsError: no such file, or something wrong in it: one line for each.
    """
    if not is_file(Path(name)):
        raise SettingsError(f"{name}: no such file; a sampler is a TOML file: [sampler]")
    return parse(_File, read_toml(Path(name)), Path(name).name).sampler


def audit_sampler(about: Sampler, seed: int = 0) -> Sampled:
    """Guess from states which of two neighbouring sets of records they were read from."""
    beside = _machines(about, seed)
    step_I0 = about.I0 * about.clip / private.STEPS
    exact = [private.exact(*one, step_I0, about.states, seed + n) for n, one in enumerate(beside)]
    chains = [
        private.chain(*one, step_I0, about.sweeps, about.states, seed + n)
        for n, one in enumerate(beside)
    ]
    epsilon = private.epsilon_exact(about.I0, about.clip)
    composed = private.epsilon_of_chain(about.I0, about.clip, about.sweeps, coupled=about.coupled)
    return Sampled(
        readings=(
            Reading(
                "exact sampler",
                PROMISED,
                epsilon,
                0.0,
                "exponential mechanism: 2 x I0 x clip",
                _farthest([log_boltzmann(*one, step_I0) for one in beside]),
                _guessed(exact),
            ),
            Reading(
                f"chain of {about.sweeps} sweeps",
                MEASURED,
                composed,
                private.delta_of_chain(composed, about.spins, about.sweeps),
                f"composition of {about.sweeps * about.spins} flips; that it has the exact "
                f"sampler's {epsilon:.3g} is assumed",
                _farthest([private.law_of_chain(*one, step_I0, about.sweeps) for one in beside]),
                _guessed(chains),
            ),
        ),
        charged=epsilon,
    )


def _machines(about: Sampler, seed: int) -> list[Machine]:
    """The sums of the records' terms, without the canary and with it."""
    rng, shape = np.random.default_rng(seed), (about.records + 1, about.spins)
    h, J = rng.normal(size=shape), rng.normal(size=(*shape, about.spins))
    J = (J + J.transpose(0, 2, 1)) * (1 - np.eye(about.spins)) * about.coupled
    h[:, 0], J[:, 0], J[:, :, 0] = 0, 0, 0
    h[: AGAINST + 1], J[: AGAINST + 1] = 0, 0
    h[:AGAINST, 0], h[AGAINST, 0] = -2 * about.clip, 2 * about.clip  # cut to the clip
    fields, couplings = private.clipped(h, J, about.clip)
    kept = np.arange(about.records + 1) != AGAINST
    return [(fields[rows].sum(0), couplings[rows].sum(0)) for rows in (kept, kept | True)]


def _farthest(laws: list[NDArray[np.float64]]) -> float:
    """Of the logarithms of two laws."""
    return float(np.abs(laws[0] - laws[1]).max())


def _guessed(read: list[NDArray[np.int8]]) -> Bound:
    """The canary was there if its spin is 1."""
    false, right = (int((states[:, 0] > 0).sum()) for states in read)
    num = len(read[0])
    alpha = clopper_pearson(false, num, 1 - LEVEL)[1]
    beta = 1 - clopper_pearson(right, num, 1 - LEVEL)[0]
    return Bound(
        "Clopper-Pearson", epsilon_independent(alpha, beta, 0.0), "states are independent trials"
    )
