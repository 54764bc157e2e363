"""How a run tells of its rounds: a line on a terminal, events for programs, else nothing."""

import io
import json

from watched import ROUNDS, begin, grow, record

from server import console
from server.console import Screen, observer, told_as_events


def test_a_line_on_a_terminal_has_rate_time_left_and_epsilon(tmp_path, monkeypatch):
    run = begin(tmp_path, "one")
    screen = Screen()
    screen.file, screen._force_terminal = io.StringIO(), True
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(console, "err", screen)
    with observer(run) as observe:
        observe(record(1))
    told = screen.file.getvalue()
    for word in (f"1/{ROUNDS}", "accuracy 55.00%", "epsilon 0.50 of 8", "1 failed", "left"):
        assert word in told
    assert "1.5 s a round" in told


def test_events_are_lines_of_json_and_the_last_has_the_run(privet, runs):
    status, out, _ = privet("run", "tiny", "-s", "federation.rounds=3", "--json", "--name", "one")
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [event["event"] for event in events] == ["round"] * 3 + ["end"]
    assert [event["round"] for event in events[:-1]] == [1, 2, 3]
    assert events[1]["left_s"] > events[2]["left_s"] == 0
    assert events[-1]["epsilon"] >= events[2]["epsilon"] > 0
    assert events[-1]["run"] == str(runs / "one")


def test_a_reader_that_went_away_stops_no_run(tmp_path, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError

    run = begin(tmp_path, "one")
    monkeypatch.setattr("builtins.print", closed)
    with told_as_events(ROUNDS), observer(run) as observe:
        grow(run, 1)
        observe(run.rounds[-1])
