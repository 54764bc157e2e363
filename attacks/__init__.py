"""The adversary: sees only what a finished run directory holds, never the live federation.

Blind to `clients`, and `clients` to it: the threat model is an import contract (pyproject.toml).
"""
