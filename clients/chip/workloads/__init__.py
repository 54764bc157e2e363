"""What a chip is asked to do.

workload   loop nests: the layers of a network, and the kinds of work
networks   the published nets
trace      a torch model as loop nests
training   the nests of a training step, private or not
"""
