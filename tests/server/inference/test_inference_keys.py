"""Keys of the service: replaced, in no process of the server, asked for again."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import served
from fastapi import FastAPI
from test_inference import Asker

from clients.data.sets import load
from clients.data.settings import Data
from clients.node.query import Client
from privacy import seal
from privacy.encrypted.wire import read_frame
from privacy.errors import ServiceError
from privacy.sealed import inflate
from server.inference import service as inference
from server.inference.limits import Limits
from server.inference.listen import listen
from server.inference.loopback import loopback


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return served.compiled(tmp_path_factory, "ckks", *served.SQUARES)


def test_keys_give_way_to_newer_ones_and_are_uploaded_again(model):
    async def story():
        async with served.serving(model[1]) as (_, http):
            size = len((await Asker.begin(http)).frame.to_bytes())
        async with served.serving(model[1], stored_keys_bytes=int(2.5 * size)) as (service, http):
            first, second = [await Asker.begin(http) for _ in range(2)]
            await first.require_right()
            await Asker.begin(http)  # the second's were used least lately
            assert (await second.ask(second.question())).status_code == 404
            await first.require_right()
            folder = service._store.folder
            assert service._store.size_bytes <= 2.5 * size
            files = list(folder.iterdir())
            assert len(files) == len(service._store) == 2
            assert {f.name for f in files} >= {first.frame.identity.hex()}
        assert not folder.parent.exists()

    served.run(story())


def memory_of(pid):
    """Every byte that a process may have written, region by region."""
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, rights = line.split()[:2]
            start, end = (int(a, 16) for a in addresses.split("-"))
            if rights.startswith("rw") and "[v" not in line:
                try:
                    memory.seek(start)
                    yield memory.read(end - start)
                except (OSError, OverflowError, ValueError):
                    continue


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_no_process_or_file_of_the_server_holds_the_secret_key(model, tmp_path):
    """The secret polynomial's words are looked for; the search must find what is public."""
    run, _ = model
    path, tokens = served.tokens_file(tmp_path, "operator")
    with loopback(run.path, "ckks", options=["--tokens", str(path)]) as url:
        http = httpx.Client(base_url=url, timeout=60, headers=served.bearer(tokens["operator"]))
        client = Client(http)
        data = load(Data())
        client.ask(data.test_x[0] / data.scale)
        pids = [w["pid"] for w in http.get("/status").json()["workers"]]
        parent = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
        keys_folder = Path(Path(f"/proc/{pids[0]}/cmdline").read_text().split("\0")[4])
        assert len(list(keys_folder.iterdir())) == 1
        words = inflate(client.keys.secret_bytes(), 1 << 26)
        probes = [words[-512:-256], words[-20_000:-19_744]]
        public = client.offer.digest
        found_public = 0
        for pid in (parent, *pids):
            for region in memory_of(pid):
                assert not any(probe in region for probe in probes)
                found_public += public in region
        assert found_public >= 2
        for part in read_frame(
            next(keys_folder.iterdir()).read_bytes(), "keys", client.offer.digest
        ).parts:
            assert not any(probe in inflate(part, 1 << 28) for probe in probes)
    # and when the service ends, it ends whole
    assert not any(Path(f"/proc/{pid}").exists() for pid in (parent, *pids))
    assert not keys_folder.exists()


def test_the_service_imports_no_secret_key_code():
    """As the import contract says of the source, so it is of the process."""
    code = (
        "import sys, server.inference.service, server.inference.worker;"
        "import privacy.encrypted.ckks, privacy.encrypted.boolean, privacy.encrypted.batch;"
        "print([m for m in sys.modules if m.startswith('privacy') and 'keys' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memory files")
def test_what_seal_writes_is_gone_with_its_process():
    """A worker that is killed leaves no client's ciphertext in a folder."""
    with seal._scratch() as path:
        Path(path).write_bytes(b"of a client")
        assert Path(path).read_bytes() == b"of a client"
        assert "memfd" in str(Path(path).readlink())
    assert not Path(path).exists()


def test_nonces_are_forgotten_in_order(model, monkeypatch):
    monkeypatch.setattr(inference, "REMEMBERED_NONCES", 2)

    async def story():
        async with served.serving(model[1]) as (_, http):
            asker = await Asker.begin(http)
            parts = asker.keys.encrypt(asker.image)
            nonces = [bytes([i]) * 16 for i in range(3)]
            for nonce in nonces:
                assert (await asker.ask(asker.question(parts=parts, nonce=nonce))).is_success
            assert (
                await asker.ask(asker.question(parts=parts, nonce=nonces[2]))
            ).status_code == 409
            assert (await asker.ask(asker.question(parts=parts, nonce=nonces[0]))).is_success

    served.run(story())


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=f"{port}: .* choose another --host or --port"):
            listen(FastAPI(), "127.0.0.1", port, Limits())
    with pytest.raises(ServiceError, match="refused"):
        Client(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5))
