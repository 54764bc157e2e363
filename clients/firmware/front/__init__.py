"""What stands before a net, on a board: from what a sensor gives to what the net reads.

Each is defined once, in numpy, and the C computes the same bits; how far that is from the transform
that the run used is measured (`check`).

made        a front, its C and the room that it takes
tables      numbers as C has them
fourier     the Fourier transform of both, each sum in its order
log_mel     of sounds
scattering  of pictures
check       in an emulator: bits, distances, instructions
"""
