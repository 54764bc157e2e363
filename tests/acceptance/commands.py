"""Thousands of calls of `privet` that a person might make, or nobody should: each keeps its manner.

run as: python tests/acceptance/commands.py [--seconds 180 | --cases N] [--seed 7] [--case K]

A case is drawn from the seed and its number alone: settings, records, files, damage, commands, as
in `kinds`. It calls the command line in a worker process, in a folder of its own, and is wrong if
the exit status is none of 0, 1 and 2; if an exception of Python or a warning of a library's reaches
stderr; if a refusal says more than a line for each thing wrong, or leaves anything on disk; if what
is half-written stays; if success lacks what was asked for, or its JSON does not parse; if there is
no answer in two minutes. Prints JSON; exit status 1 if a case was wrong. `--case K` shows one.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from contextlib import redirect_stdout, suppress
from multiprocessing import connection
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "COLUMNS": "200"}

import torch  # noqa: E402
from asks import Place  # noqa: E402
from kinds import KINDS  # noqa: E402
from kinds_of_runs import QUICK  # noqa: E402
from reported import BOOLEAN, CKKS  # noqa: E402
from settings_drawn import as_options, document  # noqa: E402

from server import cli  # noqa: E402

LIMIT_S = 120
MEMORY_BYTES = 6 << 30  # of address space, above what a worker begins with
CASES_OF_A_WORKER = 400
STAY = (".lock", "log.txt", ".shadows", "/attack")  # a lock, a log, stages of an attack: whole
UNCAUGHT = re.compile(r"^privet: [A-Za-z_]\w*\(.*\)$", re.MULTILINE | re.DOTALL)
RAISED = re.compile(r"^privet: (?!.*\.py).*\b[A-Z]\w+(Error|Exception): .*", re.MULTILINE)
WARNED = re.compile(r"^\S+\.py:\d+: \w*Warning: .*", re.MULTILINE)
LOCATED = re.compile(
    r"(-s .*?|\S+\.toml|--over .*?|privet attack): .+"
)  # a line for each setting that is wrong

# Runs that are made once, and copied: with a promise, and measured; without, of whole clients, of
# the device's arithmetic, behind masks, and one that diverged.
FINISHED = {
    "promised": {},
    "measured": {"record.updates": "true", "data.limit": "300"},
    "open": {"budget.unit": "none", "record.updates": "true", "data.limit": "120"},
    "clients": {"budget.unit": "client", "training.sample_rate": "0.5"},
    "fixed": {"arithmetic.name": "fixed", "arithmetic.bits": "4", "data.limit": "100"},
    "stochastic": {"arithmetic.name": "stochastic", "arithmetic.stream_length": "16"},
    "masks": {"federation.secure_aggregation": "masks", "federation.clients": "3"},
    "diverged": {"budget.unit": "none", "training.learning_rate": "1e6", "federation.rounds": "2"},
    "alone": {"federation.clients": "1", "data.held_out": "0.0", "budget.noise_multiplier": "1.0"},
}


def call(arguments, out, err):
    """`privet ARGUMENTS` in this process: exit status, stdout and stderr."""
    for file in (out, err):
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
    kept = [os.dup(1), os.dup(2)]
    os.dup2(out, 1), os.dup2(err, 2)
    sys.argv = ["privet", *arguments]
    status = 0
    try:
        cli.main()
    except SystemExit as leave:
        status = int(leave.code or 0)
    except BaseException:
        traceback.print_exc()
        status = -1
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number), os.close(copy)
    told = []
    for file in (out, err):
        content = os.pread(file, 1 << 26, 0)
        told.append(content.decode(errors="backslashreplace"))
    return status, *told


def judge(ask, status, told, error, before, after):
    """What is wrong with an answer; empty if nothing."""
    if status not in (0, 1, 2):
        return f"exit status {status}"
    if "Traceback (most recent call last)" in error:
        return "a traceback"
    if found := UNCAUGHT.search(error):
        return f"an exception: {found[0][:200]}"
    if found := RAISED.search(error):  # save in a file of the user's own
        return f"an exception in a line: {found[0][:200]}"
    if found := WARNED.search(error):
        return f"a warning: {found[0][:200]}"
    if parts := [path for path in after if path.endswith(".part")]:
        return f"half-written: {parts[0]}"
    if status == 0:
        return ask.lacks(told)
    lines = f"\n{error}".rpartition("\nprivet: ")[2].splitlines()  # after notes, if there are any
    if "privet: " not in error:
        return f"exit status {status} without a word" if status == 2 else ""
    if status == 2 and not all(LOCATED.fullmatch(line) for line in lines[1:]):
        return f"{len(lines)} lines of error: {lines[1][:100]}"
    if status == 2 and ask.must_do:
        return f"refused what a check called usable: {lines[0][:150]}"
    new = sorted(path for path in after - before if not any(name in path for name in STAY))
    return f"refused, and left {new[0]}" if status == 2 and new else ""


def tree(folder):
    """All that is in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def do(seed, case, home, finished, show=False):
    """One case: its kind, how many calls were refused and answered, and what was wrong."""
    rng = random.Random(f"{seed} {case}")
    weights = [weight for _, weight in KINDS.values()]
    kind = rng.choices(list(KINDS), weights)[0]
    folder = home / f"case-{case}"
    (folder / "runs").mkdir(parents=True)
    os.chdir(folder)
    counts, wrong = [0, 0], ""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for ask in KINDS[kind][0](Place(folder, finished), rng):
            before = tree(folder)
            given = [*(["--debug"] if show else []), *ask.given]
            status, told, error = call(given, out.fileno(), err.fileno())
            if show:  # which asked for the traceback
                print(f"$ privet {ask.given}\n{told}{error}exit status {status}", file=sys.stderr)
                error = error[max(error.rfind("\nprivet: ") + 1, 0) :]
            wrong = judge(ask, status, told, error, before, tree(folder))
            counts[status == 0] += 1
            if wrong:
                wrong = f"{' '.join(ask.given)!r:.300}: {wrong}"
                break
            if status:
                break
    os.chdir(home)
    if not show:
        shutil.rmtree(folder, ignore_errors=True)
    return kind, counts, wrong


