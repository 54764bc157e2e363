"""The inference service under siege, for ten minutes: does it keep its promises to the honest?

run as: python tests/acceptance/soak.py [--seconds 600] [--honest 50] [--hostile 20] [--seed 1]

50 honest clients, first alone, then beside 20 hostile ones of all kinds (`hostile.py`), while a
worker is killed every 5 s and the place of keys and requests is filled to the last byte every 15 s.
Prints JSON; exit status 1 if a promise was broken: a wrong or lost answer, a median latency of more
than three times that of the honest alone, memory over its limit, a file or process left behind.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import served  # noqa: E402

from clients.data.sets import load  # noqa: E402
from clients.data.settings import Data  # noqa: E402
from clients.node.query import Client  # noqa: E402
from privacy.errors import PrivetError  # noqa: E402

KILL_EVERY_S, FILL_EVERY_S, FILLED_S = 5.0, 15.0, 2.0
PLACE_BYTES = 192 << 20  # of the place that is filled: what Docker would give
MEMORY_BYTES = 3 << 30  # of service and workers together, and of what they keep in memory
SLOWER = 3.0
END_S = 30.0
PAUSE_S = 2.0  # between an honest client's questions, on average
PATIENCE_S = 120.0


class Honest:
    """A client that asks now and then, and knows what is right."""

    def __init__(self, number, url, token, images, expected):
        self._rng, self._images, self._expected = random.Random(number), images, expected
        headers = served.bearer(token)
        hooks = {"response": [self._note]}
        transport = httpx.HTTPTransport(local_address=f"127.0.2.{number + 1}")
        http = httpx.Client(
            base_url=url, headers=headers, transport=transport, timeout=150, event_hooks=hooks
        )
        self.refused = 0
        self.client = Client(http, patience_s=PATIENCE_S)
        self.deadline = 0.0
        self.latencies_s, self.wrong, self.lost = [], 0, []

    def _note(self, response):
        self.refused += response.status_code in (429, 502, 503, 504, 507)

    def again(self, seconds):
        """The same client with the same keys, for another while."""
        self.deadline = time.monotonic() + seconds
        self.latencies_s, self.wrong, self.lost, self.refused = [], 0, [], 0

    def ask_until(self):
        while time.monotonic() < self.deadline:
            which = self._rng.randrange(len(self._images))
            begun = time.monotonic()
            try:
                label = self.client.ask(self._images[which]).label
                self.wrong += label != self._expected[which]
                self.latencies_s.append(time.monotonic() - begun)
            except PrivetError as error:
                self.lost.append(str(error))
            time.sleep(self._rng.uniform(0.5, 1.5) * PAUSE_S)


def phase(honest, seconds):
    """All honest clients at once, for so long; what came of it."""
    threads = []
    for client in honest:
        client.again(seconds)
        threads.append(threading.Thread(target=client.ask_until))
        threads[-1].start()
    for thread in threads:
        thread.join()
    latencies_s = [latency for client in honest for latency in client.latencies_s]
    lost = [reason for client in honest for reason in client.lost]
    return {
        "right": len(latencies_s) - sum(client.wrong for client in honest),
        "wrong": sum(client.wrong for client in honest),
        "lost": len(lost),
        "lost_reasons": sorted(set(lost))[:5],
        "refused_and_retried": sum(client.refused for client in honest),
        "median_latency_ms": round(statistics.median(latencies_s) * 1e3, 1),
        "slowest_latency_ms": round(max(latencies_s) * 1e3, 1),
    }


def children(pid):
    with contextlib.suppress(OSError):
        return [int(w) for w in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def resident_bytes(pid):
    with contextlib.suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) << 10
    return 0


class Siege:
    """What happens to the service meanwhile: kills, a full place, and a look at its memory."""

    def __init__(self, pid, place, filled):
        self._pid, self._place, self._fill = pid, place, filled
        self._over = threading.Event()
        self.most_bytes = self.kills = self.fillings = 0
        self._threads = [threading.Thread(target=what) for what in (self._kill, self._look)]
        if filled:
            self._threads.append(threading.Thread(target=self._flood))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _kill(self):
        while not self._over.wait(KILL_EVERY_S):
            for worker in children(self._pid)[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                    self.kills += 1

    def _look(self):
        while not self._over.wait(0.5):
            pids = [self._pid, *children(self._pid)]
            resident = sum(map(resident_bytes, pids))
            self.most_bytes = max(self.most_bytes, resident + self._kept_bytes())

    def _kept_bytes(self):
        kept = 0
        with contextlib.suppress(OSError):  # files come and go
            for path in self._place.rglob("*"):
                if path.name != "filler":
                    kept += path.stat().st_size
        return kept

    def _flood(self):
        while not self._over.wait(FILL_EVERY_S):
            with contextlib.suppress(OSError), (self._place / "filler").open("wb") as file:
                while True:
                    file.write(bytes(1 << 20))
            self.fillings += 1
            time.sleep(FILLED_S)
            (self._place / "filler").unlink(missing_ok=True)


@contextlib.contextmanager
def small_place(folder):
    """A small file system in memory, where this user may mount one; whether it is one."""
    folder.mkdir()
    size = f"size={PLACE_BYTES}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "privet-soak", folder],
        capture_output=True,
        check=False,
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=False)


def main():
    """Train, serve, besiege, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("seconds", 600.0), ("honest", 50), ("hostile", 20), ("seed", 1)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as home, small_place(Path(home, "p")) as full:
        told = besiege(Path(home), full, asked)
    print(json.dumps(told, indent=1))
    sys.exit(0 if all(told["promises"].values()) else 1)


