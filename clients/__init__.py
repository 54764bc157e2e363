"""A device: all that one edge node knows and does. It receives a `Job`, never an `Experiment`.

data/         the data on it
models/       the nets that it can train
arithmetic/   the numbers in which it computes
training/     the local loop
node/         the device in a federation: from a message to a reply
learning/     an owner of records, whose model is trained on their ciphertexts
firmware/     C for a microcontroller
boards/       a board that trains, between a job and its firmware
chip/         the accelerator model: what it all costs
layers        layers that models are built of, and how the compiled step sees them
protocol      what an arithmetic gives to a model
draws         what a device draws in training
seeds         seeds by purpose, of what no protection depends on
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clients.node.mod import ledger_mod

__all__ = ["ledger_mod"]


def __getattr__(name: str) -> Any:
    """`from clients import ledger_mod`, which loads Flower only then."""
    if name != "ledger_mod":
        raise AttributeError(name)
    from clients.node.mod import ledger_mod

    return ledger_mod
