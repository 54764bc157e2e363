"""Audit of anyone's training step: numpy in, numpy out, whatever it is written in.

def make(records, labels, seed, noise_multiplier=1.0, sample_rate=0.1, steps=10): ...

found = audit_step(make, Claims(x, y, noise_multiplier=1.0, sample_rate=0.1, steps=10))

claims   what is claimed, and what can be asked of the function
asking   the function, asked: how loud its noise is, and how far a record moves what it releases
checks   what a check says: run, not applicable, or impossible with what was given
heard    checks of the noise
moved    checks of how far records move what is released
games    lower bounds of epsilon: canaries in one run, and twins told apart
verdict  all of them together
engine   Opacus's private model, optimizer and loader as such a function
"""

from attacks.audit.steps.claims import Claims
from attacks.audit.steps.verdict import Found, audit_step, calls_of

__all__ = ["Claims", "Found", "audit_step", "calls_of"]
