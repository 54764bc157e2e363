"""What an epsilon of records covers, where a record is less than a person."""

import math

from clients.data.settings import Data

# Of k units: k e^(k epsilon) times as large at the most (Vadhan 2017, lemma 2.2).
MORE = "epsilon, at a larger delta"


def covered(data: Data, most_of_a_person: int = 0, *, bounded: bool = True) -> str:
    """In words; empty where nobody says whose records are, and nothing is cut.

    Args:
        most_of_a_person: records that one person has; 0 is not known.
        bounded: there is an epsilon that may be multiplied.
    """
    if not (data.person or data.windows.length):
        return ""
    what, shared = "record", ""
    if windows := data.windows.length and data.windows:
        rate_hz = data.schema.rate_hz if data.schema else 0.0
        length = f"{windows.length / rate_hz:.3g} s" if rate_hz else f"{windows.length} samples"
        what = f"window of {length}"
        if (times := math.ceil(windows.length / windows.step)) > 1:
            shared = f"; each sample is in {times} windows, so for a sample it is {times} {MORE}"
    if not data.person:
        return f"epsilon covers a {what}{shared}"
    if most_of_a_person == 1:
        return f"epsilon covers a {what}; nobody has more than one of them to train on"
    if most_of_a_person:
        whose = f"a person with {most_of_a_person:,} of them is not protected by it"
        if bounded:
            whose += f": the bound for all together is {most_of_a_person} {MORE}"
    else:
        whose = "a person with many of them is not protected by it"
    return f"epsilon covers a {what}; {whose}{shared}"
