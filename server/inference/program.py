"""Run -> what an inference service serves: a folder with an offer and a compiled model.

What is encrypted is what the model reads: a record, or its public transform. Only the weights are
read here, and the form of the records: none of the data set itself, whose promise would not cover
what is taken from it.
"""

import base64
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clients.arithmetic.export import export_binary
from clients.data.sets import load
from clients.models import form_behind, front_of
from clients.training.net import build, fill
from privacy.documents import to_json
from privacy.encrypted.net import Net
from privacy.encrypted.signs import BinaryNet, with_parity
from privacy.encrypted.wire import BooleanOffer
from privacy.errors import ModelError, SettingsError
from privacy.files import write_atomically
from privacy.settings import suggest
from server.experiment.experiment import Experiment
from server.inference.layers import net_of, parts_of
from server.run.directory import Run
from server.run.summary import weights_sha256

DRAWN = 5000  # synthetic records from which ranges are taken; a fifth, of what is slow to transform
AT_ONCE = 500  # of what is slow to transform


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
        sides_of(experiment)
        parts_of(model)


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


def served_net(run: Run, drawn: Tensor) -> tuple[Net, list[str]]:
    """The net that stands for a run's last model under CKKS, and the activations it replaces.

    Raises:
        ModelError: leveled FHE does not compute such a model.
    """
    return net_of(trained_model(run), sides_of(run.experiment), drawn)


def drawn_inputs(experiment: Experiment) -> Tensor:
    """What the model reads of synthetic records, float32 [B, ...]."""
    from server.inference.synthetic import synthetic_inputs

    dataset = load(experiment.data)
    front = front_of(experiment.model, dataset.form)
    inputs = synthetic_inputs(dataset, DRAWN if front is None else DRAWN // 5)
    if front is not None:
        inputs = torch.cat([front(some) for some in inputs.split(AT_ONCE)]).float()
    return inputs


def _compile_ckks(run: Run) -> dict[str, bytes]:
    from privacy.encrypted.batch import batch_net, batch_offer, batch_to_bytes
    from privacy.encrypted.ckks import choose_plan
    from privacy.encrypted.programs import digest, offer_of, plan_to_bytes
    from privacy.encrypted.ring.engine import engine
    from server.inference.synthetic import CALIBRATION

    drawn = drawn_inputs(run.experiment)
    net, _ = served_net(run, drawn)
    images = drawn.numpy().astype(np.float64).reshape(len(drawn), *net.shape)
    planned = choose_plan(net, images)
    engine(planned)  # its kernels are compiled and kept: no worker must begin with that
    files = {"program.safetensors": plan_to_bytes(planned)}
    batch = None
    try:
        integers, divisor = batch_net(net, images)
        files["batch.safetensors"] = batch_to_bytes(integers)
        batch = batch_offer(net, divisor)
    except ModelError:
        pass  # image by image, then: the offer says so
    model, weights = digest(b"".join(files.values())), weights_sha256(run)
    offer = offer_of(planned, model, CALIBRATION, batch, weights)
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
        weights=weights_sha256(run),
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
