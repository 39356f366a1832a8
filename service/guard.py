"""Who may ask for what: decided by the path and the headers, before a body is read.

With keys, a path asks for none, or for one with the scope ``use`` or ``admin``. Without keys, the
paths that ask for ``admin`` are answered to programs of this machine alone: the client's address
tells, and the headers Host and Origin tell a program from a web page that a browser shows (DNS
rebinding, cross-site requests). No forwarding header is believed: a request that has one came
through a proxy, from wherever, and is refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from ipaddress import ip_address

from service.errors import Forbidden, RateLimited, ServiceError, Unauthorized
from service.keyring import Keyring
from service.keys import Key, KeyScope
from service.limits import Allowance
from service.metrics import Metrics
from service.middleware import Application, Message, Receive, Scope, Send, header, send_reply
from service.problems import refuse

OPEN_PAGES = frozenset({"/", "/docs", "/openapi.json", "/metrics"})
SCOPES_BELOW: tuple[tuple[str, KeyScope | None], ...] = (
    ("/admin", KeyScope.ADMIN),
    ("/v2/repository/models/", KeyScope.ADMIN),  # load and unload; the index is not below it
    ("/health/", None),
    ("/v2/health/", None),
    ("/static/", None),
)
"""What is asked for where a path begins so: a scope, or no key. Elsewhere it is ``use``."""

_ADMIN = tuple(start for start, scope in SCOPES_BELOW if scope is KeyScope.ADMIN)
_LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_FORWARDING = (b"forwarded", b"via", b"x-real-ip")  # and whatever begins with x-forwarded-


def scope_for(path: str, open_pages: frozenset[str] = OPEN_PAGES) -> KeyScope | None:
    """The scope that a path, below the root path, asks for; None asks for no key."""
    if path in open_pages:
        return None
    for start, scope in SCOPES_BELOW:
        if path.startswith(start):
            return scope
    return KeyScope.USE


class Guard:
    """Refuses who may not ask, counts what each key asks for, and notes its name for the log.

    Args:
        application: what it guards.
        keyring: the keys; None asks for none.
        metrics: where refusals are counted.
        metrics_open: whether ``/metrics`` asks for no key.
        wall_clock_s: tells when a key expires.
    """

    def __init__(
        self,
        application: Application,
        keyring: Keyring | None,
        metrics: Metrics,
        *,
        metrics_open: bool = True,
        wall_clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._application = application
        self._keyring = keyring
        self._metrics = metrics
        self._open_pages = OPEN_PAGES if metrics_open else OPEN_PAGES - {"/metrics"}
        self._wall_clock_s = wall_clock_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            if self._keyring is None:
                if path.startswith(_ADMIN):
                    _refuse_unless_local(scope)
            elif (needed := scope_for(path, self._open_pages)) is not None:
                key = self._key_of(scope, self._keyring)
                allowance = self._keyring.take(key)
                send = _telling(send, key, allowance)
                _refuse_unless_allowed(key, needed, allowance)
        except ServiceError as error:
            await send_reply(send, refuse(error, scope["request_id"], self._metrics))
            return
        await self._application(scope, receive, send)

    def _key_of(self, scope: Scope, keyring: Keyring) -> Key:
        """The key that came with a request.

        Raises:
            Unauthorized: none came, or several, or one that is unknown or expired.
        """
        presented = _presented(scope)
        if not presented:
            raise Unauthorized(
                "this asks for an API key: send it as `Authorization: Bearer KEY` or `X-API-Key: "
                "KEY`"
            )
        if len(presented) > 1:
            raise Unauthorized("several API keys came: send one", error="invalid_request")
        key = keyring.find(presented[0])
        if key is None:
            raise Unauthorized(
                "this API key is not known here: ask who runs the service for one",
                error="invalid_token",
            )
        scope["key"] = key.name
        if key.expires_s is not None and key.expires_s <= self._wall_clock_s():
            raise Unauthorized(
                f"this API key expired at {key.expires}: ask who runs the service for a new one",
                error="invalid_token",
            )
        return key


def _presented(scope: Scope) -> list[bytes]:
    """Every API key in the headers; other schemes of Authorization are somebody else's."""
    found = []
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            found.append(value.strip())
        elif name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() == b"bearer":
                found.append(token.strip())
    return found


def _refuse_unless_allowed(key: Key, needed: KeyScope, allowance: Allowance | None) -> None:
    """Raise what a known key is refused with, if it is."""
    if allowance is not None and allowance.refused_for_ns:
        assert key.limit is not None
        raise RateLimited(
            f"this API key may send {key.limit.per_minute} requests a minute, "
            f"{key.limit.burst} of them at once: send fewer",
            retry_after_s=allowance.refused_for_ns / 1e9,
        )
    if needed not in key.scopes:
        raise Forbidden(
            f"this API key may not do that: use one with the scope {needed}", scope=needed
        )


def _refuse_unless_local(scope: Scope) -> None:
    """Raise Forbidden unless a program of this machine asks, and not for somebody else."""
    names = {name for name, _ in scope["headers"]}
    host = header(scope, b"host") or ""
    origin = header(scope, b"origin")
    if not _is_loopback(scope.get("client")):
        reason = "this comes from another machine"
    elif any(name in _FORWARDING or name.startswith(b"x-forwarded-") for name in names):
        reason = "this comes through a proxy"
    elif not _LOCAL_HOST.fullmatch(host):
        reason = "its header Host is not localhost, 127.0.0.1 or [::1]"
    elif origin is not None and origin.lower() not in {f"http://{host}", f"https://{host}"}:
        reason = "it comes from a web page of another origin"
    else:
        return
    raise Forbidden(
        f"without API keys this is answered to programs of its own machine alone, and {reason}: "
        "make a key with `ganymede keys create NAME --scope admin` and set GANYMEDE_KEYS_FILE"
    )


def _is_loopback(client: tuple[str, int] | None) -> bool:
    try:
        address = ip_address(client[0]) if client else None
    except ValueError:  # a name that a test gives, or a proxy's nonsense
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # an IPv4 client of an IPv6 socket
    return address is not None and (mapped or address).is_loopback


def _telling(send: Send, key: Key, allowance: Allowance | None) -> Send:
    """Add what is left of the key's limit, and keep caches that others share from keeping it.

    The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
    """
    told: list[tuple[bytes, bytes]] = []
    if key.limit is not None and allowance is not None:
        told.append((b"ratelimit-policy", key.limit.policy.encode("ascii")))
        told.append((b"ratelimit", allowance.state.encode("ascii")))

    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value.replace(b"public", b"private") if name == b"cache-control" else value)
                for name, value in message.get("headers", ())
            ]
            message["headers"] = kept + told
        await send(message)

    return telling
