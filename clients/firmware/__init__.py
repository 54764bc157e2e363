"""C for a microcontroller: a net's answers and its private step, and their definition.

net        the dense layers that have C, out of a torch model, and words of few bits
plan       the layers of any other net that has C, and where their numbers lie
contract   what is promised, in numbers; its hash begins the ledger
numbers/   the private step in numpy: the definition of the numbers
front/     what stands before a net: from what a sensor gives to what the net reads
serial/    a board on a serial port: frames, the line, its ledger as it leaves
sources    the C: c/ as it stands, and headers that are made for a contract
fitting    does a net fit into a chip, and what would
compiling  C to a program for the emulator
qemu       a Cortex-M55, where QEMU is installed
emulator   a board: exact instructions, flash that a power cut can tear
thumb      instructions by class, and their cycles on a Cortex-M4
counting   what was executed, by phase and layer
budget     what a step takes: instructions by class, and cycles
answers    the same of a board that learns nothing
check      100 steps of both, bit by bit, and what they cost
"""
