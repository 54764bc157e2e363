"""Compiled layers: forward, backward and clipped sum of small nets, without autograd.

A net is a plan: an int64 table, one row an operation, which names what it reads and writes. A call
walks it over a block of records, whose numbers fit in the cache, without the GIL. Matrix products
are BLAS's; the rest is written as loops that a compiler can turn into vector instructions.

walk        a plan walked over a block: outputs, gradients, and their clipped sum
abreast     the same for images that lie channel after channel, some records to a vector
losses      of a block's outputs, and their gradients
plan        the columns of a plan, the kinds of operations, and parts of buffers
compiling   how numba compiles a kernel, and when anew
elements    functions of each element, squares and sums
lanes       convolution and pooling of images that lie channel after channel, records abreast
tiles       sums of products in vector registers
planes      pooling of such images, record by record
last        convolution of images whose channels lie last
depthwise   the same with a kernel for each channel
windows     means and maxima of windows, channels last
norms       group normalisation, channels last
"""

from privacy.dp.kernels import abreast, walk
from privacy.dp.kernels.planes import pool, unpool

__all__ = ["abreast", "pool", "unpool", "walk"]
