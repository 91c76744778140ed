"""Who may do what: tokens, cookies, pages of other sites, names of the server."""

import os
import stat
from pathlib import Path

import pytest
import uvicorn
from serving import MakeApp, picture, service_of
from starlette.testclient import TestClient

from anyview.serve.folders import Folders, list_files
from anyview.serve.jobs import JobStore
from anyview.serve.middleware import SECURITY_HEADERS
from anyview.serve.options import ServeOptions
from anyview.serve.security import COOKIE
from anyview.serve.tokens import Tokens, own_token, read_tokens, tokens_for

ANNA, BEN = "anna-has-this-token", "and-ben-has-that-one"
FILES = {"files": ("a.png", picture(), "image/png")}


@pytest.fixture
def guarded(make_app: MakeApp) -> TestClient:
    """An application that asks for tokens; the client has none, and sends no header of its own."""
    client = make_app({"anna": ANNA, "ben": BEN})
    del client.headers["X-Anyview"]
    return client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def api_routes(client: TestClient) -> list[tuple[str, str]]:
    """Method and path of every route that is documented, with something for its parameters."""
    paths = client.get("/openapi.json").json()["paths"]
    values = {"id": "0" * 32, "name": "room", "token": "t"}
    return [(method.upper(), path.format_map(values)) for path, methods in paths.items() for method in methods]


OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/v1/session"),
    ("POST", "/v1/session"),
    ("DELETE", "/v1/session"),
    ("GET", "/v1/shared/t"),
    ("GET", "/v1/shared/t/files/room"),
    ("GET", "/v1/shared/t/archive.zip"),
}
"""What needs no token: signs of life, showing one, and links, which are tokens themselves."""


