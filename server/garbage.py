"""How often Python looks for garbage: seldom in a command that ends, for imports make many objects
and drop few; in one that stays, as Python itself has it, or what was refused to strangers, which
errors hold in a circle, would lie there by the gigabyte."""

import atexit
import gc

IMPORTING, WORKING, STAYING = (1_000_000, 50, 100), (100_000, 50, 100), (700, 10, 10)


def seldom() -> None:
    """For a command that ends. Imports alone make 350,000 objects, and bring no look."""
    gc.set_threshold(*IMPORTING)
    if _after_the_first not in gc.callbacks:
        gc.callbacks.append(_after_the_first)
    atexit.register(gc.freeze)  # or the interpreter looks through all of torch once more: a second


def often() -> None:
    """For one that stays, once all is imported: what is there now is never looked through."""
    if _after_the_first in gc.callbacks:
        gc.callbacks.remove(_after_the_first)
    gc.freeze()
    gc.set_threshold(*STAYING)


def _after_the_first(phase: str, _: dict[str, int]) -> None:
    if phase == "stop":
        gc.callbacks.remove(_after_the_first)
        gc.set_threshold(*WORKING)
