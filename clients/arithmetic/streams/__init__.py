"""Stochastic computing: numbers as bit streams.

taps         of which bits of a register the next is made
registers    linear-feedback shift registers and comparators
kernels      packed bits: what numba compiles
vectors      64 outputs side by side, records in tiles: what it is told outright
images       dense layers of integral stochastic computing
stochastic   layers on streams, trained by sampled signs
layers       what a model is built of on streams
"""
