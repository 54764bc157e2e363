"""Options of the command line that are numbers: what none of them may be."""

import click
import pytest
import typer

from server.cli import app


def options(command, path=()):
    """(words of a command, its option) of each below it."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from options(inner, (*path, name))
    for option in command.params:
        if isinstance(option, click.Option):
            yield path, option


ALL = list(options(typer.main.get_command(app)))
FLOATS = [
    (path, option) for path, option in ALL if isinstance(option.type, click.types.FloatParamType)
]
PORTS = [(path, option) for path, option in ALL if option.name.endswith("port")]


def refusal(path, option, value):
    """What is said to a value, by click, before a command begins."""
    context = click.Context(click.Command(path[-1]))
    with pytest.raises(click.BadParameter) as error:
        option.process_value(context, value)
    return error.value.message


@pytest.mark.parametrize(("path", "option"), FLOATS, ids=lambda x: getattr(x, "name", str(x)))
def test_no_number_is_infinite_or_none(path, option):
    """A range lets nan pass, as it is neither too small nor too large: no limit then stops it."""
    for value in ("nan", "inf", "-inf", "-1"):
        assert refusal(path, option, value)


@pytest.mark.parametrize(("path", "option"), PORTS, ids=lambda x: getattr(x, "name", str(x)))
def test_a_port_is_one(path, option):
    for value in ("-1", "65536", "70000", "1e3", "x"):
        assert refusal(path, option, value)


def test_there_are_such_options():
    assert len(FLOATS) >= 5
    assert len(PORTS) == 6
