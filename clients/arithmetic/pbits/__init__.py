"""Invertible logic: p-bits, which are spins of -1 and 1 that flip at random, and settle where a
circuit's inputs and outputs agree. Clamp its output, and its inputs are found.

gates        from a truth table to the fields and couplings of spins
circuits     gates that share spins: adders, multipliers
kernels      spins flipped one after another, in many chains at once
sampling     chains, and the law that they obey
factoring    a multiplier, run backwards
machine      a Boltzmann machine as a layer, trained by contrastive divergence
private      a state read from a machine made of records: what that promises each of them
clamping     what a clamped neuron votes for its weights, which are p-bits
neurons      layers of such neurons: weights are read, no gradient is taken
layers       what a model is built of
"""
