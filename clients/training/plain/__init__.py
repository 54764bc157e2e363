"""A net of privet's layers as one of torch's: what it answers, whoever computes it.

A net of words of few bits is asked in this form, and exported in it. Its sums are of whole numbers,
and what stands between two words is in doubles, so that no answer depends on the order of a sum.

parts    layers that torch has not, of torch alone: the text stands in what is exported
change   layer by layer
doubles  of a net of words, what must be computed in doubles
"""

from clients.training.plain.change import answering, plain
from clients.training.plain.doubles import is_exact

__all__ = ["answering", "is_exact", "plain"]
