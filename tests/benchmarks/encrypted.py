"""Encrypted inference against TenSEAL's high-level API, and against itself.

The models are those of the ready experiments, trained when they are not here yet (minutes), and
kept beside the data sets, by the digest of the experiment. A CKKS answer is computed on one core,
on which its client runs too, a boolean one on two.
Peers: TenSEAL's tutorial 4 (a convolution by `conv2d_im2col`, products by `mm`; N = 8192, moduli
[31, 26 x 6, 31]) as it is written, and with our convnet's weights.
"""

import contextlib
import hashlib
import json
import os
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from peer_tenseal import random_tutorial, tutorial

from clients.data.sets import cache_folder, load
from clients.data.settings import Data
from clients.node.query import connect
from server.engines.launch import launch, resume
from server.experiment.loading import load_experiment
from server.inference.demo import wilson
from server.inference.loopback import loopback
from server.inference.program import binary_net_of, drawn_inputs, served_net, trained_model
from server.run.directory import Run

MNIST = Data(name="mnist")
IMAGES = 300  # asked one after another for a median
ACCURACY_IMAGES = {"perceptron": 10_000, "convnet": 1000}  # a mismatch is rare: many are asked
CLIENTS, REQUESTS = 8, 1000


def trained(experiment: str) -> Run:
    """The run of a ready experiment, trained if it is not here, or not to its end."""
    wanted = load_experiment(experiment)
    digest = hashlib.sha256(wanted.to_toml().encode()).hexdigest()[:12]
    path = cache_folder() / "bench" / f"{experiment}-{digest}"
    if not (path / "experiment.toml").exists():
        return launch(wanted, path.parent, path.name)
    if len((found := Run.open(path)).rounds) < wanted.federation.rounds:
        resume(found)
    return found


def images(num: int, data: Data = MNIST) -> np.ndarray:
    """Test images [num, H, W] in [0, 1], as the models of such data read them."""
    return load(data).test_x[:num] / 255.0


def test_places(num: int) -> np.ndarray:
    """Places of `num` test images, from all parts of the set: its first half is the harder one."""
    return np.linspace(0, 9999, num).astype(int)


def ask(run: Run, scheme: str, num: int, threads: int = 1) -> dict:
    """Medians of one client's steps, bytes, accuracy and agreement, through the service."""
    dataset, model = load(run.experiment.data), trained_model(run)
    import torch

    with torch.no_grad():
        plain = model(torch.from_numpy(dataset.test_x).float() / 255).argmax(1).numpy()
    with loopback(run.path, scheme, threads=threads) as url:
        client = connect(url)
        client.ask(images(1, run.experiment.data)[0])  # the worker parses the keys
        places = test_places(num)
        answers = [client.ask(image / 255.0) for image in dataset.test_x[places]]
    labels = np.array([a.label for a in answers])
    right = int((labels == dataset.test_y[places]).sum())
    same = int((labels == plain[places]).sum())
    times = {k: [a.times_s[k] * 1e3 for a in answers] for k in answers[0].times_s}
    totals = [sum(a.times_s.values()) * 1e3 for a in answers]
    return {
        "plain_accuracy": float((plain == dataset.test_y).mean()),
        "encrypted_images": num,
        "encrypted_accuracy": right / num,
        "encrypted_accuracy_interval": wilson(right, num),
        "agreement": same / num,
        "agreement_interval": wilson(same, num),
        **{f"{name}_ms": statistics.median(values) for name, values in times.items()},
        "total_ms": statistics.median(totals),
        "total_ms_quartiles": list(np.quantile(totals, [0.25, 0.75])),
        "key_generation_ms": client.key_generation_s * 1e3,
        "keys_bytes": client.keys_bytes,
        "upload_bytes": answers[0].bytes_up,
        "download_bytes": answers[0].bytes_down,
    }