def besiege(home, full, asked):
    """What came of it, as JSON."""
    run = served.train(home, *served.SQUARES)
    insiders = [f"insider-{n}" for n in range(asked.hostile // 2 or 1)]
    honest_names = [f"honest-{n}" for n in range(asked.honest)]
    tokens_path, tokens = served.tokens_file(home, "operator", *honest_names, *insiders)
    place, temporary = home / "p", home / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "server", "serve", str(run.path), "--port", "0"]
    command += ["--tokens", str(tokens_path), "--scratch", str(place), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    url = json.loads(process.stdout.readline())["url"]
    operator = httpx.Client(base_url=url, headers=served.bearer(tokens["operator"]), timeout=60)
    data = load(Data())
    images = data.test_x[:10] / data.scale
    first = Honest(0, url, tokens["honest-0"], images, None)
    expected = [first.client.ask(image).label for image in images]
    honest = [Honest(n, url, tokens[name], images, expected) for n, name in enumerate(honest_names)]
    alone = phase(honest, max(10.0, asked.seconds / 10))
    # elsewhere they would compute on machines of their own: here they get what is left of this one
    hostile = ["nice", "-n", "19", sys.executable, str(ROOT / "tests/acceptance/hostile.py"), url]
    hostile += [str(asked.seconds), str(asked.hostile), str(asked.seed)]
    hostile += [tokens[name] for name in insiders]
    environment["PYTHONPATH"] += os.pathsep + str(ROOT / "tests")
    with Siege(process.pid, place, full) as siege, subprocess.Popen(hostile, env=environment):
        besieged = phase(honest, asked.seconds)
    status = operator.get("/status").json()
    workers = children(process.pid)
    process.terminate()
    begun = time.monotonic()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    ended_s = time.monotonic() - begun
    files = [str(path) for folder in (place, temporary) for path in folder.iterdir()]
    lasting = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    slower = besieged["median_latency_ms"] / alone["median_latency_ms"]
    if process.poll() is None:
        process.kill()
    return {
        "seconds": asked.seconds,
        "alone": alone,
        "besieged": besieged,
        "times_slower": round(slower, 2),
        "workers_killed": siege.kills,
        "place_filled": siege.fillings if full else "skipped: this user may not mount a tmpfs",
        "most_memory_mb": siege.most_bytes >> 20,
        "status": status,
        "ended_s": round(ended_s, 1),
        "files_left": files,
        "processes_left": lasting,
        "promises": {
            "none wrong": not besieged["wrong"],
            "none lost": not besieged["lost"],
            "no more than three times slower": slower <= SLOWER,
            "memory within its limit": siege.most_bytes <= MEMORY_BYTES,
            "ends in time": ended_s < END_S,
            "no file left": not files,
            "no process left": not lasting,
        },
    }


if __name__ == "__main__":
    main()
