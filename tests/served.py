"""Small trained runs and services over them, for the tests of encrypted inference."""

import asyncio
import contextlib

import httpx

from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.inference.program import compile_run
from server.inference.service import Limits, Service

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
async def serving(folder, **limits):
    """A service and an HTTP client of it in this process; its workers are processes."""
    service = Service(folder, Limits(**{"memory_bytes": 0, "answer_s": 120.0, **limits}))
    app = service.app()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://here") as http,
    ):
        yield service, http


def compiled(tmp_path_factory, scheme, *settings):
    """A run and the folder that a service of it serves."""
    folder = tmp_path_factory.mktemp(scheme)
    run = train(folder, *settings)
    compile_run(run, scheme, folder / "served")
    return run, folder / "served"


def run(coroutine):
    """Run to the end."""
    return asyncio.run(coroutine)
