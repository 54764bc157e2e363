"""Who is let in to the live page, and with what it answers."""

import pytest
from starlette.testclient import TestClient
from watched import begin

from server.watch.folder import Folder
from server.watch.service import SANDBOX, Watcher
from server.watch.token import token_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    begin(runs, "one")
    (runs / "report.html").write_text("<p>a report")
    found = Folder(runs)
    found.look()
    return found


@pytest.fixture
def client(folder):
    app = Watcher(folder, "secret", 8471).app()
    return TestClient(app, base_url="http://127.0.0.1:8471", follow_redirects=False)


def test_only_who_has_the_token_is_let_in(client, folder):
    (row,) = folder.news(0)["runs"]
    paths = ["/", "/events", f"/run?id={row['id']}", "/sweep?id=x", "/report?id=x", "/?token=other"]
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 403, path
        assert "one" not in answer.text.split()
    led = client.get("/?token=secret")
    assert (led.status_code, led.headers["location"]) == (303, "/")
    kept = led.headers["set-cookie"].lower()
    assert "httponly" in kept
    assert "samesite=lax" in kept
    page = client.get("/")
    assert page.status_code == 200
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("x-content-type-options", "referrer-policy", "cross-origin-resource-policy"):
        assert name in page.headers
    assert client.get(paths[2]).json()["points"] == []
    assert client.get("/run?id=../one").status_code == 404
    assert client.get(f"{paths[2]}&after=x").status_code == 400
    assert client.post("/").status_code == 405


def test_no_other_name_leads_here(client):
    client.get("/?token=secret")
    for host in ("rebound.example:8471", "127.0.0.1.example:8471", "x@127.0.0.1", "", "127.0.0.1/"):
        assert client.get("/", headers={"host": host}).status_code == 421, host
    assert client.get("/", headers={"host": "localhost:8471"}).status_code == 200


def test_a_report_is_shown_where_it_reaches_nothing(client, folder):
    client.get("/?token=secret")
    (told,) = folder.news(0)["reports"]
    answer = client.get(f"/report?id={told['id']}")
    assert answer.text == "<p>a report"
    assert answer.headers["content-security-policy"] == SANDBOX
    assert "allow-same-origin" not in SANDBOX


def test_the_address_is_the_same_after_a_restart_and_each_folder_has_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "data"))
    first = token_of(tmp_path / "runs")
    assert first == token_of(tmp_path / "runs")
    assert first[1]
    assert first[0] != token_of(tmp_path / "others")[0]
    assert (tmp_path / "data" / "watch.key").stat().st_mode & 0o077 == 0
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRIVET_DATA", str(tmp_path / "file"))
    other, lasting = token_of(tmp_path / "runs")
    assert not lasting
    assert other != token_of(tmp_path / "runs")[0]
