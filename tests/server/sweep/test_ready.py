"""Ready sweeps: each cell of theirs is an experiment, and the null learns nothing."""

import pytest

from server.sweep.axes import grid, parse_axes
from server.sweep.document import Document
from server.sweep.ready import SWEEPS
from server.sweep.stages import Order, stages_of
from server.sweep.sweep import Sweep


@pytest.mark.parametrize("name", SWEEPS)
def test_every_cell_is_an_experiment_that_can_be_attacked_and_priced(name, tmp_path):
    ready = SWEEPS[name]
    axes = parse_axes(ready.over)
    document = Document(experiment=name, command=[], fixed=[], axes={})
    order = Order(attack=ready.attack, audit=ready.audit, chips=ready.chips)
    sweep, promised = Sweep(tmp_path, document), set()
    for point, settings in grid(axes):
        experiment = sweep.experiment_of(settings)
        reasons = stages_of(experiment, order)
        assert not reasons["attack"]
        assert not reasons["cost"]
        assert bool(reasons["audit"]) == (experiment.budget.unit == "none")
        promised.add((point["arithmetic.name"], experiment.budget.unit))
    labels = axes[0].labels
    assert promised == {(label, unit) for label in labels for unit in ("record", "none")}
    assert {"float", "int8", "binary", "stochastic", "spiking", "STDP", "invertible"} < {*labels}
