"""The door, as pure ASGI: who would be refused whatever the body says is refused before it is read.

An upload of megabytes is not read, and no JSON is parsed, to be told that the queue is full. Which
model is asked for stands in the body, so that the door closes only when every model that answers
the task refuses; with one model, which is usual, that is exact. What it lets through is judged
again, with all that is known then.
"""

from __future__ import annotations

from typing import NamedTuple

from export.manifest import Task
from service.cache import ReplyCache
from service.errors import NotReady, QueueFull, ServiceError
from service.metrics import Metrics
from service.middleware import Application, Receive, Scope, Send, header, send_reply
from service.model import RETRY_AFTER_S, Model
from service.problems import refuse
from service.replies import Rendered
from service.repository import Repository

TASKS: dict[str, Task] = {
    "/generate": "generate",
    "/translate": "translate",
    "/encode": "encode",
    "/score": "score",
    "/v1/images/generations": "generate",
}


class Route(NamedTuple):
    """What the metrics say of a request that never came to its route."""

    path: str


class Door:
    """Refuses with 503 while nothing serves, and with 429 while every queue is full.

    What was asked before needs no queue: a request that names what it has (If-None-Match) passes,
    and so does one to ``/generate`` while replies are kept, as parsing it is quick.

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
            refusal = self.refusal(path, scope) if path in TASKS else None
            if refusal is not None:
                scope["route"] = Route(path)
                reply = refuse(refusal, scope["request_id"], self._metrics)
                if header(scope, b"expect"):  # a body that never comes must not be waited for
                    reply.headers["Connection"] = "close"
                await send_reply(send, reply)
                return
        await self._application(scope, receive, send)

    def refusal(self, path: str, scope: Scope) -> ServiceError | None:
        """Why no request for this path can be answered now, if so."""
        task = TASKS[path]
        models = [each for each in self._repository.models() if task in each.manifest.tasks]
        if not models:
            return self._not_ready()
        refusals = []
        for model in models:
            refusal = self._full(model, task)
            if refusal is None:
                return None
            refusals.append(refusal)
        if header(scope, b"if-none-match") or (task == "generate" and self._cache.nbytes):
            return None
        return min(refusals, key=lambda each: each.retry_after_s or 0.0)

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
        if waiting < self._queue_images:
            return None
        return QueueFull(
            f"too much waits for model {name}: {waiting} rows; come back later",
            retry_after_s=engine.drain_s(),
        )
