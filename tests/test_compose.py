"""The files of compose/: their form, what they promise of hardening, and what they refer to."""

import re
import shlex
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml

from server.cli import app
from server.inference.limits import Limits

ROOT = Path(__file__).parent.parent
FILES = ("compose.yml", "inference.yml")
WORD, WORDS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
SECONDS = {"type": "string", "pattern": r"^\d+s$"}

# Of the Compose specification, what these files use; and of that, what must be there.
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image", "build", "command", "user", "read_only", "tmpfs", "cap_drop",
                 "security_opt", "healthcheck", "deploy", "volumes", "restart"],
    "properties": {
        "image": {"const": "privet"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "required": ["context", "dockerfile"],
            "properties": {"context": WORD, "dockerfile": WORD},
        },
        "command": WORDS,
        "user": {"type": "string", "pattern": r"^\$\{PRIVET_USER:-[1-9]\d*:[1-9]\d*\}$"},
        "read_only": {"const": True},
        "tmpfs": {"const": ["/tmp:mode=1777,size=2g"]},
        "cap_drop": {"const": ["ALL"]},
        "security_opt": {"const": ["no-new-privileges:true"]},
        "restart": {"const": "unless-stopped"},
        "init": {"const": True},
        "shm_size": {"type": "string", "pattern": r"^\d+[mg]$"},
        "ports": {
            "type": "array",
            "items": {"type": "string", "pattern": r"^\$\{PRIVET_INTERFACE:-127.0.0.1\}:\d+:\d+$"},
        },
        "networks": WORDS,
        "volumes": {
            "type": "array",
            "items": {
                "type": "string",
                "pattern": r"^\$\{PRIVET_HOME:-\.\}(/[A-Za-z0-9-]+)+:(/[A-Za-z]+)+(:ro)?$",
            },
        },
        "healthcheck": {
            "type": "object",
            "additionalProperties": False,
            "required": ["test", "interval", "timeout", "start_period", "retries"],
            "properties": {
                "test": {**WORDS, "minItems": 2},
                "interval": SECONDS,
                "timeout": SECONDS,
                "start_period": SECONDS,
                "retries": {"type": "integer", "minimum": 1},
            },
        },
        "deploy": {
            "type": "object",
            "additionalProperties": False,
            "required": ["resources"],
            "properties": {
                "resources": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["limits"],
                    "properties": {
                        "limits": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["cpus", "memory", "pids"],
                            "properties": {
                                "cpus": {"type": "string", "pattern": r"^\d+(\.\d+)?$"},
                                "memory": {"type": "string", "pattern": r"^\d+[mg]$"},
                                "pids": {"type": "integer", "minimum": 1},
                            },
                        }
                    },
                }
            },
        },
    },
}  # fmt: skip
FRONT = {  # of others' making, and held as hard
    **SERVICE,
    "required": [name for name in SERVICE["required"] if name != "build"],
    "properties": {
        **SERVICE["properties"],
        "image": {"type": "string", "pattern": r"^caddy:\d+\.\d+\.\d+$"},
        "environment": {"const": {"HOME": "/tmp"}},
    },
}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "services"],
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": WORD,
        "services": {
            "type": "object",
            "properties": {"front": FRONT},
            "additionalProperties": SERVICE,
            "minProperties": 1,
        },
        "networks": {"type": "object", "additionalProperties": {"type": "object"}},
    },
}


def read(name):
    return yaml.safe_load((ROOT / "compose" / name).read_text())


def ours(name):
    """Its services of privet's own image."""
    return [about for about in read(name)["services"].values() if "build" in about]


@pytest.mark.parametrize("name", FILES)
def test_the_files_have_the_form_and_the_hardening(name):
    jsonschema.validate(read(name), SCHEMA)
    for service in ours(name):
        assert (ROOT / "compose" / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"read_only": False},
        {"user": "root"},
        {"cap_drop": []},
        {"privileged": True},
        {"ports": ["9093:9093"]},
    ],
    ids=str,
)
def test_the_schema_refuses_a_softer_service(change):
    softer = read("compose.yml")
    softer["services"]["superlink"].update(change)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(softer, SCHEMA)


