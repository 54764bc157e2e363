"""What a chip is asked to do.

workload     loop nests: the layers of a network, and the kinds of work
networks     the published nets
trace        a torch model as loop nests
watch        what torch does in a pass, as layers
record       which layers there are so far, and what a tensor comes from
operations   what torch's own operations are, by name
products     the nests of convolutions and matrix products
recurrent    the nests of GRU, LSTM and RNN
training     the tasks of a training step
nests        one phase of one layer, and the nests of its gradients
clipping     what per-sample clipping adds
"""
