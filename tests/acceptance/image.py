"""The image and compose's services, without Docker: built, started, healthy, trained and asked.

run as: python tests/acceptance/image.py

Where the kernel or this user may not, it says what is missing and measures nothing.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import containers
import yaml

ROOT = Path(__file__).parent.parent.parent
USER = "10001:10001"
NET = "172.30.84"  # inference.yml says so, since the service believes a proxy of it alone
FRONT_PACKAGES = ("caddy", "wget", "ca-certificates")
PRIVET = [sys.executable, "-m", "server"]


def filled(name, variables):
    """The services of a compose file, its variables filled in."""

    def value(match):
        return variables.get(match[1]) or match[2] or ""

    text = (ROOT / "compose" / name).read_text()
    return yaml.safe_load(re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", value, text))["services"]


def prepare(home):
    """What the README has one do before `up`."""
    called = {"cwd": home, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    containers.call(*PRIVET, "keys", "new", "keys", "--nodes", "3", "--host", "superlink", **called)
    containers.call(
        *PRIVET, "data", "split", "tiny", "nodes", "-s", "federation.clients=3", **called
    )
    for folder in ("state", "runs", "tokens", "compose", *(f"ledgers/node-{i}" for i in range(3))):
        (home / folder).mkdir(parents=True)
    (home / "tokens/tokens").write_text(f"ward-3 {secrets.token_hex(32)}\n")
    (home / "compose/Caddyfile").write_bytes((ROOT / "compose/Caddyfile").read_bytes())
    (home / "tokens/tokens").chmod(0o600)
    containers.call("chown", "-R", USER, home)
    home.chmod(0o755)


def start(services, images, logs, first):
    """All services of a file, each at an address of its own."""
    places = {name: f"{NET}.{first + i}" for i, name in enumerate(services)}
    hosts = "127.0.0.1 localhost\n" + "".join(f"{at} {name}\n" for name, at in places.items())
    return {
        name: containers.Container(name, about, images[name], places[name], hosts, logs / name)
        for name, about in services.items()
    }


def observe(running):
    """Health and hardening of each service; what is not as compose.yml says is an error."""
    found = {}
    for name, one in running.items():
        seconds = one.seconds_to_health()
        held = one.held_to()
        wanted = one.service.get("shm_size", f"{containers.SHM_BYTES >> 20}m")
        expected = {
            "user": USER.partition(":")[0],
            "capabilities": 0,
            "no_new_privileges": True,
            "root_is_read_only": True,
            "shared_memory_bytes": int(wanted[:-1]) * containers.UNITS[wanted[-1]],
        }
        if held != expected:
            raise SystemExit(f"{name}: {held}, must be {expected}")
        found[name] = {"healthy_s": seconds, "not_held": one.not_held} | held
    return found


def federate(home, image, logs):
    """compose.yml: up, a run from inside the SuperLink's container, stop."""
    services = filled("compose.yml", {"PRIVET_HOME": str(home), "PRIVET_USER": USER})
    images = dict.fromkeys(services, image)
    running = start(services, images, logs, 10)
    try:
        found = observe(running)
        page = (ROOT / "compose/README.md").read_text()
        (line,) = re.findall(
            r"^docker compose .* exec superlink (privet run .*)$", page, re.MULTILINE
        )
        started = time.monotonic()
        # Squares: what inference.yml serves next is asked whether it answers as in the clear.
        told = running["superlink"].execute(*line.split(), "-s", "model.activation=square")
        found["run_s"] = round(time.monotonic() - started, 1)
        run = home / "runs" / Path(told.strip().splitlines()[-1]).name
        found["rounds"] = len((run / "rounds.jsonl").read_text().splitlines())
        found["charged"] = {
            f"node-{i}": len((home / f"ledgers/node-{i}/ledger.jsonl").read_text().splitlines())
            for i in range(3)
        }
    finally:
        ended = {name: one.end() for name, one in running.items()}
    return run, found | {"ended": ended}


def infer(home, run, image, front, logs):
    """inference.yml: up, a question through Caddy, stop."""
    variables = {"PRIVET_HOME": str(home), "PRIVET_USER": USER, "PRIVET_RUN": run.name}
    services = filled("inference.yml", variables)
    running = start(services, {"inference": image, "front": front}, logs, 30)
    try:
        found = observe(running)
        token = (home / "tokens/tokens").read_text().split()[1]
        (home / "token").write_text(token)
        (home / "token").chmod(0o600)
        url = [
            "--url",
            "https://localhost:8443",
            "--authority",
            str(home / "keys/server/authority.pem"),
        ]
        asked = [*PRIVET, "infer", str(run), *url, "--token", str(home / "token"), "--images", "3"]
        into = ["nsenter", "--target", running["front"].first, "--net"]
        called = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
        found["answers"] = json.loads(containers.call(*into, *asked, "--json", **called))
    finally:
        ended = {name: one.end() for name, one in running.items()}
    return found | {"ended": ended}


def inside(folder):
    """What is run in a network of its own: all services of both files."""
    containers.call("mount", "-t", "tmpfs", "none", "/run")
    containers.call("ip", "link", "add", "bridge", "type", "bridge")
    containers.call("ip", "link", "set", "bridge", "up")
    told = json.loads((folder / "image.json").read_text())
    image = containers.Image(folder / told["root"])
    image.variables, image.place, image.entry = told["variables"], told["place"], told["entry"]
    front = containers.Image(folder / "front")
    home, logs = folder / "home", folder / "logs"
    logs.mkdir()
    run, federation = federate(home, image, logs)
    print(json.dumps({"federation": federation, "inference": infer(home, run, image, front, logs)}))


def built(folder):
    """The image, and Caddy's; how long each step took, in seconds."""
    seconds = {}
    for name, packages in (("base", containers.PYTHON), ("front", FRONT_PACKAGES)):
        started = time.monotonic()
        containers.bootstrap(folder / name, packages)
        seconds[f"{name}_s"] = round(time.monotonic() - started)
    started = time.monotonic()
    image = containers.build(ROOT / "compose/Dockerfile", ROOT, folder / "base", folder)
    seconds["dockerfile_s"] = round(time.monotonic() - started)
    about = {"root": image.root.name, "variables": image.variables, "place": image.place}
    (folder / "image.json").write_text(json.dumps(about | {"entry": image.entry}))
    if image.user != USER:
        raise SystemExit(f"Dockerfile: USER is {image.user!r}, must be {USER}")
    return seconds


def main():
    if missing := containers.obstacle():
        print(json.dumps({"skipped": missing}))
        return
    with tempfile.TemporaryDirectory(prefix="privet-image-", dir="/var/tmp") as place:
        folder = Path(place)
        folder.chmod(0o755)
        seconds = built(folder)
        (folder / "home").mkdir()
        prepare(folder / "home")
        alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        done = subprocess.run(
            [*alone, sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(done.returncode)
        print(json.dumps({"built": seconds} | json.loads(done.stdout.splitlines()[-1])))


if __name__ == "__main__":
    inside(Path(sys.argv[1])) if sys.argv[1:] else main()
