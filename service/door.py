"""The door, as pure ASGI: who would be refused whatever the body says is refused before it is read.

An upload of megabytes is not read, and no JSON is parsed, to be told that the queue is full. Which
model is asked for stands in the body, so that the door closes only when every model that answers
the task refuses; with one model, which is usual, that is exact. In V2 the model stands in the path.
What it lets through is judged again, with all that is known then.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from export.manifest import FixedSize, Task
from service.cache import ReplyCache
from service.errors import NotReady, QueueFull, ServiceError
from service.inputs import Expected
from service.metrics import Metrics
from service.middleware import Application, Receive, Scope, Send, header, send_reply
from service.model import RETRY_AFTER_S, Model
from service.paths import TASKS, V2_INFER, V2_VERSION_INFER
from service.problems import refuse
from service.replies import Rendered
from service.repository import Repository

_V2_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([1-9][0-9]{0,8}))?/infer")


class Route(NamedTuple):
    """What the metrics say of a request that never came to its route."""

    path: str


class Door:
    """Refuses with 503 while nothing serves, and with 429 while every queue is full.

    What was asked before needs no queue: a request that names what it has (If-None-Match) passes,
    and so does one to ``/generate`` while replies are kept; ``refusal_unless_kept`` then tells who
    has read the body.

    Args:
        application: behind the door.
        repository: of the models.
        cache: of finished replies.
        metrics: where refusals are counted.
        queue_images: most that wait for one graph.
    """

    def __init__(
        self,
        application: Application,
        repository: Repository,
        cache: ReplyCache[Rendered],
        metrics: Metrics,
        queue_images: int,
    ) -> None:
        self._application, self._metrics = application, metrics
        self._repository, self._cache, self._queue_images = repository, cache, queue_images

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            route, refusal = path, None
            if path in TASKS:
                refusal = self.refusal(path)
                if refusal is not None and self._may_be_kept(path, scope):
                    scope["refusal"] = refusal if self._is_drawn(path) else None
                    refusal = None
            elif named := _V2_INFER.fullmatch(path):
                name, version = named.groups()
                route = V2_VERSION_INFER if version else V2_INFER
                refusal = self.refusal_of(name, int(version) if version else None)
            if refusal is not None:
                scope["route"] = Route(route)
                reply = refuse(refusal, scope["request_id"], self._metrics)
                if header(scope, b"expect"):  # a body that never comes must not be waited for
                    reply.headers["Connection"] = "close"
                await send_reply(send, reply)
                return
        await self._application(scope, receive, send)

    def refusal(self, path: str) -> ServiceError | None:
        """Why no request for this path can be answered now, if so."""
        task = TASKS[path]
        models = self._repository.catalogue.models_for(task)
        if not models:
            return self._not_ready()
        refusals = []
        for model in models:
            refusal = self._full(model, task)
            if refusal is None:
                return None
            refusals.append(refusal)
        return min(refusals, key=lambda each: each.retry_after_s or 0.0)

    def _may_be_kept(self, path: str, scope: Scope) -> bool:
        """Whether the answer may be known: by us, or by the client."""
        task = TASKS[path]
        if not self._repository.catalogue.models_for(task):
            return False
        known = task == "generate" and self._cache.nbytes > 0
        return known or header(scope, b"if-none-match") is not None

    def _is_drawn(self, path: str) -> bool:
        """Whether every model draws something, so that no answer is known without its seed."""
        models = self._repository.catalogue.models_for(TASKS[path])
        return all(model.manifest.graph(TASKS[path]).drawn for model in models)

    def refusal_of(self, name: str, version: int | None) -> ServiceError | None:
        """Why a model cannot answer now, if so; which of its graphs is meant, the body tells."""
        try:
            model = self._repository.get(name, version)
        except NotReady as error:
            return error
        except ServiceError:  # told as ever
            return None
        refusals = [self._full(model, task) for task in model.manifest.tasks]
        return refusals[0] if all(refusals) else None

    def _not_ready(self) -> NotReady | None:
        try:
            self._repository.require_started()
        except NotReady as error:
            return error
        return None

    def _full(self, model: Model, task: Task) -> ServiceError | None:
        engine = model.engines[model.manifest.tasks[task]]
        name = f"{model.manifest.name}/{model.manifest.version}"
        if engine.trouble:
            return NotReady(f"model {name} {engine.trouble}", retry_after_s=RETRY_AFTER_S)
        waiting = engine.batcher.waiting_rows
        if not waiting:
            return None
        if waiting < self._queue_images and engine.batcher.has_place(1, _least_bytes(model, task)):
            return None
        return QueueFull(
            f"too much waits for model {name}: {waiting} rows; come back later",
            retry_after_s=engine.drain_s(),
        )


def refusal_unless_kept(scope: Scope, body: bytes) -> ServiceError | None:
    """Why what the door let through cannot be answered, unless its body gives seeds.

    Members whose names are written with escapes are not found, and their requests are refused.
    """
    refusal: ServiceError | None = scope.get("refusal")
    if refusal is None or b'"seed"' in body or b'"interpolate"' in body:
        return None
    return refusal


def _least_bytes(model: Model, task: Task) -> int:
    """Of one row, of the smallest size."""
    size, graph = model.manifest.size, model.manifest.graph(task)
    if isinstance(size, FixedSize):
        return Expected(graph, size.height, size.width, 1).nbytes
    return Expected(graph, size.min_side, size.min_side, 1).nbytes
