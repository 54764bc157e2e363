"""What strangers try at a SuperLink: Flower's own programs, and calls by hand."""

import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import httpx
import pytest
import tomli_w
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from deployed import Federation, free_port, heartbeat, wait_for
from fastapi.routing import iter_route_contexts
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, TaskType
from flwr.supercore.interceptors import (
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.main import create_app
from starlette.testclient import TestClient

from clients.node.forks import Forks, replace
from privacy.authority import make_authority
from privacy.errors import FederationFailed
from server.engines import ports, submission
from server.engines.installed import require_ours
from server.engines.submission import BUNDLE, flower_environment

BIN = Path(sys.executable).parent
NODES_PORT, CONTROL_PORT = 9093, 9092


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    """A SuperLink with three nodes' keys; `foreign` has keys of another authority."""
    with Federation(tmp_path_factory.mktemp("link")) as here:
        for name in ("keys", "foreign"):
            make_authority(here.home / name, ["127.0.0.1"], 3)
        here.start("superlink")
        here.wait_for_log("superlink", "3 nodes admitted")
        yield here


@pytest.fixture
def flwr(link, tmp_path):
    """Flower's command line, of somebody who knows an address and the public authority.pem."""

    def call(address, *words):
        trusted = str(link.home / "keys" / "server" / "authority.pem")
        connection = {"address": address, "root-certificates": trusted}
        config = {"superlink": {"default": "there", "there": connection}}
        (tmp_path / "config.toml").write_text(tomli_w.dumps(config))
        done = subprocess.run(
            [BIN / "flwr", *words], env=flower_environment(tmp_path),
            capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return call


@pytest.fixture
def foreign(tmp_path):
    """An app that calls itself privet, and leaves a file wherever its code runs."""
    canary = tmp_path / "canary"
    app = tmp_path / "app"
    app.mkdir()
    (app / "pyproject.toml").write_text(tomli_w.dumps(BUNDLE))
    (app / "bundle.py").write_text(
        f"from pathlib import Path\nPath({str(canary)!r}).touch()\n\n{submission.APPS}"
    )
    return app, canary


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ends processes by /proc")


@linux
def test_a_strangers_app_is_not_taken_at_the_nodes_port(link, flwr, foreign):
    app, canary = foreign
    status, said = flwr(link.address, "run", str(app), "there")
    assert status != 0, said
    assert "at its --control-port" in said
    status, said = flwr(link.address, "list", "there")
    assert status != 0, said
    assert not canary.exists()


@linux
def test_an_app_that_is_not_ours_never_runs_at_the_port_for_runs(link, flwr, foreign):
    """Who sits at the server may submit; what runs is the installed app, or nothing."""
    app, canary = foreign
    status, said = flwr(link.control, "run", str(app), "there")
    assert status == 0, said
    link.wait_for_log("superlink", "not the bundle of this machine's privet")
    link.wait_for_log("superlink", "Finished task")
    assert not canary.exists()


@linux
def test_a_strangers_node_does_not_join(link, flwr, tmp_path):
    """Not by itself, not by a registration at the nodes' port, and not by one at the other."""
    key = link.home / "foreign" / "node-0" / "node.key"
    public = link.home / "foreign" / "server" / "node-0.pub"
    trusted = link.home / "keys" / "server" / "authority.pem"
    assert flwr(link.address, "supernode", "register", str(public), "there")[0] != 0
    status, said = flwr(link.control, "supernode", "register", str(public), "there")
    assert status == 0, said
    log = tmp_path / "supernode.log"
    words = ["--superlink", link.address, "--root-certificates", str(trusted)]
    words += ["--auth-supernode-private-key", str(key), "--port", str(free_port())]
    with log.open("wb") as out:
        node = subprocess.Popen(
            [BIN / "flower-supernode", *words], env=flower_environment(tmp_path),
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for("the refusal", lambda: ports.UNKNOWN in log.read_text(errors="replace"))
    finally:
        node.kill()
        node.wait()
    assert "SuperNode ID" not in log.read_text(errors="replace")
    private = load_ssh_private_key(key.read_bytes(), None)
    assert heartbeat(link.address, trusted, private, 1) == 401
    assert heartbeat(link.control, trusted, private, 1) == 404


@linux
@pytest.mark.parametrize("secret", [None, b"guessed"])
def test_nobody_takes_a_run_away_without_the_secret(link, secret):
    """Others on the server's machine reach the port: a run's token is not for them."""
    trusted = link.home / "keys" / "server" / "authority.pem"
    signer = [
        SuperExecAuthHttpInterceptor(
            master_secret=word, protected_methods=["/flwr.proto.Runtime/AcquireTask"]
        )
        for word in (secret,)
        if word
    ]
    version = RuntimeVersionHttpInterceptor(component_name="SuperExec")
    asker = RuntimeHttpClient.from_server_address(
        link.control, False, trusted.read_bytes(), interceptors=[version, *signer]
    )
    with asker, pytest.raises(httpx.HTTPStatusError) as refused:
        asker.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
    assert refused.value.response.status_code == 401


async def answer(scope, receive, send):
    """An app that says yes to everything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Public keys of a member and of a stranger."""
    home = tmp_path_factory.mktemp("keys")
    make_authority(home / "keys", ["127.0.0.1"], 2)
    names = [home / "keys" / f"node-{number}" / "node.key" for number in range(2)]
    return [load_ssh_private_key(name.read_bytes(), None).public_key() for name in names]


@pytest.fixture
def ask(keys):
    """The status of a call at a port, with the headers of whoever asks."""
    gate = ports.Ports(answer, CONTROL_PORT, keys[:1])

    def call(port, path, *claimed):
        client = TestClient(gate, base_url=f"https://127.0.0.1:{port}")
        headers = [(FLEET_HTTP_PUBLIC_KEY_HEADER, value) for value in claimed]
        return client.post(path, headers=headers).status_code

    return call


def claim(key):
    return b64encode(public_key_to_bytes(key)).decode()


def test_of_all_that_flower_offers_nodes_reach_the_fleets_calls(ask, keys):
    """By reflection: a call that a newer Flower adds is not at the nodes' port by itself."""
    paths = {context.path for context in iter_route_contexts(create_app().routes)}
    assert paths >= ports.FLEET
    inside = {path for path in paths if path.startswith(ports.INSIDE)}
    assert len(inside) > 40
    reached = {path for path in paths if ask(NODES_PORT, path, claim(keys[0])) == 200}
    assert reached == ports.FLEET | {ports.HEALTH}
    assert {path for path in paths if ask(CONTROL_PORT, path) == 200} == inside | {ports.HEALTH}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "//v1/control/start-run",
        "/V1/control/start-run",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/pull-messages%3F/v1/control/",
    ],
)
def test_no_spelling_of_a_path_leads_elsewhere(ask, keys, path):
    assert ask(NODES_PORT, path, claim(keys[0])) == 404


def test_a_node_shows_the_one_key_that_it_has(ask, keys):
    member, stranger = map(claim, keys)
    path = "/v1/fleet/pull-messages"
    assert ask(NODES_PORT, ports.JOIN, stranger) == 412
    assert ask(NODES_PORT, path, member) == 200
    for claimed in [(), ("",), (stranger,), (member, stranger), (stranger, member), (member[:-4],)]:
        assert ask(NODES_PORT, path, *claimed) == 401
    assert ask(CONTROL_PORT, path, member) == 404


def test_a_bundle_is_ours_to_the_byte(tmp_path, monkeypatch):
    from flwr.cli.build import build_fab_from_disk

    for name, content in submission.bundle_files().items():
        (tmp_path / name).write_bytes(content)
    ours = build_fab_from_disk(tmp_path)  # as `flwr run` does
    require_ours(ours)
    (tmp_path / "extra.py").write_text("")
    for other in (build_fab_from_disk(tmp_path), ours + b" ", b""):
        with pytest.raises(FederationFailed, match="not the bundle"):
            require_ours(other)


def test_of_flowers_tasks_one_kind_is_taken():
    """A simulation, an agent or a connector would run what was uploaded."""
    taken, _ = Forks("SERVER_APP", print).get_eligible_capacity(set(TaskType))
    assert taken == {TaskType.SERVER_APP}


def test_another_flower_does_not_start():
    """What is not there to be replaced would run as it is."""
    with pytest.raises(RuntimeError, match="no install_from_fab: another Flower"):
        replace(os, {"install_from_fab": None})


def test_the_end_of_a_fork_does_not_end_those_before_it():
    """It inherits what ends all: Flower calls that at the end of an app."""
    from flwr.supercore.exit import exit_handler

    seen = []
    forks = Forks("SERVER_APP", lambda spec: seen.append(exit_handler.registered_exit_handlers[:]))
    before = exit_handler.registered_exit_handlers[:]
    try:
        exit_handler.add_exit_handler(forks.close)
        forks._launched(None)
    finally:
        exit_handler.registered_exit_handlers[:] = before
    assert seen == [[]]
