"""Sweeps that are ready: what `privet sweep NAME` does where no axis is given.

referee   each arithmetic with and without a promise: does it protect? Beside them float nets that
          are trained less, since who learns less leaks less in any arithmetic; and, as a null, one
          whose steps are too small to keep anything: what an attack finds in it is chance
"""

from typing import NamedTuple


class Ready(NamedTuple):
    """As on the command line."""

    over: tuple[str, ...]
    chips: tuple[str, ...]
    seeds: int
    attack: bool = True
    audit: bool = True


# The rates at which each comes near a float net without a promise: 98, 93 or 88 % of small digits.
_REFEREE = (
    "float: arithmetic.name=float",
    "slow float: arithmetic.name=float+training.learning_rate=0.15",
    "slower float: arithmetic.name=float+training.learning_rate=0.1",
    "int8: arithmetic.name=fixed",
    "binary: arithmetic.name=binary+arithmetic.activation_bits=1+arithmetic.gradient_bits=32"
    "+training.learning_rate=0.5+model.hidden=[256]",
    "stochastic: arithmetic.name=stochastic+arithmetic.stream_length=16+training.learning_rate=3",
    "spiking: arithmetic.name=spiking+arithmetic.time_steps=4",
    "STDP: arithmetic.name=spiking+arithmetic.learning=pair+arithmetic.coding=rate"
    "+arithmetic.time_steps=20+arithmetic.threshold=0.2+training.learning_rate=4"
    "+model.hidden=[128]",
    "p-bits: arithmetic.name=p-bits+arithmetic.time_steps=16+training.learning_rate=0.1"
    "+training.momentum=0.9+training.local_steps=80+model.hidden=[128]",
    "invertible: arithmetic.name=invertible+training.learning_rate=20+model.hidden=[256]"
    "+budget.clip=4",
    "null: arithmetic.name=float+training.learning_rate=1e-9",
)
FLOATS, NULL = ("float", "slow float", "slower float"), "null"

SWEEPS = {
    "referee": Ready(
        over=(f"arithmetic.name={','.join(_REFEREE)}", "budget.epsilon=8,none"),
        chips=("stm32h743", "loihi", "p-bits"),
        seeds=5,
    )
}
