"""The adversary: sees only what a finished run directory holds, never the live federation.

Blind to `clients`, and `clients` to it: the threat model is an import contract (pyproject.toml).

membership/       was this record among the training records?
reconstruction/   what did the training records look like?
audit/            does the mechanism do what it claims?
tape              a finished run as an adversary holds it
leakage           what was found: scores with their intervals
evasion           adversarial examples
attributes        what a model adds to guessing a hidden column
settings          [attack]
"""
