"""What the accountant has told on this machine, so that to show it again loads no accountant.

Whoever decides by an epsilon (a device, a server, who solves for noise) asks the accountant itself.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privacy import memo

NAME = "epsilons.json"
ROOM = Path(__file__).parent
CODE = (ROOM, ROOM.parent / "ledger.py", ROOM.parent / "discrete.py")


def recalled(question: str, ask: Callable[[], float]) -> float:
    """The accountant's answer to a question, from before or now.

    Args:
        question: all that the answer depends on.
    """
    return memo.recalled(NAME, f"{memo.told_by(CODE, 'opacus')} {question}", ask, _checked)


def _checked(told: Any) -> float | None:
    number = isinstance(told, int | float) and not isinstance(told, bool)
    if number and (0 <= told <= sys.float_info.max or told == math.inf):  # as no NaN is
        return float(told)
    return None
