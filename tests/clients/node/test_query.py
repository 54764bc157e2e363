"""`privet infer` and `privet serve` from end to end, and what they show."""

import json
import shutil
import subprocess
import sys

import httpx
import numpy as np
import pytest
import served
import torch

from clients.data.sets import load
from clients.data.settings import Data
from clients.node.query import Client, connect
from privacy.errors import ModelError, ServiceError
from server import cli
from server.inference.demo import draw, measure, wilson
from server.inference.loopback import loopback
from server.inference.program import compile_run, drawn_inputs, served_net, trained_model
from server.run.directory import Run


def privet(*arguments):
    sys.argv = ["privet", *map(str, arguments)]
    with pytest.raises(SystemExit) as leave:
        cli.main()
    return int(leave.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return served.train(tmp_path_factory.mktemp("runs"), *served.SQUARES)


@pytest.fixture(scope="module")
def url(trained):
    with loopback(trained.path, "ckks") as at:
        yield at


def test_infer_shows_image_answer_and_costs(trained, capsys):
    """Without a URL it starts a service of its own."""
    assert privet("infer", trained.path, "--images", 1) == 0
    told = capsys.readouterr().out
    assert "encrypted answer" in told
    for word in ("key generation", "encrypt", "upload", "server", "download", "decrypt", "128-bit"):
        assert word in told


def test_infer_tells_programs_the_same(trained, url, tmp_path, capsys):
    key = tmp_path / "key"
    command = ("infer", trained.path, "--url", url, "--key", key, "--images", 4, "--json")
    assert privet(*command) == 0
    told = json.loads(capsys.readouterr().out)
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(told["answers"]) == 4
    assert all(set(a) == {"image", "encrypted", "plain", "truth"} for a in told["answers"])
    assert told["upload_bytes"] > 10_000
    assert privet(*command, "--logits") == 0  # the key is there: it is used again
    released = capsys.readouterr()
    assert "noise from which its secret key can be computed" in released.err.replace("\n", " ")
    assert len(json.loads(released.out)["answers"][0]["logits"]) == 10
    key.chmod(0o644)
    assert privet(*command) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_evaluation_agrees_with_the_plain_model(trained, url, capsys):
    assert privet("infer", trained.path, "--url", url, "--evaluate", 60, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agreement"] >= 0.95
    low, high = told["encrypted_accuracy_interval"]
    assert low < told["encrypted_accuracy"] < high
    assert privet("infer", trained.path, "--url", url, "--evaluate", 5) == 0
    assert "agreement" in capsys.readouterr().out


def test_what_was_measured_stays_in_the_run(trained, url, tmp_path):
    """For the report, by scheme; three images shown do not overwrite an accuracy of eight."""
    run = Run.open(shutil.copytree(trained.path, tmp_path / "run"))
    run.keep("inference.json", {"boolean": {"images": 7}})
    kept = measure(run, "ckks", 8, url)
    assert privet("infer", run.path, "--url", url, "--images", 3) == 0
    shown = run.inference
    run.keep("inference.json", {"ckks": kept | {"weights": "0" * 64}})  # of other weights
    measure(run, "ckks", 2, url)
    assert run.inference["ckks"]["images"] == 2
    assert kept["images"] == kept["timed_images"] == 8
    assert set(kept["versions"]) == {"tenseal"}
    assert {"total_ms", "server_ms", "upload_bytes", "download_bytes", "security"} <= set(kept)
    assert shown["boolean"] == {"images": 7}
    shown = shown["ckks"]
    assert (shown["images"], shown["timed_images"]) == (8, 3)
    assert shown["agreement_interval"] == list(kept["agreement_interval"])
    assert shown["server_ms"] != kept["server_ms"]


def refusal(run, capfd, *options):
    assert privet("infer", run.path, *options) == 2
    return capfd.readouterr().err


def test_a_model_that_no_service_can_serve_is_refused_without_one(tmp_path, monkeypatch, capfd):
    run = served.train(tmp_path, *served.NORMED)
    monkeypatch.setattr(subprocess, "Popen", None)
    reasons = {"ckks": "GroupNorm cannot be", "boolean": "not a binarized", "x": "unknown"}
    for scheme, why in reasons.items():
        (line,) = refusal(run, capfd, "--scheme", scheme).splitlines()
        assert line.startswith("privet: ")
        assert why in line


def test_a_service_that_does_not_start_says_why_in_one_line(tmp_path, monkeypatch, capfd):
    """The words and the exit status are its own, not those of the command that asked for it."""
    run = served.train(tmp_path, *served.NORMED)
    monkeypatch.setattr("server.inference.loopback.require_encryptable", lambda *_: None)
    (line,) = [x for x in refusal(run, capfd).splitlines() if "privet" in x or "Norm" in x]
    assert line.startswith("privet: layer 2 of 7, ")
    assert "GroupNorm cannot be" in line


def test_a_batch_is_answered_as_one_by_one(url):
    client = connect(url)
    data = load(Data())
    images = data.test_x[:12] / data.scale
    labels, times_s = client.ask_batch(images)
    each = [client.ask(image).label for image in images]
    assert np.mean(labels == each) > 0.9
    assert set(times_s) == {"encrypt", "upload", "server", "download", "decrypt"}


def test_evaluation_in_batches(trained, url, capsys):
    """The same shares, which stay out of the run; without --evaluate it is refused."""
    before = trained.inference
    asks = ("infer", trained.path, "--url", url, "--batch")
    assert privet(*asks, "--evaluate", 60, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], told["batch_images"]) == (60, 60)
    assert told["agreement"] >= 0.95
    assert told["image_ms"] > 0
    assert trained.inference == before
    assert privet(*asks) == 2
    assert "--batch: would change nothing: it is for --evaluate" in capsys.readouterr().err


def test_what_cannot_be_evaluated_is_told_with_the_remedy(trained, tmp_path, capsys):
    assert privet("serve", trained.path, "--scheme", "boolean") == 2
    assert "privet run encrypted-binary" in capsys.readouterr().err
    assert privet("serve", trained.path, "--scheme", "rot13") == 2
    assert "known: ckks, boolean" in capsys.readouterr().err
    normed = served.train(tmp_path, *served.NORMED, name="normed")
    assert privet("serve", normed.path) == 2
    assert "use [model] norm = 'none'" in capsys.readouterr().err
    assert privet("infer", trained.path, "--url", "http://127.0.0.1:9") == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_a_service_leaves_nothing_behind(trained, tmp_path, monkeypatch):
    """SIGTERM, which is how the loopback and containers end it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with loopback(trained.path, "ckks") as at:
        assert httpx.get(f"{at}/health").status_code == 200
        assert list(tmp_path.glob("privet-model-*"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bits", ["32", "8"])
def test_squares_in_fixed_point_compile_or_are_refused(bits, tmp_path, capsys):
    """Weights of few bits are weights; rounding an activation is no polynomial."""
    fixed = ["arithmetic.name=fixed", "arithmetic.bits=4", f"arithmetic.activation_bits={bits}"]
    run = served.train(tmp_path, *served.SQUARES, *fixed)
    if bits == "8":
        assert privet("serve", run.path) == 2
        assert "train with -s arithmetic.activation_bits=32" in capsys.readouterr().err
        return
    data = load(Data())
    net, _ = served_net(run, drawn_inputs(run.experiment))
    steps = np.unique(np.abs(np.diff(np.unique(net.layers[0].weight[0]))).round(9))
    assert np.allclose(steps / steps[0], np.rint(steps / steps[0]))  # a grid of words
    x = data.test_x[:50].reshape(50, -1) / data.scale
    first, last = net.layers
    logits = np.square(x @ first.weight.T + first.bias) @ last.weight.T + last.bias
    with torch.no_grad():
        expected = trained_model(run)(torch.from_numpy(data.test_x[:50] / data.scale).float())
    assert np.allclose(logits, expected, atol=1e-4)
    compile_run(run, "ckks", tmp_path / "served")


def answering(*responses):
    """A client of a service that says these things, one after another."""
    script = iter(responses)
    return httpx.Client(
        base_url="http://there", transport=httpx.MockTransport(lambda request: next(script))
    )


def test_a_service_that_lies_is_not_believed(url):
    offer = httpx.get(f"{url}/v1/offer").text
    weak = json.loads(offer) | {"degree": 1024}
    with pytest.raises(ModelError):
        Client(answering(httpx.Response(200, json=weak)))
    renamed = httpx.Response(200, json={"keys": "0" * 64})
    with pytest.raises(ServiceError, match="another name"):
        Client(answering(httpx.Response(200, text=offer), renamed))
    with pytest.raises(ServiceError, match="503: busy"):
        Client(answering(httpx.Response(503, text="busy\nand more")), patience_s=0.0)


def test_images_are_drawn_in_half_blocks_or_shades():
    image = np.zeros((5, 4))
    image[0, 0] = 1
    coloured = draw(image, colour=True)
    assert coloured.plain == "▀▀▀▀\n" * 3
    assert "rgb(255,255,255) on rgb(0,0,0)" in str(coloured.spans[0].style)
    assert draw(image, colour=False).plain.splitlines()[0] == "=   "


@pytest.mark.parametrize(("k", "n"), [(0, 10), (5, 10), (10, 10), (985, 1000)])
def test_intervals_are_wilsons(k, n):
    from scipy.stats import binomtest

    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high))
