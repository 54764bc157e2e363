"""Event-driven chips: their files, spikes' ways, and joules beside loops and published powers."""

import tomllib

import numpy as np
import pytest

from clients.chip import load_chip
from clients.chip.events import LayerEvents, load_event_chip, price, ready_event_chips
from clients.chip.events.hardware import READY
from clients.chip.events.placement import place
from privacy.errors import SettingsError

RECORDS, STEPS = 3, 4


@pytest.mark.parametrize("name", ready_event_chips())
def test_ready_chips_load_and_name_their_sources(name):
    tables = tomllib.loads((READY / f"{name}.toml").read_text())
    assert load_event_chip(name).title == tables["title"]
    assert all(constant["source"].strip() for constant in tables["energy"].values())
    with pytest.raises(SettingsError, match=f"privet cost RUN --chip {name}"):
        load_chip(name)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("number = 128", "number = 0", r"mine.toml: \[cores\] number = 0"),
        ("hop_x =", "hop_z =", r"\[energy\] hop_z: unknown key"),
        ("pj = 23.6", "pj = -1.0", r"\[energy\] synapse"),
        ('kind = "spiking"', 'kind = "float"', "kind = 'float'"),
        ("synapse_ns = 3.5\n", "", r"\[time\] synapse_ns: missing; add it"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, old, new, said):
    text = (READY / "loihi.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError, match=said):
        load_event_chip(str(path))


def drawn(name, neurons, weights, seed):
    rng = np.random.default_rng(seed)
    counts = (rng.integers(0, 50, (RECORDS, STEPS)).astype(float) for _ in range(2))
    active = rng.integers(0, neurons + 1, (RECORDS, STEPS)).astype(float)
    fired = rng.integers(0, neurons + 1, (RECORDS, STEPS)).astype(float)
    learnt = rng.integers(0, 9, RECORDS).astype(float)
    return LayerEvents(name, neurons, weights, *counts, active, fired, learnt)


LAYERS = [drawn("a", 3000, 500_000, 1), drawn("b", 10, 30_000, 2)]


def test_layers_take_the_next_cores_and_spikes_go_along_rows_and_columns():
    """Cores 0 to 3 are tile 0, 4 to 7 its neighbour in the row, and 32 begins the next row."""
    chip = load_event_chip("loihi")
    first, second, third = place(chip, [(4096, 0), (1, 30 * 131_072), (1, 1)])
    assert [(p.first, p.after) for p in (first, second, third)] == [(0, 4), (4, 34), (34, 35)]
    assert (first.hops_x, first.hops_y) == (0, 0)
    assert second.hops_x == 4 * sum(range(1, 8)) + 2 * 0
    assert second.hops_y == 2
    sources = [divmod(core // 4, 8)[::-1] for core in range(4, 34)]
    assert third.hops_x == pytest.approx(sum(x for x, _ in sources) / 30)
    assert third.hops_y == pytest.approx(sum(1 - y for _, y in sources) / 30)


@pytest.mark.parametrize("name", [n for n in ready_event_chips() if n != "p-bits"])
@pytest.mark.parametrize("learns", [False, True])
def test_joules_are_those_of_events_added_up_one_by_one(name, learns):
    chip = load_event_chip(name)
    pj, each = chip.energy, []
    for r in range(RECORDS):
        total = 0.0
        for layer, at in zip(LAYERS, place(chip, [(3000, 500_000), (10, 30_000)]), strict=True):
            for t in range(STEPS + 1):
                counted = t < STEPS
                active = layer.active[r, t] if counted else 0
                total += active * pj.neuron.pj + (layer.neurons - active) * pj.idle_neuron.pj
                if counted:
                    total += layer.events[r, t] * pj.synapse.pj + layer.fired[r, t] * pj.fire.pj
                    for _ in range(at.cores):
                        total += layer.arriving[r, t] * pj.spike.pj
                    ways = at.hops_x * pj.hop_x.pj + at.hops_y * pj.hop_y.pj
                    total += layer.arriving[r, t] * ways
            if learns and pj.learn:
                total += layer.learnt[r] * pj.learn.pj
        each.append(total * 1e-12)
    cost = price(LAYERS, chip, learns=learns)
    assert cost.energy_j == pytest.approx(np.mean(each))
    assert cost.energy_99_j == pytest.approx(max(each))
    assert sum(sum(row.energy_j.values()) for row in cost.rows) == pytest.approx(cost.energy_j)


def test_a_step_is_as_long_as_its_busiest_core_and_no_shorter_than_a_tick():
    chip = load_event_chip("loihi")
    (a, cores), barrier = (LAYERS[0], 4), 113 + 11.35  # five cores are two tiles
    steps = (a.events * 3.5 + 3000 * 8.4) / cores + barrier
    idle = 3000 * 8.4 / cores + barrier
    assert price(LAYERS, chip).latency_s == pytest.approx((steps.sum(1) + idle).mean() * 1e-9)
    assert price(LAYERS, load_event_chip("truenorth")).latency_s == pytest.approx(1e-3 * 5)


def test_published_powers():
    """TrueNorth: 65 mW at 2^20 neurons, 20 Hz, 128 synapses (Merolla et al. 2014). SpiNNaker: less
    than 1 W a chip of 48 at 1.8e9 events a second and 250,000 neurons (Stromatias et al. 2013)."""
    north, spin = load_event_chip("truenorth"), load_event_chip("spinnaker")
    events = 2**20 * 20 * 128 * north.energy.synapse.pj * 1e-12
    assert events == pytest.approx(north.whole_w, rel=0.08)
    watts = 1.8e9 * spin.energy.synapse.pj * 1e-12 + 250e6 * spin.energy.neuron.pj * 1e-12
    assert watts / 48 < spin.whole_w
