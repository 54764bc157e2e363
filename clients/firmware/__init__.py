"""C for a microcontroller: a net's answers and its private step, and their definition.

net        the dense layers that have C, out of a torch model, and words of few bits
plan       the layers of any other net that has C, and where their numbers lie
contract   what is promised, in numbers; its hash begins the ledger
numbers/   the private step in numpy: the definition of the numbers
sources    the C: c/ as it stands, and headers that are made for a contract
fitting    does a net fit into a chip, and what would
compiling  C to a program for the emulator
emulator   a board: exact instructions, flash that a power cut can tear
check      100 steps of both, bit by bit, and what they cost
"""
