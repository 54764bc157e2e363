"""P-bits against enumeration: gates, circuits, and the law that chains obey."""

import itertools
import json
import sys

import numpy as np
import pytest

from clients.arithmetic.pbits import circuits, gates
from clients.arithmetic.pbits.factoring import factor
from clients.arithmetic.pbits.gates import TABLES, energies, gate, states
from clients.arithmetic.pbits.sampling import Chains, boltzmann, visited
from privacy.errors import ModelError, SettingsError
from server import cli


@pytest.mark.parametrize("name", TABLES)
def test_the_ground_states_are_the_rows_of_the_table(name):
    """Energies by loops over spins, not by the room's own."""
    h, J, gap = gate(name)
    inputs, function = TABLES[name]
    rows = {(*bits, *function(*bits)) for bits in itertools.product((0, 1), repeat=inputs)}
    energy = {}
    for m in itertools.product((-1, 1), repeat=len(h)):
        fields = sum(int(h[i]) * m[i] for i in range(len(h)))
        pairs = itertools.combinations(range(len(h)), 2)
        energy[m] = -fields - sum(int(J[i, j]) * m[i] * m[j] for i, j in pairs)
    least = min(energy.values())
    ground = [tuple((s + 1) // 2 for s in m) for m, e in energy.items() if e == least]
    visible = [bits[: len(next(iter(rows)))] for bits in ground]
    assert sorted(visible) == sorted(rows)
    assert min(e for e in energy.values() if e > least) - least == gap > 0
    assert sorted(energies(h, J)) == sorted(energy.values())


def test_one_spin_is_a_gate_and_all_states_are_none():
    one = gates.solve(np.array([[1.0]]))
    assert (one.h.tolist(), one.J.tolist(), one.gap) == ([1], [[0]], 2)
    assert gates.solve(states(2)) is None
    share = visited(one.h, one.J, 0.3, chains=256, sweeps=500, burn=5, seed=1)
    assert np.abs(share - boltzmann(one.h, one.J, 0.3)).sum() / 2 <= 0.01


def test_a_cold_gate_saturates_and_stays_a_law():
    """At an I0 at which tanh is 1 every chain that began warm is in a row, as the law says."""
    h, J, _ = gate("and")
    walk = Chains(h, J, {}, 2000, 1)
    with np.errstate(all="raise", under="ignore"):
        for I0 in (*np.linspace(0.05, 2, 60), 1e6):
            walk.sweep(walk.chances(I0))
        law = boltzmann(h, J, 1e6)
    seen = np.bincount(walk.read([2, 1, 0]), minlength=8) / 2000
    assert seen[law == 0].sum() < 0.01
    assert np.abs(seen - law).max() < 0.05


@pytest.mark.parametrize(
    ("h", "J", "said"),
    [
        ([0.5, 1], [[0, 1], [1, 0]], "whole numbers"),
        ([0, 1], [[0, 0.5], [0.5, 0]], "whole numbers"),
        ([0, np.nan], [[0, 1], [1, 0]], "whole numbers"),
        ([0, 1], [[0, 1], [0, 0]], "symmetric"),
        ([0, 1], [[1, 0], [0, 0]], "with itself"),
    ],
)
def test_what_has_no_energy_or_no_integers_is_refused(h, J, said):
    with pytest.raises(ModelError, match=said):
        Chains(np.array(h), np.array(J), {}, 4, 1)


def test_a_table_that_is_none_is_refused():
    assert gates.solve(2.0 * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) - 1) is None
    with pytest.raises(ModelError, match="nand: no such gate; known: and, or"):
        gate("nand")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("I0", [0.2, 0.5])
def test_chains_obey_boltzmanns_law(name, I0):
    """Total variation of 0.01 at most; and, twin, more at another temperature."""
    h, J, _ = gate(name)
    share = visited(h, J, I0, chains=256, sweeps=1500, burn=200, seed=7)
    assert np.abs(share - boltzmann(h, J, I0)).sum() / 2 <= 0.01
    assert np.abs(share - boltzmann(h, J, I0 * 1.3)).sum() / 2 > 0.02


def test_a_clamped_gate_runs_backwards():
    """Of an AND whose output is 1, both inputs are; of a 0, the three others, alike."""
    h, J, _ = gate("and")
    for value, expected in ((1, {3: 1.0}), (-1, {0: 1 / 3, 1: 1 / 3, 2: 1 / 3})):
        walk = Chains(h, J, {2: value}, 4000, 5)
        for I0 in np.linspace(0.05, 1.5, 60):
            walk.sweep(walk.chances(I0))
        assert (walk.m[2] == value).all()
        seen = np.bincount(walk.read([0, 1]), minlength=4) / 4000
        assert seen == pytest.approx([expected.get(k, 0.0) for k in range(4)], abs=0.05)


def test_a_multipliers_ground_states_multiply():
    made = circuits.multiplier(2)
    h, J = made.circuit.matrices()
    E, m = energies(h, J), states(made.circuit.num) > 0
    ground = m[E.min() == E]

    def number(spins):
        return sum(ground[:, s].astype(int) << k for k, s in enumerate(spins))

    a, b, product = number(made.a), number(made.b), number(made.product)
    assert (a * b == product).all()
    assert len({*zip(a.tolist(), b.tolist(), strict=True)}) == len(ground) == 16


def test_no_two_spins_of_a_colour_are_coupled():
    _, J = circuits.multiplier(4).circuit.matrices()
    groups = circuits.colours(J)
    assert sorted(i for group in groups for i in group) == list(range(len(J)))
    assert all(not J[np.ix_(group, group)].any() for group in groups)
    assert len(groups) < len(J) / 3


@pytest.mark.parametrize(("product", "factors"), [(143, (11, 13)), (3599, (59, 61))])
def test_a_multiplier_factors(product, factors):
    found = factor(product)
    assert found.factors == factors
    assert found.solved == found.chains
    assert found.median < found.guessing
    assert found == factor(product)  # all follows from the seed


def said(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["privet", "invert", *words])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    told = capsys.readouterr()
    return int(leave.value.code or 0), told.out, told.err


def test_the_command(capsys, monkeypatch):
    status, out, err = said(capsys, monkeypatch, "143")
    assert (status, out.splitlines()[0]) == (0, "11 x 13")
    status, out, _ = said(capsys, monkeypatch, "221", "--bits", "5", "--json")
    assert status == 0
    assert json.loads(out)["factors"] == [13, 17]
    status, _, err = said(capsys, monkeypatch, "13", "--sweeps", "50")
    assert status == 1
    assert err.startswith("privet: 13: no two factors of 2 bits in 50 sweeps")
    for words, line in (
        (["3"], "3: has no two factors"),
        (["143", "--bits", "3"], "give --bits 4 or more"),
        (["143", "--bits", "99"], "a factor has from 2 to 16 bits"),
    ):
        status, out, err = said(capsys, monkeypatch, *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert line in err
    with pytest.raises(SettingsError):
        factor(-4)
