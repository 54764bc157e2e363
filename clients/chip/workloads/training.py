"""A step of inference, SGD or DP-SGD as a list of tasks on loop nests.

    forward             out[N,K,P,Q]  sums over C,R,S
    input gradient      out[N,C,H,W]  sums over K,R,S: a convolution of the zero-inserted gradient
    weight gradient     out[C,K,R,S]  sums over N,P,Q; per sample, N nests that sum over P,Q

A product of two activations has two input gradients and learns nothing. A recurrent layer runs its
steps forward, then back, each waiting for the one before; its weight gradient is one product over
all steps. A gradient goes back along the graph to what is trained and no further.

Modelled: every product of layers, per-sample norms, clipping, noise and update, and layers without
products by the number of elements that they read, times their passes; one of several passes
(norms, softmax) waits for all its input, one of a single pass works on values as they come. Not
modelled: the loss, the data loader, gradients of the bias that follow a product, and the
optimizer's momentum (one more word read and written a parameter).
"""

from clients.chip.workloads.clipping import CLIPPING, clip_vector, held_per_record
from clients.chip.workloads.nests import Phase, Task, input_gradient, steps_back, weight_gradient
from clients.chip.workloads.workload import Layer, Network, Workload


def tasks(network: Network, workload: Workload, batch: int) -> list[Task]:
    """What a workload computes on a batch, phase by phase, layer by layer."""
    found = [task for layer in network.layers for task in _forward(network, layer, batch)]
    if workload.step == "inference":
        return found
    for index in reversed(range(len(network.layers))):
        if network.carries[index]:  # no gradient for the data, nor for what is fixed
            found += _backward(network, index, workload, batch)
    for layer in network.layers:
        if p := layer.parameters:
            if workload.step == "dp-sgd" and workload.sigma:
                found.append(Task(layer.name, "noise", lane_operations=p, gaussians=p, moved=2 * p))
            found.append(Task(layer.name, "update", lane_operations=p, moved=3 * p))
    return found


def _forward(network: Network, layer: Layer, batch: int) -> list[Task]:
    if layer.nest is None:
        return _elements(network, layer, batch, "forward")
    if layer.weights == "activations":  # a record's operands are its own
        found = [Task(layer.name, "forward", layer.nest, batch)]
    else:
        whole = layer.nest.with_batch(batch * layer.nest.batch)
        found = [Task(layer.name, "forward", whole, layer.steps, stays=layer.steps > 1)]
    return found + _lanes(layer, batch, "forward")


def _lanes(layer: Layer, batch: int, phase: Phase) -> list[Task]:
    """What is done on each value that a product gives."""
    operations = batch * layer.lanes
    return [Task(layer.name, phase, lane_operations=operations, passing=True)] * (operations > 0)


def _elements(network: Network, layer: Layer, batch: int, phase: Phase) -> list[Task]:
    """Of a layer without products: every element read, and what it gives written."""
    if layer.kind == "lookup":
        rows = batch * layer.size
        return [Task(layer.name, phase, lane_operations=rows, moved=2 * rows)]
    read = batch * layer.passes * network.words_into(layer)
    if not read:
        return []
    moved, passing = read + batch * layer.size, layer.passes == 1
    return [Task(layer.name, phase, lane_operations=read, moved=moved, passing=passing)]


def _backward(network: Network, index: int, workload: Workload, batch: int) -> list[Task]:
    layer, through = network.layers[index], network.passes_back(index)
    if layer.nest is None:
        back = []
        if through and layer.kind != "lookup":
            back = _elements(network, layer, batch, "input gradient")
    elif layer.weights == "activations":
        operands = (input_gradient(layer.nest, 1), weight_gradient(layer.nest, 1))
        back = [Task(layer.name, "input gradient", nest, batch) for nest in operands]
    elif layer.kind == "recurrent":
        back = [
            Task(layer.name, "input gradient", nest, times, stays=True)
            for nest, times in steps_back(layer, batch, through)
        ]
    elif through:
        back = [Task(layer.name, "input gradient", input_gradient(layer.nest, batch))]
    else:
        back = []
    back += _lanes(layer, batch, "input gradient")
    twice = back if workload.clips and workload.clipping == "ghost" else []
    if layer.nest and layer.weights in ("trained", "tied"):
        if workload.clips:
            return back + CLIPPING[workload.clipping](layer, batch, twice)
        gradient = weight_gradient(layer.unrolled, batch)
        return [*back, Task(layer.name, "weight gradient", gradient)]
    if layer.bias:
        operations = 2 * batch * layer.size
        back.append(
            Task(layer.name, "weight gradient", lane_operations=operations, moved=operations)
        )
        if workload.clips:
            return back + clip_vector(layer, workload.clipping, batch) + twice
    return back + twice


def gradient_words(network: Network, workload: Workload, batch: int) -> int:
    """Words of gradient that a training step holds at once: batch x parameters if per sample."""
    return sum(gradient_words_of(layer, workload, batch) for layer in network.layers)


def gradient_words_of(layer: Layer, workload: Workload, batch: int) -> int:
    """Of these, a layer's."""
    if workload.step == "inference":
        return 0
    if not workload.clips:
        return layer.parameters
    return held_per_record(layer, workload.clipping, batch)
