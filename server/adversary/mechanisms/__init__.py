"""Mechanisms of privet's own that are no training of a device, before the auditor.

lessons    the step of an owner whose records are learnt encrypted
samplers   a state of spins that is read from records' energies
turns      the server's release, where noise takes itself back from round to round
"""