def weights_of(run: Run) -> dict[str, np.ndarray]:
    """A convnet's arrays as the tutorial names them."""
    net, _ = served_net(run, drawn_inputs(run.experiment))
    conv, first, second = net.layers
    return {
        "conv": conv.weight,
        "conv_bias": conv.bias,
        "w1": first.weight,
        "b1": first.bias,
        "w2": second.weight,
        "b2": second.bias,
    }


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Client, service and peer all on one core: none of them wanders to a cold one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def convnet() -> dict:
    """The same weights, by us and by TenSEAL's high-level API."""
    run = trained("encrypted-convnet")
    with one_core():
        ours, theirs = ask(run, "ckks", IMAGES), tutorial(weights_of(run), images(1)[0].tolist(), 2)
    return {
        "ours": ours,
        "tenseal": theirs,
        "ratio": theirs["total_ms"] / ours["total_ms"],
        "keys_ratio": theirs["keys_bytes"] / ours["keys_bytes"],
    }


def perceptron() -> dict:
    """Our perceptron, alone and in batches, and TenSEAL's tutorial net."""
    run = trained("encrypted-perceptron")
    with one_core():
        ours, theirs = (
            ask(run, "ckks", IMAGES),
            tutorial(random_tutorial(), images(1)[0].tolist(), 3),
        )
        many = batch(run)
    return {
        "ours": ours,
        "tenseal": theirs,
        "batch": many,
        "ratio": theirs["total_ms"] / ours["total_ms"],
        "keys_ratio": theirs["keys_bytes"] / ours["keys_bytes"],
        "batch_ratio": ours["total_ms"] / many["ms_an_image"],
    }


def batch(run: Run, repeats: int = 5) -> dict:
    """A full batch, from pixels to labels."""
    dataset, totals, parts = load(run.experiment.data), [], []
    with loopback(run.path, "ckks") as url:
        client = connect(url)
        num = client.offer.batch.images
        for _ in range(repeats + 1):
            labels, times_s = client.ask_batch(images(num, run.experiment.data))
            totals.append(sum(times_s.values()) * 1e3)
            parts.append({name: seconds * 1e3 for name, seconds in times_s.items()})
    return {
        "images": num,
        "accuracy": float((labels == dataset.test_y[:num]).mean()),
        "ms_an_image": statistics.median(totals[1:]) / num,
        "total_ms_all": totals[1:],
        "last_ms": parts[-1],
    }


def accuracy() -> dict:
    """Encrypted accuracy and agreement of both CKKS nets on many images."""
    return {
        name: ask(trained(f"encrypted-{name}"), "ckks", num)
        for name, num in ACCURACY_IMAGES.items()
    }


def boolean(num_fhe: int = 200, num_simulated: int = 10_000) -> dict:
    """The boolean row: encrypted accuracy, simulated and real, times and bytes."""
    from privacy.encrypted.boolean import compile_net
    from privacy.encrypted.signs import with_parity

    run = trained("encrypted-binary")
    dataset = load(run.experiment.data)
    told = ask(run, "boolean", num_fhe, threads=2)
    net = binary_net_of(trained_model(run), run.experiment)
    compiled = compile_net(net, run.experiment.arithmetic.accumulator_bits)
    places = test_places(num_simulated)
    shown = net.bits(dataset.test_x[places] / 255.0)
    simulated = np.array([compiled.circuit.simulate(b) for b in with_parity(shown)])
    plain = net.logits(shown)
    right = int((simulated.argmax(1) == dataset.test_y[places]).sum())
    uncompressed = uncompressed_bytes(net, shown[:500])
    return told | {
        "error_rate_at_most": compiled.error_rate,
        "simulated_images": num_simulated,
        "simulated_accuracy": right / num_simulated,
        "simulated_accuracy_interval": wilson(right, num_simulated),
        "simulated_agreement": float((simulated.argmax(1) == plain.argmax(1)).mean()),
        "answers_with_any_number_wrong": int((simulated != plain).any(1).sum()),
        "upload_uncompressed_bytes": uncompressed,
        "input_ratio": uncompressed / told["upload_bytes"],
    }


