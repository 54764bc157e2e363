"""Was a person's data trained on? The adversary guesses from all of a person's records.

Shapes: N records, P persons.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.leakage import delong
from attacks.tape import Bools

LEAST = 5  # persons of either kind, under which no figure tells anything


def by_person(scores: NDArray, person: NDArray) -> tuple[NDArray, NDArray]:
    """The mean score of each person's records, and who that is: [P], [P]."""
    names, back = np.unique(person, return_inverse=True)
    return np.bincount(back, scores) / np.bincount(back), names


def measure_persons(scores: NDArray, person: NDArray, member: Bools, others: str) -> dict[str, Any]:
    """How well persons are told apart: AUC, with DeLong's interval over persons.

    Args:
        scores: of records [N].
        person: int [N], whose each record is.
        member: bool [N]; a person of whom any record was trained on is a member.
        others: who those are of whom nothing was.
    """
    means, _ = by_person(scores, person)
    inside = by_person(member.astype(float), person)[0] > 0
    if min(inside.sum(), (~inside).sum()) < LEAST:
        told = f"{int(inside.sum())} persons were trained on, and {int((~inside).sum())} were not"
        remedy = "hold out or test on whole persons"
        return {"left_out": f"{told}: it takes {LEAST} of each; {remedy}"}
    return {
        "auc": vars(delong(means, inside)),
        "members": int(inside.sum()),
        "non_members": int((~inside).sum()),
        "against": others,
    }
