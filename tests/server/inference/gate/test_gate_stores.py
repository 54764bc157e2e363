"""Places that strangers fill: measured, with room kept, and emptied after whatever end."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from privacy.errors import WireError
from server.inference.gate import stores
from server.inference.gate.stores import KeyStore, Room, roomiest, scratch


class Plenty:
    """A room that never fills."""

    bytes = 1 << 40


def arrived(folder, name, size_bytes):
    path = folder / f"arrived-{name}"
    path.write_bytes(bytes(size_bytes))
    return path


def test_who_stores_much_loses_his_own_keys_first(tmp_path):
    store = KeyStore(tmp_path / "keys", 1000, Plenty())
    store.add(b"honest", arrived(tmp_path, "honest", 300), "honest")
    for number in range(30):
        store.add(b"%d" % number, arrived(tmp_path, number, 100), "flood")
        assert store.size_bytes <= 1000
    assert b"honest" in store
    assert len(list(store.folder.iterdir())) == len(store)
    with pytest.raises(WireError) as error:
        store.add(b"large", arrived(tmp_path, "large", 1001), "honest")
    assert error.value.status == 507


def test_a_full_place_is_told_and_left_with_room(tmp_path, monkeypatch):
    """Docker gives /dev/shm 64 MiB: what counts is the place, not the limit."""
    free = [100]
    usage = lambda folder: SimpleNamespace(total=640, free=free[0])  # noqa: E731
    monkeypatch.setattr(stores.shutil, "disk_usage", usage)
    room = Room(tmp_path, 1 << 20)
    assert room.bytes == 20  # an eighth of so small a place stays free
    room.require(20)
    with pytest.raises(WireError) as error:
        room.require(21)
    assert error.value.status == 507
    store = KeyStore(tmp_path / "keys", 1 << 30, room)
    with pytest.raises(WireError) as error:
        store.add(b"x", arrived(tmp_path, "x", 50), "someone")
    assert error.value.status == 507
    free[0] = 200
    store.add(b"x", arrived(tmp_path, "x", 50), "someone")
    free[0] = 70  # full: others' keys give way
    store.add(b"y", arrived(tmp_path, "y", 30), "someone")
    assert b"x" not in store


def test_keys_go_where_there_is_room(tmp_path, monkeypatch):
    sizes = {"/dev/shm": 64 << 20, "disk": 1 << 40}
    monkeypatch.setattr(stores.tempfile, "gettempdir", lambda: "disk")
    usage = lambda folder: SimpleNamespace(free=sizes[str(folder)])  # noqa: E731
    monkeypatch.setattr(stores.shutil, "disk_usage", usage)
    assert str(roomiest(1 << 30)) == "disk"
    sizes["/dev/shm"] = 2 << 30
    assert str(roomiest(1 << 30)) == "/dev/shm"
    sizes.update({"/dev/shm": 1 << 20, "disk": 1 << 10})
    assert str(roomiest(1 << 30)) == "/dev/shm"


KILLED = """
import os, signal, sys
from pathlib import Path
from server.inference.gate.stores import scratch
with scratch("privet-keys-", Path(sys.argv[1])) as folder:
    (folder / "keys").write_bytes(b"of a client")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_service_left_goes_at_the_next_start(tmp_path):
    """And nothing else does: another's that lives, a link, what is not ours to remove."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".lock").touch()
    (tmp_path / "privet-keys-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "privet-keys-foreign").mkdir()  # without a lock: not made by this
    with scratch("privet-keys-", tmp_path) as living:
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
        before = {path.name for path in tmp_path.iterdir()}
        assert len(before) == 5
        with scratch("privet-keys-", tmp_path) as folder:
            after = {path.name for path in tmp_path.iterdir()}
            assert living.is_dir()
            assert after == {
                "elsewhere", "privet-keys-link", "privet-keys-foreign", living.name, folder.name
            }  # fmt: skip
            assert os.stat(folder).st_mode & 0o777 == 0o700
    assert (tmp_path / "elsewhere").is_dir()
    assert not living.exists()


def test_keys_leave_room_for_requests_in_a_small_place(tmp_path, monkeypatch):
    """However many keys are stored, what arrives is not refused for want of room."""
    place_bytes = 64 << 20
    usage = SimpleNamespace(total=place_bytes, free=place_bytes)
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda _: usage)
    most_bytes, in_flight_bytes = stores.shares(Room(tmp_path, 1 << 20), 1 << 40, 1 << 40)
    assert 0 < in_flight_bytes <= place_bytes - (1 << 20) - most_bytes
    assert most_bytes > place_bytes / 2
    assert stores.shares(Room(tmp_path, 0), 5, 7) == (5, 7)
