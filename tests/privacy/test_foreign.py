"""privacy.foreign, privacy.files: what others put in our way is not waited for, nor followed."""

import os
import socket
from pathlib import Path

import pytest

from privacy.documents import from_json
from privacy.encrypted.keys import load_secret
from privacy.errors import KeysError, RunError, SettingsError
from privacy.files import held, open_own, write_atomically
from privacy.foreign import first_link, open_foreign, read_exactly, read_foreign
from privacy.settings import override, read_toml


def pipe(path):
    os.mkfifo(path, 0o600)


def listening(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def folder(path):
    path.mkdir()


def device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, listening, folder, device], ids=lambda make: make.__name__)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make):
    """Opened as a plain file a pipe waits for ever, and /dev/zero never ends."""
    make(tmp_path / "it")
    with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        read_foreign(tmp_path / "it", 100)
    with pytest.raises(SettingsError, match=r"it: cannot be read: (not a regular|Is a directory)"):
        read_toml(tmp_path / "it")


def test_a_link_is_followed_where_the_user_named_it_alone(tmp_path):
    (tmp_path / "file").write_text("its")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_foreign(tmp_path / "link", 3) == b"its"
    with pytest.raises(OSError, match="a link, which is not followed"):
        open_foreign(tmp_path / "link", 3, follow=False)


def test_a_size_is_looked_at_before_a_byte_is_read(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)  # of no blocks
    with pytest.raises(OSError, match="1099511627776 bytes, 100 are the most"):
        open_foreign(tmp_path / "large", 100)
    with pytest.raises(SettingsError, match="are the most"):
        read_toml(tmp_path / "large")
    with pytest.raises(OSError, match="more than 3 bytes"):  # which says that it has none
        read_foreign(Path("/proc/self/status"), 3)


@pytest.mark.parametrize(("content", "told"), [(b"12", "2 bytes"), (b"1234", "more bytes")])
def test_a_stream_is_as_long_as_was_promised(tmp_path, content, told):
    (tmp_path / "x").write_bytes(content)
    with open_foreign(tmp_path / "x", 10) as file, pytest.raises(ValueError, match=told):
        read_exactly(file, 3)


def test_deep_nests_are_errors_of_a_line(tmp_path):
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            from_json(text)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(SettingsError, match=r"deep.toml: holds .* or values nested as deep"):
        read_toml(tmp_path / "deep.toml")
    tables, _ = override({}, ["a.b=" + "[" * 100_000])
    assert tables["a"]["b"].startswith("[[")


def test_keys_in_a_pipe_are_refused(tmp_path):
    pipe(tmp_path / "keys")
    with pytest.raises(KeysError, match="not a regular file"):
        load_secret(tmp_path / "keys")


def test_nothing_is_written_through_a_planted_link(tmp_path, monkeypatch):
    """Whoever guesses the name of a temporary file finds it refused, and another's file whole."""
    victim = tmp_path / "victim"
    victim.write_text("whole")
    monkeypatch.setattr("privacy.files.secrets.token_hex", lambda n: "guessed")
    (tmp_path / ".out.guessed.part").symlink_to(victim)
    with (
        pytest.raises(RunError, match="cannot be written"),
        write_atomically(tmp_path / "out") as f,
    ):
        f.write(b"spoilt")
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(RunError, match="cannot be written"), held(tmp_path, "run"):
        pass
    for flags in (0, os.O_APPEND):
        with pytest.raises(OSError, match="symbolic links"):
            open_own(tmp_path / ".lock", flags)
    assert victim.read_text() == "whole"


def test_temporary_names_cannot_be_guessed(tmp_path):
    names = set()
    for _ in range(20):
        with write_atomically(tmp_path / "out") as file:
            names.add(file.name)
    assert len(names) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_pipe_in_place_of_a_lock_or_log_is_not_waited_for(tmp_path):
    pipe(tmp_path / ".lock")
    with pytest.raises(RunError, match="cannot be written"), held(tmp_path, "run"):
        pass
    reader = os.open(tmp_path / ".lock", os.O_RDONLY | os.O_NONBLOCK)  # then it can be opened
    with pytest.raises(OSError, match="not a regular file"):
        open_own(tmp_path / ".lock", os.O_APPEND)
    os.close(reader)


def test_the_first_link_is_found_at_any_depth(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/file").write_text("")
    assert first_link(tmp_path) is None
    pipe(tmp_path / "a/b/c/pipe")
    assert first_link(tmp_path) == tmp_path / "a/b/c/pipe"
    (tmp_path / "a/b/c/pipe").unlink()
    (tmp_path / "a/b/link").symlink_to("/")
    assert first_link(tmp_path) == tmp_path / "a/b/link"
