"""The service as an application of Ray Serve: ``serve deploy deploy/ray/serve.yaml``.

A replica is one process of the service, with its models and batchers, without a socket: Ray's
proxies take the requests, and hand each to the replica that is answering the fewest. Replicas share
nothing. Settings are the environment variables ``GANYMEDE_*`` of the replica; its cores are those
that Ray granted. What asks Ray imports it when it is called: the rest is tested without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from fastapi import FastAPI

from service import logs
from service.app import create_app
from service.config import InvalidSetting, load_config
from service.desired import Change, Desired
from service.errors import ChangeRefused
from service.metrics import Metrics
from service.middleware import Message, Receive, Scope, Send, header
from service.repository import Repository

GONE_S = 5.0  # for a request whose client has gone to notice it


class Replica:
    """One replica; Ray wraps it into what hands it requests."""

    _models: Repository

    async def __serve_build_asgi_app__(self) -> Asked:
        """Load the models; Ray calls it once, and sends nothing before it has returned.

        Raises:
            StartupError: the reason, which ``serve status`` shows.
        """
        config = load_config()
        logs.configure(config.log_level)
        metrics = Metrics()
        config = config.model_copy(update={"cores": config.cores or granted_cores()})
        self._models = Repository(config, metrics)
        await self._models.start()
        if reasons := self._models.reasons:
            raise InvalidSetting("; ".join(reasons))
        return Asked(create_app(config, self._models, metrics, Given()))

    async def check_health(self) -> None:
        """Readiness: Ray replaces a replica that fails three times in a row.

        Raises:
            RuntimeError: why requests are not accepted.
        """
        if reasons := self._models.reasons:
            raise RuntimeError("; ".join(reasons))


class Given:
    """The ``Control`` of a replica: what lies in the folders serves, and nobody changes it here."""

    async def start(self) -> None:
        """It was loaded before."""

    async def change(self, change: Change) -> Desired:
        """Refuse: it would reach one replica, and the next request another.

        Raises:
            ChangeRefused: always.
        """
        raise ChangeRefused(
            "a change would reach this replica alone: change the models folders instead, which "
            "every replica watches"
        )


class Asked:
    """The application as Ray asks it, which is not quite as a web server does.

    Ray cancels what a client no longer waits for. To the service a cancellation means that its
    server stops, which it would answer and count as a refusal; of clients it hears through
    ``receive``. And Ray gives each reply the request's id, as the service did already.
    """

    def __init__(self, application: FastAPI) -> None:
        self._application = application
        self.routes = application.routes  # Ray's metrics tell them apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        given = (b"x-request-id", (header(scope, b"x-request-id") or "").encode("latin-1"))
        gone = asyncio.Event()

        async def hear() -> Message:
            return await _first(receive(), gone)

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [each for each in message["headers"] if each != given]
            await send(message)

        answering = asyncio.create_task(self._application(scope, hear, tell))
        try:
            await asyncio.shield(answering)
        except asyncio.CancelledError:
            gone.set()
            await asyncio.wait({answering}, timeout=GONE_S)
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            raise


async def _first(receiving: Awaitable[Message], gone: asyncio.Event) -> Message:
    """What is received, or that the client has gone, whichever comes first."""
    heard, left = asyncio.ensure_future(receiving), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait((heard, left), return_when=asyncio.FIRST_COMPLETED)
        return {"type": "http.disconnect"} if gone.is_set() else heard.result()
    finally:
        heard.cancel()
        left.cancel()


def granted_cores() -> int:
    """Whole cores of this replica: ``num_cpus`` in ``serve.yaml``, at least 1."""
    import ray

    granted = ray.get_runtime_context().get_assigned_resources()
    return max(1, int(granted.get("CPU", 1)))


def application(arguments: dict[str, Any]) -> Any:  # noqa: ANN401
    """What ``serve.yaml`` deploys; how many replicas, and how large, is said there."""
    from ray import serve

    return serve.deployment(serve.ingress()(Replica)).bind()
