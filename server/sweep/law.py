"""`--charge geometric=20`: how the number of a charged search's trials is drawn."""

import math
import re

from privacy.dp.accounting.selection import LEAST_GAMMA, Trials
from privacy.errors import SettingsError

SHAPES = {"geometric": 1.0, "logarithmic": 0.0, "poisson": math.inf}
MOST_MEAN, LEAST_SHAPE, MOST_SHAPE = 10_000, -0.9, 100
NUMBER = r"-?[0-9]{1,6}(?:\.[0-9]{1,12})?"
FORM = re.compile(rf"([a-z-]+)=({NUMBER})(?:,({NUMBER}))?")
FORMS = "geometric=20, logarithmic=20, negative-binomial=20,0.5 or poisson=20"


def parse_trials(text: str) -> Trials:
    """Read `--charge`: how the number of trials is drawn.

    Raises:
        SettingsError: it is none of the distributions, or has no such mean.
    """
    found = FORM.fullmatch(text)
    name, mean, shape = found.groups() if found else ("", "", None)
    binomial = name == "negative-binomial"
    if not (name in SHAPES or binomial) or (shape is None) == binomial:
        raise SettingsError(f"--charge {text[:80]}: must be {FORMS}: a law and the mean of trials")
    trials = Trials(float(mean), float(shape) if shape else SHAPES[name])
    if not (trials.poisson or LEAST_SHAPE <= trials.shape <= MOST_SHAPE):
        raise SettingsError(f"--charge {text}: the shape must be {LEAST_SHAPE} to {MOST_SHAPE}")
    least = 1.0 if trials.poisson else 1.01
    if not least <= trials.mean <= MOST_MEAN:
        raise SettingsError(f"--charge {text}: the mean must be {least:g} to {MOST_MEAN}")
    if not trials.poisson and trials.gamma < LEAST_GAMMA:
        raise SettingsError(
            f"--charge {text}: it may need millions of trials; give a smaller mean or a larger "
            "shape"
        )
    return trials
