"""The numbers of a board in numpy: what the C computes, bit by bit, and their definition.

floats  the private step of a perceptron in float32
words   the same on words of few bits: fixed, ternary, binary
layers  the private step of convolutions, norms and pools in float32
word_layers   the same on words of few bits
convolutions  of which they are made, each sum in its order
recurrent   gated recurrent units
packing  words of weights as a board reads them
device  a simulated board, in any of them
noise   the device's random numbers
tables  of the sampler, and a bound of what it is off
"""
