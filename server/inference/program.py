"""Run -> what an inference service serves: a folder with an offer and a compiled model.

What is encrypted is what the model reads: a record, or its public transform. Only the weights are
read here, and the form of the records: none of the data set itself, whose promise would not cover
what is taken from it.
"""

import base64
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from torch import nn

from clients.arithmetic.export import export_binary
from clients.arithmetic.layers import ArithmeticConv2d, ArithmeticLinear
from clients.arithmetic.rounding import RoundGradient, RoundInput
from clients.data.sets import load
from clients.layers import AddChannel, Square
from clients.models import form_behind, front_of
from clients.training.net import build, fill
from privacy.documents import to_json
from privacy.encrypted.net import Array, Convolution, Dense, Net
from privacy.encrypted.signs import BinaryNet, with_parity
from privacy.encrypted.wire import BooleanOffer
from privacy.errors import ModelError, SettingsError
from privacy.files import write_atomically
from privacy.settings import suggest
from server.experiment.experiment import Experiment
from server.run.directory import Run

DRAWN = 5000  # synthetic records from which ranges are taken; a fifth, of what is slow to transform
ROUNDING = 500  # of these, those on which the shift by rounded weights is measured


def require_encryptable(experiment: Experiment, scheme: str) -> None:
    """Refuse, before it is trained, a model that a scheme cannot evaluate.

    Raises:
        ModelError: it cannot; the error says what can.
        SettingsError: no such scheme.
    """
    require_scheme(scheme)
    model = build(
        experiment.model, load(experiment.data).form, experiment.arithmetic, experiment.pruning
    )
    if scheme == "boolean":
        binary_net_of(model, experiment)
    else:
        net_of(model, sides_of(experiment))


def require_scheme(scheme: str) -> None:
    """Raise SettingsError if there is no such scheme."""
    if scheme not in _COMPILERS:
        raise SettingsError(f"--scheme {scheme}: unknown scheme{suggest(scheme, _COMPILERS)}")


def compile_run(run: Run, scheme: str, folder: Path) -> None:
    """Compile a run's last model for encrypted inference into a folder.

    Raises:
        ModelError: the model cannot be evaluated under this scheme; the error says what can.
        RunError: the run has no weights, or is damaged.
    """
    require_scheme(scheme)
    for name, content in _COMPILERS[scheme](run).items():
        with write_atomically(folder / name) as file:
            file.write(content)


def trained_model(run: Run) -> nn.Module:
    """The model after the last round.

    Raises:
        RunError: it has no weights, or its data are not those it began with.
    """
    run.require_same_data()
    dataset = load(run.experiment.data)
    chosen = run.experiment
    model = build(chosen.model, dataset.form, chosen.arithmetic, chosen.pruning)
    arrays = run.weights(len(run.rounds))
    fill(model, arrays)
    return model.eval()


def sides_of(experiment: Experiment) -> tuple[int, int]:
    """The sides of what a model reads, if that is one plane; all else lies in one row.

    Raises:
        ModelError: an answer would be no class.
    """
    if (task := experiment.data.task) != "classes":
        raise ModelError(f"[data] task = '{task}': what encrypted inference answers is a class")
    shape = form_behind(experiment.model, load(experiment.data).form).shape
    return (shape[0], shape[1]) if len(shape) == 2 else (1, math.prod(shape))


