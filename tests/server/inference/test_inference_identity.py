"""`privet serve` for other machines: TLS, tokens, quotas, and nothing told to strangers."""

import asyncio
import json
import sys

import httpx
import pytest
import served
from test_inference import Asker

from clients.node.query import BUSY, Client, connect
from privacy.authority import make_authority
from privacy.errors import KeysError, ServiceError
from server import cli
from server.inference.gate.accounts import read_tokens
from server.inference.listen import is_loopback, tls_context
from server.inference.loopback import loopback


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return served.compiled(tmp_path_factory, "ckks", *served.SQUARES)


def privet(*arguments):
    sys.argv = ["privet", *map(str, arguments)]
    with pytest.raises(SystemExit) as leave:
        cli.main()
    return int(leave.value.code or 0)


def test_infer_over_tls_with_a_token(model, tmp_path, capsys):
    run = model[0].path
    server, *_ = make_authority(tmp_path / "keys", ["localhost", "127.0.0.1"], 0)
    tokens, _ = served.tokens_file(tmp_path, "ward-3")
    options = ["--certificate", server / "server.pem", "--key", server / "server.key"]
    with loopback(run, "ckks", options=list(map(str, [*options, "--tokens", tokens]))) as url:
        assert url.startswith("https://")
        asks = ("infer", run, "--url", url, "--images", 1, "--json")
        trusts = ("--authority", server / "authority.pem")
        assert privet(*asks, *trusts, "--token", tokens) == 0
        assert len(json.loads(capsys.readouterr().out)["answers"]) == 1
        assert privet(*asks, "--token", tokens) == 1  # whom does the system trust? not this one
        assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err
        assert privet(*asks, *trusts) == 1
        assert "401: this service wants a token" in capsys.readouterr().err
        stranger = httpx.Client(base_url=url, verify=str(server / "authority.pem"))
        assert stranger.get("/health").json() == {"status": "ok"}
        for path in ("/status", "/v1/offer", "/openapi.json", "/docs"):
            assert stranger.get(path).status_code in (401, 404)


def test_beyond_this_machine_only_with_tls_and_tokens(model, tmp_path, capsys):
    server, *_ = make_authority(tmp_path / "keys", ["localhost"], 0)
    pair = ("--certificate", server / "server.pem", "--key", server / "server.key")
    tokens, _ = served.tokens_file(tmp_path, "ward-3")
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        assert not is_loopback(host)
        for some in ((), pair, ("--tokens", tokens)):
            assert privet("serve", model[0].path, "--host", host, *some) == 2
            assert "--insecure" in capsys.readouterr().err
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "localhost")))
    assert privet("serve", model[0].path, *pair[:2]) == 2
    assert "belong together" in capsys.readouterr().err
    (server / "server.key").chmod(0o644)
    with pytest.raises(KeysError, match="chmod 600"):
        tls_context(server / "server.pem", server / "server.key")
    (server / "server.key").chmod(0o600)
    with pytest.raises(KeysError, match="not a certificate and its key"):
        tls_context(server / "server.key", server / "server.key")


def test_a_token_does_not_leave_in_the_clear(tmp_path):
    tokens, _ = served.tokens_file(tmp_path, "ward-3")
    with pytest.raises(KeysError, match="over https only"):
        connect("http://192.0.2.1:8470", token_file=tokens)
    tokens.chmod(0o644)
    with pytest.raises(KeysError, match="chmod 600"):
        connect("https://192.0.2.1:8470", token_file=tokens)


def test_each_has_a_quota_of_its_own_and_the_operator_sees(model, tmp_path):
    path, tokens = served.tokens_file(tmp_path, "one", "two", "operator")

    async def story():
        limits = {"tokens": read_tokens(path), "answers_per_day": 2}
        async with served.serving(model[1], **limits) as (_, http):
            http.headers = served.bearer(tokens["one"])
            asker = await Asker.begin(http)
            await asker.require_right()
            await asker.require_right()
            response = await asker.ask(asker.question())
            assert response.status_code == 429
            assert "2 answers a day are the most" in response.text
            assert int(response.headers["retry-after"]) > 3600
            http.headers = served.bearer(tokens["two"])
            assert (await asker.ask(asker.question(keys=bytes(32)))).status_code == 404
            await asker.require_right()  # what was refused did not count
            await asker.require_right()
            assert (await http.get("/status")).status_code == 404
            http.headers = served.bearer(tokens["operator"])
            status = (await http.get("/status")).json()
            assert status["answers_by_status"]["429"] == 1
            assert status["in_flight_bytes"] == 0
            http.headers = {}
            assert (await http.put("/v1/keys", content=b"x")).status_code == 401

    served.run(story())


def test_one_client_with_many_connections_does_not_starve_another(model):
    """By addresses, where there are no tokens."""

    async def story():
        async with served.serving(model[1], waiting_each=16) as (service, http):
            asker = await Asker.begin(http)
            app = http._transport.app
            questions = [asker.question() for _ in range(41)]
            async with served.client_of(app, "192.0.2.1") as greedy:
                flood = [
                    asyncio.ensure_future(greedy.post("/v1/answers", content=question))
                    for question in questions[1:]
                ]
                while not service.pool.waiting:
                    await asyncio.sleep(0)
                assert (await asker.ask(questions[0])).status_code == 200
                done = sum(task.done() and task.result().status_code == 200 for task in flood)
                assert done < 10  # not after them all
                statuses = [(await task).status_code for task in flood]
                assert set(statuses) == {200, 429}

    served.run(story())


def script(*responses):
    """A client's connection to a service that says these things, one after another."""
    told = iter(responses)

    def say(request):
        said.append(request)
        response = next(told)
        if isinstance(response, Exception):
            raise response
        return response

    said = []
    return httpx.Client(base_url="http://there", transport=httpx.MockTransport(say)), said


def test_the_client_comes_back_when_it_was_turned_away(model, monkeypatch):
    pauses = []
    monkeypatch.setattr("clients.node.query.time.sleep", pauses.append)
    offer = httpx.Response(200, content=(model[1] / "offer.json").read_bytes())
    busy = [httpx.Response(status) for status in BUSY]
    told = [httpx.Response(503, headers={"retry-after": "7"}), httpx.RemoteProtocolError("closed")]
    http, said = script(*busy, *told, offer, *busy, httpx.Response(500, text="broken"))
    with pytest.raises(ServiceError, match="500: broken"):
        Client(http)
    assert len(said) == 2 * len(BUSY) + 4
    waits, pauses[5:6] = pauses[5:6], []
    assert 7.0 <= waits[0] <= 8.0
    assert all(0.125 * 2**n <= pauses[n] <= 0.25 * 2**n for n in range(5))
    bodies = [request.content for request in said if request.method == "PUT"]
    assert len(set(bodies)) == len(bodies)  # a nonce of its own for each
    for final in (httpx.Response(429, headers={"retry-after": "99999"}), httpx.Response(500)):
        http, _ = script(final)
        with pytest.raises(ServiceError):
            Client(http)
