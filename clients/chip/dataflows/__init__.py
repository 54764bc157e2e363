"""How a chip runs a loop nest, by dataflow: cycles and traffic.

execution         what running a nest comes to
systolic          weight-, input- and output-stationary arrays
row_stationary    Eyeriss
mapping           which row-stationary mapping its compiler takes
multiplexed       lanes that share inputs
crossbar          in-memory computing
stochastic        integral stochastic computing
microcontroller   CMSIS-NN on a Cortex-M
sparsity          zeros that are not multiplied, nor stored
"""
