"""Processor time of each round of an experiment on one worker, and of `train` in it, as JSON."""

import json
import sys
import time
from pathlib import Path

from clients.node import app as device
from clients.training.records import records
from server.engines.app import create_run
from server.engines.launch import resume
from server.experiment.loading import load_experiment
from server.federation import rounds as federation


def main(file: str, runs: str) -> None:
    """Print a list of [seconds of the round, seconds in `train`]."""
    training_s = 0.0
    train, next_round = device.train, federation._Rounds.next
    shares: list[tuple[float, float]] = []

    def timed_train(*arguments):
        nonlocal training_s
        start = time.thread_time()
        try:
            return train(*arguments)
        finally:
            training_s += time.thread_time() - start

    def timed_round(self, number):
        before, start = training_s, time.process_time()
        record = next_round(self, number)
        shares.append((time.process_time() - start, training_s - before))
        return record

    device.train, federation._Rounds.next = timed_train, timed_round
    experiment = load_experiment(file, ["federation.workers=1"])
    records(experiment.data, experiment.model)
    resume(create_run(experiment, Path(runs)))
    print(json.dumps(shares))


if __name__ == "__main__":
    main(*sys.argv[1:])
