"""Small trained runs and services over them, for the tests of encrypted inference."""

import asyncio
import contextlib
import secrets
import tempfile
from pathlib import Path

import httpx

from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.inference.gate.stores import scratch
from server.inference.limits import Limits
from server.inference.program import compile_run
from server.inference.service import Service

SQUARES = [
    "model.activation=square",
    "model.hidden=[8]",
    "training.learning_rate=0.05",
    "training.gradient_norm=1.0",
]
SIGNS = [
    "model.hidden=[8]",
    "arithmetic.name=binary",
    "arithmetic.activation_bits=1",
    "arithmetic.gradient_bits=32",
    "arithmetic.scaling=none",
    "training.learning_rate=0.05",
]
NORMED = ["model.name=cnn1d", "model.width=2", "model.depth=1"]  # by each record's own spread
PLAIN = [
    "budget.unit=none",
    "federation.rounds=4",
    "federation.clients=2",
    "training.local_steps=20",
]


def train(folder, *settings, name="run"):
    """A perceptron on digits, in a second."""
    return launch(load_experiment("tiny", [*PLAIN, *settings]), folder, name)


@contextlib.asynccontextmanager
async def serving(folder, *, tokens=None, on_failure=lambda: None, place=None, **limits):
    """A service and an HTTP client of it in this process; its workers are processes."""
    limits = Limits(**{"memory_bytes": 0, "answer_s": 120.0, "refusal_s": 0.0, **limits})
    with scratch("privet-keys-", Path(place or tempfile.gettempdir())) as theirs:
        service = Service(folder, theirs, limits, tokens, on_failure)
        app = service.app()
        async with app.router.lifespan_context(app), client_of(app) as http:
            yield service, http


def client_of(app, address="127.0.0.1", **options):
    """An HTTP client of an app in this process, from an address."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://here", **options)


def compiled(tmp_path_factory, scheme, *settings):
    """A run and the folder that a service of it serves."""
    folder = tmp_path_factory.mktemp(scheme)
    run = train(folder, *settings)
    compile_run(run, scheme, folder / "served")
    return run, folder / "served"


def run(coroutine):
    """Run to the end."""
    return asyncio.run(coroutine)


def tokens_file(folder, *names):
    """A file of tokens for these names, as `privet serve --tokens` takes it; and the tokens."""
    tokens = {name: secrets.token_hex(16) for name in names}
    path = folder / "tokens"
    path.write_text("".join(f"{name} {token}\n" for name, token in tokens.items()))
    path.chmod(0o600)
    return path, tokens


def bearer(token):
    """The headers of a client with a token."""
    return {"authorization": f"Bearer {token}"}
