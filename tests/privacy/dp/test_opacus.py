"""What of Opacus is loaded at once, and what when it is called."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BEGUN = """
import sys
import server.engines.choice
from privacy.dp.ledger import Ledger, Spent

LATER = ("scipy.stats", "scipy.signal", "mpmath", "sklearn", "plotly", "ray", "clients.firmware")
one, other = Spent(1.0, 0.1, 5), Spent(2.0, 0.1, 5)
spent = Ledger([one]).epsilon(1e-5)
print(spent > 0, [name for name in LATER if name in sys.modules])
print(Ledger([one, other]).epsilon(1e-5) > spent, [name for name in LATER if name in sys.modules])

from opacus.accountants import GaussianAccountant
asked = GaussianAccountant()
asked.step(noise_multiplier=1.0, sample_rate=0.1)
import scipy.stats
print(0 < asked.get_epsilon(1e-5), scipy.stats.norm.cdf(0.0), scipy.signal.convolve([2], [3]))
"""


def test_a_run_begins_with_what_it_uses():
    """Opacus brings scipy.stats and scipy.signal when they are called, and then in earnest."""
    done = subprocess.run(
        [sys.executable, "-c", BEGUN],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    homogeneous, heterogeneous, others = done.stdout.splitlines()
    assert homogeneous == "True []"
    assert heterogeneous == "True ['scipy.stats', 'scipy.signal']"
    assert others == "True 0.5 [6]"