def concrete_ml(num_fhe: int = 2, epochs: int = 10, records: int = 60_000) -> dict:
    """Concrete ML's own net on the same images, in its usual 4 bits, 784 hidden units."""
    import torch
    from concrete.ml.sklearn import NeuralNetClassifier

    torch.manual_seed(0)
    dataset = load(Data(name="mnist"))
    train, test = (
        x.reshape(len(x), -1).astype(np.float32) / 255 for x in (dataset.train_x, dataset.test_x)
    )
    net = NeuralNetClassifier(
        module__n_layers=2,
        module__n_hidden_neurons_multiplier=1,
        module__n_w_bits=4,
        module__n_a_bits=4,
        module__n_accum_bits=32,
        max_epochs=epochs,
        batch_size=256,
        lr=0.001,
        verbose=0,
    )
    net.fit(train[:records], dataset.train_y[:records].astype(np.int64))
    clear = net.predict(test) == dataset.test_y
    circuit = net.compile(train[:500])
    circuit.client.keygen()
    seconds, right = [], 0
    for x, y in zip(test[:num_fhe], dataset.test_y[:num_fhe], strict=True):
        start = time.perf_counter()
        right += int(net.predict(x[None], fhe="execute")[0] == y)
        seconds.append(time.perf_counter() - start)
    return {
        "clear_accuracy": float(clear.mean()),
        "fhe_images": num_fhe,
        "fhe_right": right,
        "total_ms_all": [s * 1e3 for s in seconds],
        "bootstraps": circuit.programmable_bootstrap_count,
    }


def uncompressed_bytes(net, bits) -> int:
    """Of an image under a circuit of the same net that does not compress its inputs."""
    from concrete import fhe

    weight, offsets = net.w.T.astype(np.int64), net.offsets
    head, constants = net.v.T.astype(np.int64), net.constants
    compiler = fhe.Compiler(
        lambda u: ((u @ weight + offsets) >= 0) @ head + constants, {"u": "encrypted"}
    )
    circuit = compiler.compile(list(bits), fhe.Configuration(p_error=0.3))
    circuit.keygen()
    return len(circuit.encrypt(bits[0]).serialize())


def service() -> dict:
    """Eight clients at once on two workers against one client; memory over 1,000 requests."""
    run = trained("encrypted-perceptron")

    def throughput(asking: list, requests: int) -> float:
        image, failed = images(1, run.experiment.data)[0], []

        def work(client) -> None:
            try:
                for _ in range(requests // len(asking)):
                    client.ask(image)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(client,)) for client in asking]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return requests / (time.perf_counter() - start)

    def memory_mb() -> float:
        pids = [w["pid"] for w in operator.get("/status").json()["workers"]]
        status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in status) / 1024

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        file, token = Path(folder) / "tokens", secrets.token_hex(16)
        file.touch(0o600)
        file.write_text(f"operator {token}")
        served = loopback(run.path, "ckks", workers=2, options=["--tokens", str(file)])
        url, known = stack.enter_context(served), {"authorization": f"Bearer {token}"}
        operator = stack.enter_context(httpx.Client(base_url=url, headers=known))
        asking = [connect(url, token_file=file) for _ in range(CLIENTS)]
        throughput(asking, 400)  # each worker has parsed the keys of each client
        one = throughput(asking[:1], 200)
        begun, eight = memory_mb(), throughput(asking, REQUESTS)
        ended, status = memory_mb(), operator.get("/status").json()
    return {
        "one_client_per_s": one,
        "eight_clients_per_s": eight,
        "ratio": eight / one,
        "memory_mb": [begun, ended],
        "answers_by_status": status["answers_by_status"],
        "workers_replaced": status["workers_replaced"],
    }


PARTS = {
    part.__name__: part for part in (convnet, perceptron, accuracy, service, boolean, concrete_ml)
}


def run() -> dict:
    """All rows, in one run."""
    return {name: part() for name, part in PARTS.items()}


if __name__ == "__main__":
    print(json.dumps({name: PARTS[name]() for name in sys.argv[1:] or PARTS}, indent=1))
