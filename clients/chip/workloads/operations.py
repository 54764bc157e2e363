"""What torch's own operations are to a chip, by their names in ATen.

A name is without the underscore of an operation in place. What stands in no table is counted as one
operation an element, and a note says so.
"""

# Products of two matrices, and where the first of them stands among the arguments.
PRODUCTS = {
    "mm": 0,
    "bmm": 0,
    "mv": 0,
    "dot": 0,
    "addmm": 1,
    "addmv": 1,
    "baddbmm": 1,
    "_addmm_activation": 1,
}
POOLS = {
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d_with_indices"),
    *("max_pool3d_with_indices", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *("adaptive_max_pool2d", "adaptive_max_pool3d", "mean", "sum", "amax", "amin", "max", "min"),
}
NORMS = {
    *("native_group_norm", "native_layer_norm", "native_batch_norm", "cudnn_batch_norm"),
    *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
}
SOFTMAXES = {"_softmax", "_log_softmax", "logsumexp"}
LOOKUPS = {"embedding", "_embedding_bag", "_embedding_bag_forward_only"}
GATHERS = {"index", "index_select", "gather"}  # lookups where what they read is trained
JOINS = {"add", "sub", "rsub", "cat", "stack", "maximum", "minimum"}
GATES = {"mul", "div", "lerp", "addcmul", "addcdiv", "where"}
# Whose output passes on what it reads, as it is.
COPIES = {
    *("clone", "_to_copy", "copy", "_unsafe_view", "repeat", "native_dropout", "unsafe_split"),
    *("unsafe_split_with_sizes", "unsafe_chunk", "flip", "roll", "masked_fill", "fill", "zero"),
    *("_reshape_copy", "slice_scatter", "select_scatter", "triu", "tril"),
    *("_pack_padded_sequence", "_pad_packed_sequence"),
}
# Which make a tensor of a size, and read no value.
CREATIONS = {"empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"} | {
    *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "empty_strided"),
}
# Done on each value as it leaves the layer before.
FUSED = {
    *("relu", "hardtanh", "clamp", "clamp_min", "clamp_max", "tanh", "sigmoid", "gelu", "silu"),
    *("hardswish", "hardsigmoid", "elu", "leaky_relu", "softplus", "mish", "log_sigmoid_forward"),
    *("pow", "square", "abs", "neg", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "sin", "cos"),
    *("sign", "round", "floor", "ceil", "trunc", "reciprocal", "erf", "bernoulli", "threshold"),
    *("ne", "eq", "lt", "gt", "le", "ge", "logical_not", "isnan", "nan_to_num", "bitwise_not"),
}
ELEMENTWISE = {
    *("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "cumsum"),
    *("replication_pad2d", "upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d"),
    *("upsample_linear1d", "_prelu_kernel", "var", "std", "var_mean", "linalg_vector_norm", "norm"),
    *("glu", "im2col", "col2im", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
}