def net_of(model: nn.Module, shape: tuple[int, int]) -> Net:
    """The layers of a trained model, as the encrypted schemes see them.

    Raises:
        ModelError: it has a layer that leveled FHE does not compute.
    """
    pool = 1
    layers: list[Dense | Convolution] = []
    squares = 0
    for layer in model.children():
        if isinstance(layer, nn.AvgPool2d) and not layers:
            pool = int(layer.kernel_size)  # type: ignore[arg-type]
        elif type(layer) in (nn.Linear, ArithmeticLinear):
            layers.append(Dense(_weight(layer), _array(layer.bias)))
        elif _is_plain(layer) and not layers:
            layers.append(Convolution(_weight(layer)[:, 0], _array(layer.bias), layer.stride[0]))
        elif isinstance(layer, Square):
            squares += 1
        elif isinstance(layer, RoundInput):
            raise ModelError(
                f"[arithmetic] activation_bits = {layer.bits}: rounding cannot be evaluated under "
                "CKKS; train with -s arithmetic.activation_bits=32, its weights may have few bits"
            )
        elif not isinstance(layer, nn.Flatten | AddChannel | RoundGradient):
            raise ModelError(
                f"{type(layer).__name__} cannot be evaluated under CKKS: train a perceptron with "
                "[model] activation = 'square', or a strided net; or use --scheme boolean with a "
                "binarized perceptron"
            )
    if squares != len(layers) - 1:
        raise ModelError("under CKKS a square stands between any two layers, and nothing else")
    first, pixels = layers[0], shape[0] // pool * (shape[1] // pool)
    if isinstance(first, Dense) and first.weight.shape[1] != pixels:
        raise ModelError(
            f"the model reads {first.weight.shape[1]} numbers of a record, of which {pixels} would "
            "be encrypted: pictures are averaged where they have one colour"
        )
    return Net(shape, pool, tuple(layers))


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Is it a convolution of one plane, of whole windows, and nothing more?"""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.in_channels == layer.groups == 1
        and layer.padding == (0, 0)
        and layer.dilation == (1, 1)
        and layer.stride[0] == layer.stride[1]
        and layer.kernel_size[0] == layer.kernel_size[1]
    )


def _calibration(experiment: Experiment, sides: tuple[int, int]) -> Array:
    """What the model reads of synthetic records [B, H, W]."""
    from server.inference.synthetic import synthetic_inputs

    dataset = load(experiment.data)
    front = front_of(experiment.model, dataset.form)
    inputs = synthetic_inputs(dataset, DRAWN if front is None else DRAWN // 5)
    if front is not None:
        inputs = torch.cat([front(some) for some in inputs.split(ROUNDING)]).float()
    return inputs.numpy().astype(np.float64).reshape(len(inputs), *sides)


def _weight(layer: nn.Module) -> Array:
    """What a layer multiplies with: under an arithmetic, its words and their scales."""
    if isinstance(layer, ArithmeticLinear | ArithmeticConv2d):
        return _array(layer.projection(layer.weight, training=False))
    return _array(layer.weight)


def _array(parameter: torch.Tensor | nn.Module | None) -> Array:
    assert isinstance(parameter, torch.Tensor)
    return parameter.detach().numpy().astype(np.float64)


def _compile_ckks(run: Run) -> dict[str, bytes]:
    from privacy.encrypted.batch import batch_net, batch_offer, batch_to_bytes
    from privacy.encrypted.ckks import correct_rounding
    from privacy.encrypted.plan import plan
    from privacy.encrypted.programs import digest, offer_of, plan_to_bytes
    from server.inference.synthetic import CALIBRATION

    net = net_of(trained_model(run), sides_of(run.experiment))
    images = _calibration(run.experiment, net.shape)
    planned = correct_rounding(plan(net, images), images[:ROUNDING])
    files = {"program.safetensors": plan_to_bytes(planned)}
    batch = None
    try:
        integers, divisor = batch_net(net, images)
        files["batch.safetensors"] = batch_to_bytes(integers)
        batch = batch_offer(net, divisor)
    except ModelError:
        pass  # image by image, then: the offer says so
    offer = offer_of(planned, digest(b"".join(files.values())), CALIBRATION, batch)
    files["scheme.json"] = to_json({"scheme": "ckks"}).encode()
    return files | {"offer.json": offer.model_dump_json().encode()}


def binary_net_of(model: nn.Module, experiment: Experiment) -> BinaryNet:
    """The arrays of a trained binarized perceptron with one hidden layer.

    Raises:
        ModelError: it is another kind of model.
    """
    remedy = "--scheme boolean wants a binarized perceptron: privet run encrypted-binary"
    try:
        net = export_binary(model)
    except ModelError as error:
        raise ModelError(f"{error}; {remedy}") from None
    if len(net.weights) != 2:
        raise ModelError(f"{len(net.weights)} layers, where 2 fit; {remedy}")
    w, v = (weight.astype(np.int64) for weight in net.weights)
    b, c = (bias.astype(np.float64) for bias in net.biases)
    settings = experiment.model
    shape = sides_of(experiment)
    return BinaryNet(w, b, v, c, shape, settings.pool, net.threshold)


def _compile_boolean(run: Run) -> dict[str, bytes]:
    from privacy.encrypted.boolean import CALIBRATION, compile_net
    from privacy.encrypted.programs import digest
    from privacy.encrypted.trial import circuit_files

    net = binary_net_of(trained_model(run), run.experiment)
    compiled = compile_net(net, run.experiment.arithmetic.accumulator_bits)
    content = compiled.server_bytes()
    offer = BooleanOffer(
        model=digest(content),
        shape=net.shape,
        pool=net.pool,
        threshold=net.threshold,
        num_classes=len(net.c),
        specs=base64.b64encode(compiled.client_specs()).decode(),
        sum_bits=compiled.sum_bits,
        p_error=compiled.p_error,
        error_rate=compiled.error_rate,
        calibration=CALIBRATION,
    )
    about = {"scheme": "boolean", "input_bytes": compiled.input_bytes}
    blank = np.zeros((1, net.w.shape[1]), np.int64)
    return {
        **circuit_files(compiled.circuit, with_parity(blank)[0]),
        "server.zip": content,
        "offer.json": offer.model_dump_json().encode(),
        "scheme.json": to_json(about).encode(),
    }


_COMPILERS: dict[str, Callable[[Run], dict[str, bytes]]] = {
    "ckks": _compile_ckks,
    "boolean": _compile_boolean,
}
