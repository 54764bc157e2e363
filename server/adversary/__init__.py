"""A finished run before the adversary: Run -> Tape -> Leakage, and the audit of a run.

replay            a run as the adversaries see it
shadows           shadow models kept beside the runs
adversaries       who they are, and what each finds
reconstructions   inversion and generators against a run
auditing          a run's mechanism before the auditor
"""
