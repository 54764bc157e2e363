"""What reading a state of spins promises, beside enumeration."""

import itertools
import math

import numpy as np
import pytest

from clients.arithmetic.pbits import private
from clients.arithmetic.pbits.gates import energies, states
from clients.arithmetic.pbits.sampling import boltzmann, log_boltzmann

RECORDS, SPINS = 5, 4


def terms(seed, records=RECORDS, coupled=True):
    rng = np.random.default_rng(seed)
    h, J = rng.normal(size=(records, SPINS)), rng.normal(size=(records, SPINS, SPINS))
    return 3 * h, coupled * (J + J.transpose(0, 2, 1)) * (1 - np.eye(SPINS))


def farthest(p, q):
    return max(abs(math.log(a / b)) for a, b in zip(p, q, strict=True))


def neighbours(h, J):
    """All records, and all but one."""
    whole = h.sum(0), J.sum(0)
    return [(whole, (whole[0] - h[r], whole[1] - J[r])) for r in range(len(h))]


@pytest.mark.parametrize("coupled", [False, True])
def test_no_record_changes_an_energy_by_more_than_the_clip(coupled):
    h, J = private.clipped(*terms(1, 50, coupled), clip=0.7)
    each = [np.abs(energies(a, b)).max() for a, b in zip(h, J, strict=True)]
    assert 0.8 * private.STEPS < max(each) <= private.STEPS
    small = private.clipped(*(0.01 * part for part in terms(1, 50, coupled)), clip=7.0)
    assert np.abs(small[0]).sum(1).max() < private.STEPS / 4  # what is small stays so


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_samplers_promise_holds_between_all_neighbours(seed):
    clip, I0 = 0.7, 1.3
    for one, other in neighbours(*private.clipped(*terms(seed), clip)):
        laws = [boltzmann(*machine, I0 * clip / private.STEPS) for machine in (one, other)]
        assert farthest(*laws) <= private.epsilon_exact(I0, clip) + 1e-12


def test_the_promise_is_the_least_that_can_be_made():
    """A record alone against many: the ratio comes as near as one likes."""
    h, J = np.full((1, 1), -20 * private.STEPS), np.zeros((1, 1))
    laws = [boltzmann(h[0] + k * private.STEPS, J, 0.5 / private.STEPS) for k in (0, 1)]
    assert farthest(*laws) == pytest.approx(private.epsilon_exact(0.5, 1.0), abs=1e-6)


def by_loops(h, J, I0, sweeps):
    """The law of a chain: every way of every flip, one after another."""
    law = {tuple(m): 1 / 2**SPINS for m in states(SPINS)}
    for _, i in itertools.product(range(sweeps), range(SPINS)):
        after = dict.fromkeys(law, 0.0)
        for m, p in law.items():
            field = h[i] + sum(J[i][j] * m[j] for j in range(SPINS))
            for s in (-1.0, 1.0):
                after[(*m[:i], s, *m[i + 1 :])] += p / (1 + math.exp(-2 * I0 * field * s))
        law = after
    return [law[tuple(m)] for m in states(SPINS)]


@pytest.mark.parametrize("coupled", [False, True])
def test_a_chains_law_is_enumerated_and_within_what_composition_proves(coupled):
    clip, I0, sweeps = 0.7, 1.3, 2
    step = I0 * clip / private.STEPS
    for one, other in neighbours(*private.clipped(*terms(2, coupled=coupled), clip))[:2]:
        law = np.exp(private.law_of_chain(*one, step, sweeps))
        np.testing.assert_allclose(law, by_loops(*one, step, sweeps))
        proved = private.epsilon_of_chain(I0, clip, sweeps, coupled=coupled)
        assert farthest(law, np.exp(private.law_of_chain(*other, step, sweeps))) <= proved
        read = private.chain(*one, step, sweeps, 40_000, seed=3)
        which = ((read > 0) @ (1 << np.arange(SPINS))[::-1]).astype(int)
        share = np.bincount(which, minlength=2**SPINS) / len(read)
        assert np.abs(share - law).sum() / 2 < 0.02
        np.testing.assert_allclose(private.law_of_chain(*one, step, 300), log_boltzmann(*one, step))


def test_without_couplings_one_sweep_is_exact_and_promises_as_much():
    h, J = (part.sum(0) for part in private.clipped(*terms(4, coupled=False), 1.0))
    np.testing.assert_allclose(private.law_of_chain(h, J, 0.01, 1), log_boltzmann(h, J, 0.01))
    assert private.epsilon_of_chain(0.5, 1.0, 1, coupled=False) == private.epsilon_exact(0.5, 1.0)