def test_every_other_route_wants_a_token(guarded: TestClient):
    closed = [route for route in api_routes(guarded) if route not in OPEN]
    assert len(closed) >= 16
    for method, path in closed:
        for headers in ({}, bearer("wrong"), {"Authorization": "Basic YTpi"}, bearer(""), {"Cookie": f"{COOKIE}=x"}):
            answer = guarded.request(method, path, headers=headers)
            assert (answer.status_code, method, path) == (401, method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


def test_jobs_of_others_are_as_if_they_were_not_there(guarded: TestClient):
    id = guarded.post("/v1/jobs", files=FILES, headers=bearer(ANNA)).json()["id"]
    assert guarded.get(f"/v1/jobs/{id}", headers=bearer(ANNA)).status_code == 200
    assert guarded.get("/v1/jobs", headers=bearer(BEN)).json() == {"jobs": []}
    for method, route in [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/files/scene.glb"),
        ("GET", "/archive.zip"),
        ("POST", "/cancel"),
        ("POST", "/share"),
        ("DELETE", "/share"),
        ("DELETE", ""),
    ]:
        foreign = guarded.request(method, f"/v1/jobs/{id}{route}", headers=bearer(BEN))
        missing = guarded.request(method, f"/v1/jobs/{'0' * 32}{route}", headers=bearer(BEN))
        assert foreign.status_code == missing.status_code == 404
        assert foreign.json() == missing.json() == {"error": "no such job"}
    assert guarded.get(f"/v1/jobs/{id}", headers=bearer(ANNA)).json()["state"] == "queued"


def test_a_browser_shows_its_token_once(guarded: TestClient):
    assert guarded.get("/v1/session").json() == {"token_needed": True, "owner": None}
    assert guarded.post("/v1/session", json={"token": "wrong"}).status_code == 401
    answer = guarded.post("/v1/session", json={"token": ANNA})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ANNA not in cookie
    assert guarded.get("/v1/session").json() == {"token_needed": True, "owner": "anna"}
    assert guarded.get("/v1/jobs").status_code == 200
    assert guarded.delete("/v1/session").status_code == 204
    guarded.cookies.set(COOKIE, cookie.partition("=")[2].partition(";")[0])
    assert guarded.get("/v1/jobs").status_code == 401  # the server has forgotten it too


@pytest.mark.parametrize("later", [{"ben": BEN}, {"anna": "anna-has-a-new-token", "ben": BEN}])
def test_a_session_ends_with_its_token(guarded: TestClient, later: dict[str, str]):
    """Also where its owner has got another one, since the first may have been stolen."""
    guarded.post("/v1/session", json={"token": ANNA})
    assert guarded.get("/v1/jobs").status_code == 200
    service_of(guarded).gate._tokens = Tokens(later)
    assert guarded.get("/v1/jobs").status_code == 401


def test_no_session_is_kept_where_no_token_is_asked_for(make_app: MakeApp):
    client = make_app()
    answer = client.post("/v1/session", json={"token": "whatever"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (204, False)
    assert service_of(client).store._rows("SELECT * FROM sessions") == []


@pytest.mark.parametrize("asks_for_tokens", [False, True])
@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"X-Anyview": "0"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://localhost"}, True),
        ({"X-Anyview": "1"}, True),
    ],
)
def test_pages_of_other_sites_change_nothing(make_app: MakeApp, asks_for_tokens: bool, headers, allowed: bool):
    client = make_app({"anna": ANNA} if asks_for_tokens else None)
    del client.headers["X-Anyview"]
    if asks_for_tokens:
        client.post("/v1/session", json={"token": ANNA})
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    answer = client.post("/v1/jobs", files=FILES, headers=headers)
    assert answer.status_code == (201 if allowed else 403)
    for method, path in [("POST", "/v1/depth"), ("POST", "/v1/examples/room"), ("DELETE", f"/v1/jobs/{'0' * 32}")]:
        if not allowed:
            assert client.request(method, path, headers=headers).status_code == 403
    assert len(client.get("/v1/jobs").json()["jobs"]) == int(allowed)


def test_a_token_is_enough_for_programs(guarded: TestClient):
    answer = guarded.post("/v1/jobs", files=FILES, headers={**bearer(ANNA), "Origin": "http://elsewhere.example"})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("192.168.0.7", True),
        ("anyview.lab", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:127.0.0.1", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_names_that_others_could_give_this_machine_are_refused(make_app: MakeApp, host: str, known: bool):
    answer = make_app(hosts=("anyview.lab",)).get("/healthz", headers={"Host": host})
    assert answer.status_code == (200 if known else 421)


def test_no_other_site_is_let_in_unless_asked(make_app: MakeApp):
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    closed = make_app({"anna": ANNA})
    for answer in (closed.options("/v1/jobs", headers=preflight), closed.get("/v1/jobs", headers=preflight)):
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_site_that_was_asked_for_is_let_in(make_app: MakeApp):
    client = make_app({"anna": ANNA}, cors_origins=("https://app.example",))
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = client.options("/v1/jobs", headers={**preflight, "Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in answer.headers  # no cookies: a token only
    refused = client.options("/v1/jobs", headers={**preflight, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers
    preflight["Access-Control-Request-Headers"] = "x-anyview"
    answer = client.options("/v1/jobs", headers={**preflight, "Origin": "https://app.example"})
    assert answer.status_code == 400  # which would let its pages use the cookie of a user of ours


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/nothing", "/v1/jobs/x/files/../../etc/passwd", "/metrics"])
def test_every_answer_has_the_security_headers(guarded: TestClient, path: str):
    answer = guarded.get(path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "*" not in policy
    assert [part.split()[0] for part in policy.split("; ") if "blob:" in part] == ["img-src"]


def test_browsers_keep_the_page_and_nothing_of_results(guarded: TestClient):
    service = service_of(guarded)
    id = service.store.add("anna", "tiny", "{}").id
    service.folders.result(id).mkdir(parents=True)
    (service.folders.result(id) / "scene.glb").write_bytes(b"glTF")
    service.store.finish(id, "done", keep_s=60.0, files=list(list_files(service.folders.result(id))))
    shared = guarded.post(f"/v1/jobs/{id}/share", headers=bearer(ANNA)).json()["path"]
    for path in (f"/v1/jobs/{id}", shared):
        for name in ("", "/files/scene.glb", "/archive.zip"):
            answer = guarded.get(path + name, headers=bearer(ANNA))
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    first = guarded.get("/static/style.css")
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    again = guarded.get("/static/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"], again.content) == (304, "no-cache", b"")


@pytest.mark.parametrize(
    ("proxy", "trusted", "is_secure"),
    [
        ("127.0.0.1", None, True),
        ("10.0.0.7", None, False),
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "10.0.0.0/24,192.0.2.1", True),
        ("127.0.0.1", "10.0.0.7", False),
    ],
)
def test_a_proxy_that_is_trusted_says_that_the_cookie_is_for_https(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, proxy: str, trusted: str | None, is_secure: bool
):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    if trusted is not None:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    config = uvicorn.Config(make_app({"anna": ANNA}).app, lifespan="off", ws="none")
    config.load()
    client = TestClient(config.loaded_app, base_url="http://localhost", client=(proxy, 50_000))
    answer = client.post("/v1/session", json={"token": ANNA}, headers={"X-Forwarded-Proto": "https"})
    assert ("Secure" in answer.headers["set-cookie"]) == is_secure


def test_nobody_else_can_read_what_is_in_the_data_folder(make_app: MakeApp, tmp_path: Path):
    """Also where the account lets others read all that it makes, and the folder was there before."""
    before = os.umask(0)
    try:
        client = make_app()
        made = service_of(client).folders.root
        client.post("/v1/jobs", files=FILES)
        there = tmp_path / "there"
        there.mkdir(mode=0o755)
        (there / "jobs").mkdir(mode=0o755)
        (there / "jobs.sqlite3").touch(mode=0o644)
        Folders(there).make()
        JobStore(there / "jobs.sqlite3").close()
    finally:
        os.umask(before)
    for root in (made, there):
        for name in ("jobs.sqlite3", "jobs.sqlite3-wal", "jobs.sqlite3-shm", "jobs", "uploads", "examples"):
            if root == made or (root / name).exists():
                assert stat.S_IMODE((root / name).stat().st_mode) & 0o077 == 0, root / name
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "error", [KeyError("a secret"), PermissionError(13, "a secret", "/srv/data"), AssertionError()]
)
def test_faults_of_the_server_have_the_headers_and_say_nothing(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, error: Exception
):
    client = make_app({"anna": ANNA}, cors_origins=("https://app.example",))

    async def fails() -> None:
        raise error

    client.app.add_api_route("/fails", fails)  # type: ignore[attr-defined]
    answer = client.get("/fails")
    assert answer.status_code == 500
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    words, _, reference = answer.json()["error"].rpartition(" ")
    assert words == "internal error; it stands in the log of the server as"
    [record] = caplog.records
    assert record.getMessage() == f"internal error {reference}: GET '/fails'"
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert b'route="/fails",status="500"' in service_of(client).metrics.text({}, 0, 0, 0)


def test_the_made_up_token_stays_and_only_its_owner_can_read_it(tmp_path):
    options = ServeOptions(data=tmp_path, auth="on")
    token = own_token(tmp_path)
    assert len(token) >= 32
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    tokens = tokens_for(options)
    assert tokens is not None
    assert tokens.owner(token) == "owner"
    assert tokens.owner(token + "x") is None
    assert tokens.owner("") is None


@pytest.mark.parametrize(
    ("host", "auth", "asked"),
    [
        ("127.0.0.1", "auto", False),
        ("localhost", "auto", False),
        ("::1", "auto", False),
        ("127.0.0.1", "on", True),
        ("0.0.0.0", "auto", True),
        ("::", "auto", True),
        ("192.168.0.7", "auto", True),
        ("gpu.lab", "auto", True),
        ("0.0.0.0", "off", False),
    ],
)
def test_tokens_are_asked_for_unless_only_this_machine_can_come(tmp_path, host: str, auth, asked: bool):
    assert (tokens_for(ServeOptions(data=tmp_path, host=host, auth=auth)) is not None) == asked


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("anna\n", "expected NAME TOKEN"),
        ("anna a b\n", "expected NAME TOKEN"),
        ("<b> 0123456789abcdef\n", "expected NAME TOKEN"),
        ("anna short\n", "at least 16 characters, got 5"),
        ("anna 0123456789abcdef\nanna 0123456789abcdeg\n", "there twice"),
        ("anna 0123456789abcdef\nben 0123456789abcdef\n", "there twice"),
        ("# nobody\n\n", "holds no tokens"),
    ],
)
def test_a_file_of_tokens_that_is_wrong_is_refused(tmp_path, text: str, complaint: str):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_tokens(path)


def test_who_has_a_token_of_the_file_is_let_in(make_app: MakeApp, tmp_path: Path):
    path = tmp_path / "tokens"
    path.write_text(f"anna {ANNA}\nben {BEN}\n")
    tokens = tokens_for(ServeOptions(data=tmp_path, auth="on", token_file=path))
    assert tokens is not None
    client = make_app({"nobody": "n" * 16})
    service_of(client).gate._tokens = tokens
    for token, owner in ((ANNA, "anna"), (BEN, "ben"), ("n" * 16, None)):
        assert client.get("/v1/session", headers=bearer(token)).json()["owner"] == owner
    assert not (tmp_path / "token").exists()


def test_a_file_of_tokens_is_read(tmp_path):
    (tmp_path / "tokens").write_text("# people\nanna 0123456789abcdef\n\nben  fedcba9876543210\n")
    assert read_tokens(tmp_path / "tokens") == {"anna": "0123456789abcdef", "ben": "fedcba9876543210"}
    with pytest.raises(ValueError, match="No such file"):
        read_tokens(tmp_path / "none")
