"""A Cortex-M55 in QEMU: the simulation's bits, or it is told."""

import pytest
from test_board import CONTRACT, LAYERS, RECORDS

from clients.firmware import qemu
from clients.firmware.check import simulate
from clients.firmware.sources import sources

pytestmark = pytest.mark.skipif(
    bool(qemu.not_installed()), reason="not verified on the target: qemu-system-arm"
)


@pytest.mark.parametrize("fault", ["", "another learning rate"])
def test_an_m55_is_the_simulation(fault):
    truth, text = simulate(CONTRACT, LAYERS, RECORDS, RECORDS[0][:9], 12), sources(CONTRACT, LAYERS)
    if fault:
        text["sums.h"] = text["sums.h"].replace("PRIVET_RATE *", "(0.999f * PRIVET_RATE) *")
    seen = qemu.see(text, CONTRACT, truth, RECORDS[0][:9])
    assert (seen.steps, seen.differs_at) == ((0, 1) if fault else (12, 0))
    assert seen.answers == seen.asked == 9
    assert seen.passed == (not fault)