def options_of(command):
    """The options that a command of `privet` has."""
    found = typer.main.get_command(app).commands[command]
    return {word for option in found.params for word in option.opts}


@pytest.mark.parametrize("name", FILES)
def test_every_command_is_one_of_privets(name):
    for service in ours(name):
        command, *rest = service["command"]
        asked = {word for word in rest if word.startswith("--")}
        assert asked <= options_of(command), command


def test_each_node_sees_its_own_folders_and_no_others():
    services = read("compose.yml")["services"]
    nodes = {name: about for name, about in services.items() if name.startswith("node-")}
    assert set(nodes) == {"node-0", "node-1", "node-2"}
    for name, about in nodes.items():
        everyones = "${PRIVET_HOME:-.}/keys/members:/members:ro"
        for volume in set(about["volumes"]) - {everyones}:
            assert f"/{name}:" in volume
        written = [volume for volume in about["volumes"] if not volume.endswith(":ro")]
        assert [volume.partition(":/")[2] for volume in written] == ["ledger"]
        assert about["command"][about["command"].index("--client") + 1] == name[-1]
        assert "ports" not in about
    server = " ".join(services["superlink"]["volumes"])
    assert "nodes" not in server
    assert "ledgers" not in server
    assert "authority.key" not in (ROOT / "compose" / "compose.yml").read_text()


def test_strangers_reach_the_service_through_the_front_alone():
    """Its network has no way out; what it holds in shared memory is there; it is not believed
    to be well as long as no worker lives."""
    read_here = read("inference.yml")
    inference, front = (read_here["services"][name] for name in ("inference", "front"))
    assert "ports" not in inference
    assert inference["networks"] == ["inside"]
    assert read_here["networks"]["inside"]["internal"]
    assert {"--tokens", "--proxy"} <= set(inference["command"])
    (subnet,) = read_here["networks"]["inside"]["ipam"]["config"]
    assert subnet["subnet"] in inference["command"]
    assert "urlopen('http://127.0.0.1:8470/health'" in inference["healthcheck"]["test"][-1]
    keys_mb = int(inference["command"][inference["command"].index("--keys-mb") + 1])
    needed_bytes = (keys_mb << 20) + Limits().in_flight_bytes
    assert needed_bytes <= int(inference["shm_size"].removesuffix("g")) << 30
    assert front["volumes"][0].startswith("${PRIVET_HOME:-.}/compose/Caddyfile:")


def test_the_image_is_made_of_what_is_here_and_does_not_run_as_root():
    lines = (ROOT / "compose" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [
        shlex.split(line)[1:-1] for line in lines if line.startswith("COPY") and "--" not in line
    ]
    sources = {source for some in copied for source in some}
    assert {"privacy", "clients", "attacks", "server"} <= sources
    for source in sources:
        assert (ROOT / source).exists(), source
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users
    assert not re.match("0|root", users[-1])
    assert 'ENTRYPOINT ["privet"]' in lines


PAGE = (ROOT / "compose" / "README.md").read_text()
FENCED = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
BLOCKS = [text for kind, text in FENCED if kind in ("", "sh")]


def test_the_page_calls_privet_as_it_is():
    """`tests/server/engines/test_deployment.py` runs the same commands, from compose.yml."""
    lines = [line.partition(" #")[0] for block in BLOCKS for line in block.splitlines()]
    calls = [shlex.split(line) for line in lines if line.startswith("privet ")]
    assert {call[1] for call in calls} == {
        "keys",
        "data",
        "link",
        "node",
        "run",
        "resume",
        "ledger",
        "serve",
        "infer",
        "export",
    }
    known = typer.main.get_command(app).commands
    for call in calls:
        call = call[: call.index("&&")] if "&&" in call else call
        found, rest = known[call[1]], call[2:]
        if hasattr(found, "commands"):
            found, rest = found.commands[rest[0]], rest[1:]
        found.make_context("privet", list(rest), resilient_parsing=False)
