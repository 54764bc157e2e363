"""C for a microcontroller: a perceptron's answers and its private step, and their definition.

net          the layers that have C, out of a torch model
contract     what is promised, in numbers; its hash begins the ledger
simulation   the private step in numpy: the definition of the numbers, in float32
words        the same on words of few bits: fixed, ternary, binary
device       a simulated board, in either arithmetic
noise        the device's random numbers in numpy
tables       of the sampler, and a bound of what it is off
sources      the C: c/ as it stands, and headers that are made for a contract
fitting      does a net fit into a chip, and what would
compiling    C to a program for the emulator
emulator     a board: exact instructions, flash that a power cut can tear
check        100 steps of both, bit by bit, and what they cost
"""
