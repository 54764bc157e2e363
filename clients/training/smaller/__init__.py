"""Smaller nets out of a net, and a net that is trained to be cut.

supernet   [supernet]: which nets can be cut out of the model
cutting    their weights, and the net that trains them all
elastic    layers of which a smaller net uses the first filters
compact    the smaller net that a net with pruned filters is
"""
