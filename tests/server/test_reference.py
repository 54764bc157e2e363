"""The reference names every command, and what it names is there and documented."""

import inspect
from pathlib import Path

import typer

from server import cli
from server.reference import BEHIND, BESIDE, commands_of, every, named

EVERY = {path for paths in (*BEHIND.values(), *BESIDE.values()) for path in every(paths)}


def test_every_command_has_its_functions_and_no_other_is_named():
    assert set(BEHIND) == set(commands_of(typer.main.get_command(cli.app)))


def test_every_name_is_there_and_has_a_docstring_of_its_own():
    for path in EVERY:
        target = named(path)
        doc = inspect.getdoc(target)
        assert doc, path
        assert not doc.startswith(f"{target.__name__}("), f"{path}: a dataclass's own text"


def test_the_page_has_all_of_them(privet, tmp_path):
    status, said, _ = privet("reference", "-o", str(tmp_path / "reference.md"))
    assert (status, said.strip()) == (0, str(tmp_path / "reference.md"))
    page = Path(said.strip()).read_text()
    for path in EVERY:
        assert path.replace(":", ".") in page
    for name, command in commands_of(typer.main.get_command(cli.app)).items():
        assert f"### privet {name}\n" in page
        for option in command.params:
            assert all(f"`{opt}" in page or opt in page for opt in option.opts)
    assert privet("reference")[1] == page
