"""The accelerator model: what inference, a training step and a round cost on a device.

    network = trace(model, (28, 28))            or reference("alexnet")
    chip = load_chip("eyeriss")                 or load_chip("mine.toml")
    cost = estimate(network, chip, Workload("dp-sgd"), fixed(16), batch=64)

Closed forms throughout; a mapping is searched only where a chip has one (row stationary), under the
buffer's capacity. Every module says what is modelled, and what is not. No coefficient is fitted to
a row that the tests and benchmarks hold it against.

cost         a network on a chip, phase by phase
hardware     a chip as its TOML file says; the ready ones are in `chips/`
precision    the widths of operands
dataflows/   how a loop nest runs: cycles and traffic
events/      chips that compute when a spike arrives, and what counted spikes cost on them
memory/      where operands live
workloads/   what is asked of a chip
energy       joules by part
rates        how fast it is at most
roofline     operations against bytes
federated    a round on one device
"""

from clients.chip.cost import Cost, PhaseCost, estimate, in_turn
from clients.chip.hardware import Chip, load_chip, ready_chips
from clients.chip.memory.peak import Memory
from clients.chip.precision import BINARY, FLOAT, TERNARY, Precision, fixed, stochastic
from clients.chip.roofline import Roofline, figure, roofline
from clients.chip.workloads.networks import NETWORKS, reference
from clients.chip.workloads.workload import Network, Workload

__all__ = [
    "BINARY",
    "FLOAT",
    "NETWORKS",
    "TERNARY",
    "Chip",
    "Cost",
    "Memory",
    "Network",
    "PhaseCost",
    "Precision",
    "Roofline",
    "Workload",
    "estimate",
    "figure",
    "fixed",
    "in_turn",
    "load_chip",
    "ready_chips",
    "reference",
    "roofline",
    "stochastic",
]
