"""A net as a plan for the compiled kernels: what a private step needs, without autograd.

A net is lowered layer by layer; a new net of known layers is fast at once, and one with another
layer gets no program and trains through `privacy.dp.bookkeeping`'s taps. The kernels' oracle is
that path, and Opacus. Images lie channel after channel where all layers can compute so, and
channels last otherwise.

program    a lowered net, bound to the net's weights
graph      the plan as it grows: what each operation reads and writes
gradients  where gradients stand, and who writes them
operation  what a layer is to the kernels
planes     layers on images that lie channel after channel, and those that have no image
last       layers on images whose channels lie last
"""

from privacy.dp.compiled.graph import SUMS
from privacy.dp.compiled.last import LAST, maxima
from privacy.dp.compiled.operation import Shape
from privacy.dp.compiled.planes import LOWERINGS, PLANES, each, pooling, reshape
from privacy.dp.compiled.program import LOSSES, Program, lacking

__all__ = [
    "LAST",
    "LOSSES",
    "LOWERINGS",
    "PLANES",
    "SUMS",
    "Program",
    "Shape",
    "each",
    "lacking",
    "maxima",
    "pooling",
    "reshape",
]
