"""The columns of a plan, the kinds of operations, and parts of flat buffers.

Buffers are flat float32. An operation's output for a block of b records stands at
`values[OUT * block :]` as [b, OUT_SIZE]; its gradient at `grads[OUT_GRAD * block :]`, where another
may stand once no operation wants it. An operation whose OUT is its IN works in place. `notes` keep
what the backward pass needs of some operations, from AUX on. `made` holds records' gradients, in
the weights' layout. `scratch` is free to use. Records abreast are the last axis (`abreast`).

Shapes: b records, I inputs, O outputs or output channels, C channels, P output positions, K =
kernel elements times input channels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.dp.kernels.compiling import compiled

Floats = NDArray[np.float32]
Sums = NDArray[np.float64]
Plan = NDArray[np.int64]
Places = NDArray[np.int64]

f32 = np.float32
u64 = np.uint64  # an index that cannot be negative needs no check, and its loop becomes vectors

DENSE, CONV, PAD, POOL, MEAN, RELU, TANH, SQUARE = range(8)
TURN, LAST_CONV, DEPTHWISE, LAST_MEAN, LAST_MAX, NORM, ADD = range(8, 15)

# NUM_WEIGHTS: with the bias, which stands behind. PASS_ON: NO, WRITE or ADD_TO the inputs'
# gradient. OTHER, PASS_ON_OTHER: of a second input.
(KIND, IN, IN_SIZE, OUT, OUT_SIZE, WEIGHT, BIAS, NUM_WEIGHTS, AUX, PASS_ON) = range(10)
(OTHER, PASS_ON_OTHER, IN_GRAD, OUT_GRAD, OTHER_GRAD, GROUPS, EPS) = range(10, 17)
(CHANNELS, HEIGHT, WIDTH, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W) = range(17, 24)
(PAD_H, PAD_W, OUT_H, OUT_W) = range(24, 28)
NUM_COLUMNS = 28

NO, WRITE, ADD_TO = range(3)

ROUNDING = 2.0**-22  # of a clip factor and of the products with it, in float32


@compiled
def rows(flat: Floats, at: int, num: int, columns: int) -> Any:
    """A part of a buffer as [num, columns]."""
    return flat[at : at + num * columns].reshape(num, columns)
