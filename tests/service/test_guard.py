"""Who may ask for what, by key or from this machine; and that no key is ever told."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from fastapi.routing import APIRoute

from service.app import create_app, routes
from service.config import ServiceConfig
from service.guard import Guard, scope_for
from service.keyring import Keyring
from service.keys import KeyScope, create_key
from service.limits import Buckets, Limit
from service.logs import JsonLines
from service.metrics import Metrics
from service.middleware import Message, Receive, Scope, Send
from tests.service.conftest import Serve, access_lines

pytestmark = pytest.mark.anyio

Headers = list[tuple[bytes, bytes]]
BOTH = (KeyScope.USE, KeyScope.ADMIN)
LOCAL = [(b"host", b"localhost:8000")]
ADMIN_PATHS = ("/admin/models/x/load", "/v2/repository/models/x/load", "/admin", "/admin/x\n")


@dataclass
class Site:
    """A guarded application that says "in"; its clocks stand still."""

    keys_file: Path | None = None
    metrics_open: bool = True
    now_s: float = 0.0  # of the wall clock
    now_ns: int = 10**15
    seen: Scope = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics = Metrics()
        buckets = Buckets(clock_ns=lambda: self.now_ns)
        self.keyring = Keyring(self.keys_file, self.metrics, buckets) if self.keys_file else None
        self._guard = Guard(
            self._application,
            self.keyring,
            self.metrics,
            metrics_open=self.metrics_open,
            wall_clock_s=lambda: self.now_s,
        )

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"cache-control", b"public, max-age=60"), (b"etag", b'"public"')]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"in"})

    def ask(
        self,
        path: str = "/generate",
        headers: Headers | None = None,
        *,
        client: tuple[str, int] | None = ("127.0.0.1", 5),
        method: str = "POST",
        root_path: str = "",
    ) -> httpx.Response:
        """The answer, given without a look at the body."""
        self.seen = {
            "type": "http", "method": method, "path": path, "root_path": root_path,
            "headers": headers or [], "client": client, "request_id": "1",
        }  # fmt: skip
        sent: list[Message] = []

        async def receive() -> NoReturn:
            raise AssertionError("the body was read")

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(self._guard(self.seen, receive, send))
        start, *parts = sent
        content = b"".join(part["body"] for part in parts)
        return httpx.Response(start["status"], headers=start["headers"], content=content)

    def refusals(self, reason: str) -> float | None:
        name = "ganymede_refusals_total"
        return self.metrics.registry.get_sample_value(name, {"reason": reason})


def bearer(secret: str | bytes) -> Headers:
    token = secret.encode("ascii") if isinstance(secret, str) else secret
    return [(b"authorization", b"Bearer " + token)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


# --- What a path asks for. ---


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/", None),
        ("/docs", None),
        ("/openapi.json", None),
        ("/metrics", None),
        ("/health/ready", None),
        ("/v2/health/live", None),
        ("/static/page.js", None),
        ("/generate", "use"),
        ("/generate/tiny.png", "use"),
        ("/translate", "use"),
        ("/models", "use"),
        ("/v2", "use"),
        ("/v2/models/x/infer", "use"),
        ("/v2/repository/index", "use"),
        *((path, "admin") for path in ADMIN_PATHS),
        ("/v2/repository/models/a/b/unload", "admin"),
        # What is nearly an open page is none: the router does not know it either.
        ("", "use"),
        ("//", "use"),
        ("/docs/", "use"),
        ("/metrics\n", "use"),
        ("/health", "use"),
        ("/HEALTH/live", "use"),
        ("/static", "use"),
    ],
)
def test_a_path_asks_for(path: str, needed: str | None) -> None:
    assert scope_for(path) == needed


def test_every_route_is_decided_by_a_rule_that_a_person_has_read(config: ServiceConfig) -> None:
    pages = {route.path for route in routes.routes if isinstance(route, APIRoute)}
    paths = pages | set(create_app(config).openapi()["paths"])
    assert {path for path in paths if scope_for(path) is None} == {
        "/", "/docs", "/openapi.json", "/static/{name}",
        "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics",
    }  # fmt: skip


# --- With keys. ---


@pytest.mark.parametrize(
    "headers",
    [
        lambda secret: bearer(secret),
        lambda secret: [(b"authorization", b"bearer   " + secret + b" ")],
        lambda secret: [(b"x-api-key", secret)],
        lambda secret: [(b"authorization", b"Basic eDp5"), (b"x-api-key", secret)],
    ],
)
def test_a_key_is_taken_from_either_header(path: Path, headers: Any) -> None:  # noqa: ANN401
    secret = create_key(path, "app", BOTH, None, None).encode()
    site = Site(path)
    assert site.ask(headers=headers(secret)).text == "in"
    assert site.seen["key"] == "app"
    assert site.ask("/admin/x", headers(secret)).text == "in"


NO_KEYS: list[Headers] = [
    [],
    [(b"authorization", b"Basic eDp5")],
    [(b"authorization", b"Bearer")],
    [(b"authorization", b"Bearerx y")],
    [(b"authorization", b"")],
    [(b"cookie", b"key=x")],
]
BAD_KEYS: list[Headers] = [
    bearer("ganymede_" + "x" * 43),
    bearer(b""),
    bearer(b"\xff\xfe\x00"),
    bearer("ключ".encode()),
    bearer(b"x" * 2**20),
    [(b"x-api-key", b"")],
    [(b"x-api-key", b"'; DROP TABLE keys")],
]


@pytest.mark.parametrize("headers", NO_KEYS + BAD_KEYS)
@pytest.mark.parametrize("asked", ["/generate", "/admin/x"])
def test_no_key_or_a_wrong_one_is_refused_unread(path: Path, headers: Headers, asked: str) -> None:
    create_key(path, "app", BOTH, None, None)
    site = Site(path)
    reply = site.ask(asked, headers)
    problem = reply.json()
    assert (reply.status_code, problem["type"]) == (401, "urn:ganymede:problem:Unauthorized")
    assert reply.headers["content-type"] == "application/problem+json"
    challenge = reply.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="ganymede"')
    came = headers in BAD_KEYS or headers == [(b"authorization", b"Bearer")]
    assert ('error="invalid_token"' in challenge) == came
    assert site.refusals("unauthorized") == 1
    assert "key" not in site.seen


def test_several_keys_are_refused_though_one_is_right(path: Path) -> None:
    secret = create_key(path, "app", BOTH, None, None).encode()
    site = Site(path)
    right, wrong = (b"x-api-key", secret), (b"x-api-key", b"other")
    for headers in ([right, right], [right, wrong], [wrong, right], [*bearer(secret), right]):
        reply = site.ask(headers=headers)
        assert reply.status_code == 401
        assert 'error="invalid_request"' in reply.headers["www-authenticate"]
    joined = [(b"authorization", b"Bearer x, Bearer " + secret)]
    assert site.ask(headers=joined).status_code == 401


def test_a_key_may_do_what_its_scopes_say(path: Path) -> None:
    use = create_key(path, "app", (KeyScope.USE,), None, None)
    admin = create_key(path, "ops", (KeyScope.ADMIN,), None, None)
    site = Site(path)
    assert site.ask("/generate", bearer(use)).status_code == 200
    assert site.ask("/admin/x", bearer(admin)).status_code == 200
    for asked, secret, scope in (("/admin/x", use, "admin"), ("/generate", admin, "use")):
        reply = site.ask(asked, [*bearer(secret), *LOCAL])
        assert reply.status_code == 403
        assert reply.json()["type"] == "urn:ganymede:problem:Forbidden"
        expected = f'Bearer realm="ganymede", error="insufficient_scope", scope="{scope}"'
        assert reply.headers["www-authenticate"] == expected
    assert site.refusals("forbidden") == 2


def test_with_keys_this_machine_has_no_privilege(path: Path) -> None:
    create_key(path, "app", BOTH, None, None)
    assert Site(path).ask("/admin/x", LOCAL).status_code == 401


def test_a_key_expires(path: Path) -> None:
    secret = create_key(path, "app", BOTH, None, timedelta(days=1))
    site = Site(path)
    assert site.keyring
    expires_s = site.keyring.find(secret.encode()).expires_s  # type: ignore[union-attr]
    assert expires_s
    site.now_s = expires_s - 0.001
    assert site.ask(headers=bearer(secret)).status_code == 200
    site.now_s = expires_s
    reply = site.ask(headers=bearer(secret))
    assert reply.status_code == 401
    assert "expired" in reply.json()["detail"]
    assert 'error="invalid_token"' in reply.headers["www-authenticate"]
    assert site.seen["key"] == "app"


def test_open_pages_ask_for_nothing_and_look_at_nothing(path: Path) -> None:
    secret = create_key(path, "app", BOTH, Limit(per_minute=1, burst=1), None)
    site = Site(path)
    for headers in ([], bearer("wrong"), bearer(secret), bearer(secret)):
        reply = site.ask("/health/ready", headers)
        assert (reply.status_code, reply.headers["cache-control"]) == (200, "public, max-age=60")
        assert "ratelimit" not in reply.headers


def test_metrics_may_ask_for_a_key(path: Path) -> None:
    secret = create_key(path, "prometheus", (KeyScope.USE,), None, None)
    assert Site(path).ask("/metrics").status_code == 200
    site = Site(path, metrics_open=False)
    assert site.ask("/metrics").status_code == 401
    assert site.ask("/metrics", bearer(secret)).status_code == 200
    assert Site(metrics_open=False).ask("/metrics").status_code == 200  # there are no keys


def test_what_a_key_was_needed_for_is_kept_from_shared_caches(path: Path) -> None:
    secret = create_key(path, "app", BOTH, None, None)
    reply = Site(path).ask(headers=bearer(secret))
    assert reply.headers["cache-control"] == "private, max-age=60"
    assert reply.headers["etag"] == '"public"'
    assert Site().ask().headers["cache-control"] == "public, max-age=60"


def test_rules_hold_below_a_root_path(path: Path) -> None:
    create_key(path, "app", BOTH, None, None)
    site = Site(path)
    assert site.ask("/g/health/live", root_path="/g").status_code == 200
    assert site.ask("/g/generate", root_path="/g").status_code == 401
    assert site.ask("/g/admin/x", root_path="/g").status_code == 401
    away = ("192.0.2.1", 5)
    assert Site().ask("/g/admin/x", LOCAL, root_path="/g", client=away).status_code == 403
    assert Site().ask("/admin/generate", root_path="/admin", client=away).status_code == 200


# --- Limits. ---


def test_every_answer_to_a_limited_key_tells_its_limit(path: Path) -> None:
    limit = Limit(per_minute=60, burst=2)
    secret = create_key(path, "app", (KeyScope.USE,), limit, None)
    site = Site(path)
    replies = [site.ask(asked, bearer(secret)) for asked in ("/models", "/admin/x", "/models")]
    assert [reply.status_code for reply in replies] == [200, 403, 429]
    assert {reply.headers["ratelimit-policy"] for reply in replies} == {'"key";q=2;w=2'}
    told = [reply.headers["ratelimit"] for reply in replies]
    assert told == ['"key";r=1;t=1', '"key";r=0;t=2', '"key";r=0;t=2']
    refused = replies[-1]
    assert refused.json()["type"] == "urn:ganymede:problem:RateLimited"
    assert refused.headers["retry-after"] == "1"
    assert site.refusals("rate_limited") == 1
    assert site.seen["key"] == "app"
    site.now_ns += 10**9
    assert site.ask("/models", bearer(secret)).status_code == 200


def test_a_key_without_a_limit_is_told_none(path: Path) -> None:
    secret = create_key(path, "app", BOTH, None, None)
    assert "ratelimit" not in Site(path).ask(headers=bearer(secret)).headers


def test_a_wrong_key_takes_from_nobodys_limit(path: Path) -> None:
    secret = create_key(path, "app", BOTH, Limit(per_minute=1, burst=1), None)
    site = Site(path)
    for _ in range(3):
        reply = site.ask(headers=bearer("wrong"))
        assert (reply.status_code, "ratelimit" in reply.headers) == (401, False)
    assert site.ask(headers=bearer(secret)).status_code == 200


# --- Without keys: this machine alone. ---


@pytest.mark.parametrize("asked", ADMIN_PATHS)
@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_a_program_of_this_machine_may_do_everything(asked: str, client: str, host: str) -> None:
    headers = [(b"host", host.encode())]
    assert Site().ask(asked, headers, client=(client, 5)).status_code == 200
    own = [*headers, (b"origin", b"http://" + host.lower().encode())]
    expected = 200 if host == host.lower() else 403  # a browser writes both in one way
    assert Site().ask(asked, own, client=(client, 5)).status_code == expected


REMOTE = ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "fe80::1", "0.0.0.0", "localhost", ""]


@pytest.mark.parametrize("client", [None, *((address, 5) for address in REMOTE)])
def test_another_machine_may_not(client: tuple[str, int] | None) -> None:
    site = Site()
    reply = site.ask("/admin/x", LOCAL, client=client)
    assert reply.status_code == 403
    assert "GANYMEDE_KEYS_FILE" in reply.json()["detail"]
    assert "www-authenticate" not in reply.headers  # no key would help
    assert site.refusals("forbidden") == 1
    assert site.ask("/generate", LOCAL, client=client).status_code == 200


FORGED: list[Headers] = [
    [],
    [(b"host", b"")],
    [(b"host", b"evil.example")],
    [(b"host", b"localhost.evil.example")],
    [(b"host", b"evil.example:8000")],
    [(b"host", b"localhost:8000.evil.example")],
    [(b"host", b"localhost:")],
    [(b"host", b"localhost:8000\n")],
    [(b"host", b"localhost@evil.example")],
    [(b"host", b"127.0.0.1.evil.example")],
    [(b"host", b"127x0x0x1")],
    [(b"host", b"::1")],
    [(b"host", "localh\u043est".encode())],
    [(b"host", "localhost:\u0668".encode())],
    [*LOCAL, *LOCAL],
    [*LOCAL, (b"host", b"evil.example")],
    [*LOCAL, (b"origin", b"https://evil.example")],
    [*LOCAL, (b"origin", b"null")],
    [*LOCAL, (b"origin", b"")],
    [*LOCAL, (b"origin", b"http://localhost")],
    [*LOCAL, (b"origin", b"http://localhost:3000")],
    [*LOCAL, (b"origin", b"file://localhost:8000")],
    [*LOCAL, (b"origin", b"http://localhost:8000"), (b"origin", b"http://evil.example")],
    [*LOCAL, (b"x-forwarded-for", b"127.0.0.1")],
    [*LOCAL, (b"x-forwarded-proto", b"")],
    [*LOCAL, (b"forwarded", b"for=127.0.0.1")],
    [*LOCAL, (b"x-real-ip", b"127.0.0.1")],
    [*LOCAL, (b"via", b"1.1 proxy")],
]


@pytest.mark.parametrize("headers", FORGED)
def test_neither_a_web_page_nor_a_proxy_passes_for_this_machine(headers: Headers) -> None:
    assert Site().ask("/admin/x", headers).status_code == 403
    assert Site().ask("/generate", headers).status_code == 200


# --- In the whole service. ---


@pytest.fixture
def service_config(config: ServiceConfig, path: Path) -> ServiceConfig:
    return config.model_copy(update={"keys_file": path})


async def test_a_service_with_keys_answers_who_has_one(
    service_config: ServiceConfig, path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    secret = create_key(path, "app", (KeyScope.USE,), Limit(per_minute=60, burst=50), None)
    caplog.set_level(logging.DEBUG)
    replies = []
    async with serve(create_app(service_config)) as client:
        for header in ({"Authorization": f"Bearer {secret}"}, {"X-API-Key": secret}):
            replies.append(await client.get("/generate/tiny.png?seed=1", headers=header))
            replies.append(await client.post("/generate", json={"seed": "?"}, headers=header))
            replies.append(await client.get("/admin/x", headers=header))
        for header in ({}, {"X-API-Key": secret + "x"}, {"Authorization": f"Token {secret}"}):
            replies.append(await client.post("/generate", json={}, headers=header))
        large = {"X-API-Key": secret[:-1], "Content-Length": str(2**40)}
        replies.append(await client.post("/generate", headers=large))
        for page in ("/", "/docs", "/openapi.json", "/health/ready", "/metrics"):
            replies.append(await client.get(page))
    statuses = [reply.status_code for reply in replies]
    assert statuses == [200, 422, 403, 200, 422, 403, 401, 401, 401, 401, *[200] * 5]
    assert replies[0].headers["ratelimit"] == '"key";r=49;t=1'
    lines = [JsonLines().format(record) for record in caplog.records]
    assert [line.get("key") for line in access_lines(caplog)] == ["app"] * 6 + [None] * 9
    told = "".join(lines) + "".join(f"{reply.headers} {reply.text}" for reply in replies)
    assert secret.removeprefix("ganymede_")[:20] not in told


async def test_a_service_may_ask_for_a_key_for_its_metrics(
    service_config: ServiceConfig, path: Path, serve: Serve
) -> None:
    create_key(path, "app", BOTH, None, None)
    config = service_config.model_copy(update={"metrics_open": False})
    async with serve(create_app(config)) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/health/live")).status_code == 200


async def test_a_browser_may_ask_whether_it_may_ask_without_a_key(
    service_config: ServiceConfig, path: Path, serve: Serve
) -> None:
    secret = create_key(path, "app", (KeyScope.USE,), Limit(per_minute=60, burst=2), None)
    origin = "https://app.example"
    config = service_config.model_copy(update={"cors_origins": (origin,)})
    wish = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    async with serve(create_app(config)) as client:
        preflight = await client.options("/generate", headers=wish)
        assert preflight.status_code == 200
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        refused = await client.get("/models", headers={"Origin": origin})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (
            401,
            origin,
        )
        headers = {"Origin": origin, "Authorization": f"Bearer {secret}"}
        answered = await client.get("/models", headers=headers)
        assert answered.status_code == 200
        assert answered.headers["access-control-expose-headers"] == "*"
        assert answered.headers["ratelimit"] == '"key";r=1;t=1'


async def test_without_keys_only_this_machine_reaches_the_admin_pages(
    config: ServiceConfig, serve: Serve
) -> None:
    async with serve(create_app(config.model_copy(update={"root_path": "/g"}))) as client:
        for asked in ("/admin/x", "/g/admin/x"):
            here = await client.get(asked, headers={"Host": "localhost"})
            assert here.status_code == 404  # there is no such page, which is for the router to say
            elsewhere = await client.get(asked, headers={"Host": "service"})
            assert elsewhere.status_code == 403
        assert (await client.get("/models")).status_code == 200


async def test_a_shared_limit_lies_in_the_runtime_folder(
    service_config: ServiceConfig, path: Path, serve: Serve, tmp_path: Path
) -> None:
    secret = create_key(path, "app", (KeyScope.USE,), Limit(per_minute=1, burst=1), None)
    config = service_config.model_copy(update={"runtime_folder": tmp_path})
    statuses = []
    for _ in range(2):
        async with serve(create_app(config)) as client:
            statuses.append(
                (await client.get("/models", headers={"X-API-Key": secret})).status_code
            )
    assert statuses == [200, 429]
    assert (tmp_path / "limits").exists()
