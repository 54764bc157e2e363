"""Caddy in front, with the file that compose gives it: TLS, deadlines, whose request it is."""

import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import deployed
import httpx
import pytest
from test_gate_door import PATIENCE_S, connect, is_closed, listening

from privacy.authority import make_authority

CADDYFILE = Path(__file__).parents[4] / "compose" / "Caddyfile"


@pytest.mark.skipif(shutil.which("caddy") is None, reason="needs caddy: apt-get install caddy")
def test_the_front_keeps_strangers_to_tls_and_to_time(tmp_path, capsys):
    server, *_ = make_authority(tmp_path / "keys", ["localhost"], 0)
    trusted = ssl.create_default_context(cafile=server / "authority.pem")
    quick = tmp_path / "Caddyfile"  # with shorter deadlines, and else as it is
    quick.write_text(CADDYFILE.read_text().replace("read_header 10s", "read_header 1s"))
    with listening(capsys, proxies=["127.0.0.1"]) as behind:
        port = deployed.free_port()
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "PRIVET_PORT": str(port),
            "PRIVET_KEYS": str(server),
            "PRIVET_SERVICE": f"127.0.0.1:{behind}",
        }
        command = ["caddy", "run", "--config", str(quick), "--adapter", "caddyfile"]
        with (tmp_path / "log").open("wb") as log:
            front = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            url = f"https://localhost:{port}"
            transport = httpx.HTTPTransport(local_address="127.0.0.7", verify=trusted)
            http = httpx.Client(base_url=url, transport=transport)

            def answers():
                try:
                    return http.get("/").text == "here"
                except httpx.TransportError:
                    assert front.poll() is None, (tmp_path / "log").read_text()

            deployed.wait_for("caddy", answers, PATIENCE_S)
            forged = {"x-forwarded-for": "203.0.113.9"}
            assert http.get("/who", headers=forged).text == "127.0.0.7"
            assert httpx.get(f"http://localhost:{port}/").status_code == 400  # no TLS
            with connect(port) as raw, trusted.wrap_socket(raw, server_hostname="localhost") as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nhost: lo")
                begun = time.monotonic()
                assert is_closed(tls)
                assert time.monotonic() - begun < PATIENCE_S
        finally:
            front.terminate()
            front.wait(PATIENCE_S)
