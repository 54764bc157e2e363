"""How a report speaks.

units      numbers as people read them
labels     what to call each run
shared     what all runs share
reached    figures of merit, with their intervals
leaks      what an attack found, a line each
verdict    what privacy cost, and whether it held
referee    whether an arithmetic protects, from intervals over seeds
glossary   for readers who were not there
"""