def work(pipe, seed, home, finished):
    """A worker: case after case, until there are no more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))
    while (case := pipe.recv()) is not None:
        pipe.send(do(seed, case, home, finished))
    os._exit(0)


class Worker:
    """A process, and the case that it is at."""

    def __init__(self, *about):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = CONTEXT.Process(target=work, args=(theirs, *about), daemon=True)
        self.process.start()
        theirs.close()
        self.case, self.begun, self.done = None, 0.0, 0

    def give(self, case):
        self.case, self.begun = case, time.monotonic()
        self.pipe.send(case)

    def end(self):
        self.process.kill()
        self.process.join()
        self.pipe.close()


CONTEXT = multiprocessing.get_context("fork")


def fuzz(asked, home, finished):
    """All cases; by kind, what came of them."""
    about, until = (asked.seed, home, finished), time.monotonic() + asked.seconds
    found = defaultdict(lambda: {"generated": 0, "refused": 0, "answered": 0, "wrong": {}})
    num, following, workers = asked.cases or 1 << 40, 0, {}

    def tell(case, kind, counts, wrong):
        row = found[kind]
        row["generated"] += 1
        row["refused"] += counts[0] > 0
        row["answered"] += counts[0] == 0 and counts[1] > 0
        if wrong:
            row["wrong"][case] = wrong
            print(f"--seed {asked.seed} --case {case}: {kind}: {wrong}", file=sys.stderr)

    for _ in range(max(2, os.cpu_count() or 1)):
        worker = Worker(*about)
        workers[worker.pipe] = worker
        worker.give(following)
        following += 1
    while workers:
        ready = connection.wait(list(workers), 1.0)
        late = [p for p, w in workers.items() if time.monotonic() - w.begun > LIMIT_S]
        for pipe in {*ready, *late}:
            worker = workers.pop(pipe)
            try:
                tell(worker.case, *pipe.recv()) if pipe in ready else None
                worker.done += 1
                lost = pipe not in ready and f"no answer in {LIMIT_S} s"
            except (EOFError, ConnectionResetError):
                worker.process.join()
                lost = f"its process ended: {worker.process.exitcode}"
            if lost:
                tell(worker.case, "lost", [0, 0], lost)
            if following >= num or time.monotonic() > until:
                worker.end()
                continue
            if lost or worker.done >= CASES_OF_A_WORKER:
                worker.end()
                worker = Worker(*about)
            worker.give(following)
            following += 1
            workers[worker.pipe] = worker
    return {kind: found[kind] for kind in sorted(found)}


def measure(path):
    """What each command finds of a run, kept in it; an answer to an encrypted image takes long."""
    for command, more in {"attack": as_options(QUICK), "audit": [], "cost": []}.items():
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing), suppress(SystemExit):
            sys.argv = ["privet", command, str(path), *more]
            cli.main()
    (path / "inference.json").write_text(json.dumps({"ckks": CKKS, "boolean": BOOLEAN}))


def finish(home):
    """The runs that cases copy."""
    os.chdir(home)
    (home / "e.toml").write_text(document({}))
    for name, given in FINISHED.items():
        sys.argv = ["privet", "run", "e.toml", *as_options(given), "--name", name]
        with open(os.devnull, "w") as nothing:
            kept, sys.stdout = sys.stdout, nothing
            try:
                cli.main()
            except SystemExit as leave:
                if leave.code and name != "diverged":
                    raise
            finally:
                sys.stdout = kept
    measure(home / "runs" / "measured")
    return sorted(path for path in (home / "runs").iterdir() if path.name[0] != ".")


def main():
    """Draw, ask, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--case", type=int)
    asked = parser.parse_args()
    if asked.cases:
        asked.seconds = 1e9
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="commands-") as folder:
        home = Path(folder).resolve()
        os.environ |= {"PRIVET_DATA": str(home / "cache"), "HOME": str(home)}
        os.environ.pop("PRIVET_RUNS", None)
        finished = finish(home)
        if asked.case is not None:
            kind, _, wrong = do(asked.seed, asked.case, home, finished, show=True)
            print(json.dumps({"kind": kind, "wrong": wrong}))
            sys.exit(1 if wrong else 0)
        begun = time.monotonic()
        found = fuzz(asked, home, finished)
        os.chdir(ROOT)
    total = sum(row["generated"] for row in found.values())
    wrong = sum(len(row["wrong"]) for row in found.values())
    about = {"seed": asked.seed, "cases": total, "seconds": round(time.monotonic() - begun)}
    print(json.dumps(about | {"wrong": wrong, "kinds": found}, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
