"""The OpenAPI document is tracked, tells the truth, and survives a fuzzer that reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from export.manifest import FreeSize, Task
from service import openapi
from service.config import ServiceConfig
from service.errors import ServiceError
from service.listening import listen
from service.problems import MEDIA_TYPE
from service.server import Server
from tests.tiny import tiny_bundle
from tests.tiny_images import picture_bundle


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(openapi.render())
    return found


def test_the_tracked_document_is_the_codes() -> None:
    assert openapi.PATH.read_text("utf-8") == openapi.render(), (
        "the HTTP interface changed: if that is meant, run `python -m service.openapi`, commit "
        "service/openapi.json, and say in CHANGELOG.md what clients must know"
    )


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    text = openapi.render()
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas


def test_every_refusal_of_a_picture_is_a_documented_problem() -> None:
    paths = [("/generate", "post"), ("/generate/{file}", "get")]
    for path, method in (*paths, ("/translate", "post"), ("/encode", "post"), ("/score", "post")):
        responses = document()["paths"][path][method]["responses"]
        refused = {status: said for status, said in responses.items() if int(status) >= 400}
        assert all(set(said["content"]) == {MEDIA_TYPE} for said in refused.values())
        for status in ("429", "503", "504"):
            assert "Retry-After" in refused[status]["headers"]


def test_every_error_of_the_tree_is_in_the_document() -> None:
    later = {"Unauthorized"}  # no route asks for a key yet
    later |= {"MethodNotAllowed"}  # what answers methods that are not in the document
    text = openapi.render()
    missing = {
        error.__name__ for error in ServiceError.__subclasses__() if error.__name__ not in text
    }
    assert missing <= later


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server in a thread, whose default model answers everything that can be asked."""
    folder: Path = tmp_path_factory.mktemp("models")
    tiny_bundle(folder, name="tiny")
    free = FreeSize(min_side=1, max_side=64, max_pixels=4096, stride=4, warm=((8, 8),))
    tasks: tuple[Task, ...] = ("generate", "translate", "encode", "score")
    picture_bundle(folder, name="whole", tasks=tasks, grain=True, size=free, classes=("a", "b"))
    config = ServiceConfig(models=(folder,), default_model="whole", watch_s=0, port=0)
    with listen(config.host, config.port) as listener:
        server = Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        while httpx.get(f"{url}/health/ready").status_code != 200:
            pass  # the models are being measured
        yield url
        server.should_exit = True
        thread.join()


schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_fuzzer_finds_nothing(case: schemathesis.Case[Any], url: str) -> None:
    # What fits the schema may still not fit the model: its labels, its scalars, its latents' shape.
    response = case.call(base_url=url)
    if response.status_code == 504:  # the truth about a deadline that is too short, if one was set
        body = case.body if isinstance(case.body, dict) else {}
        assert "X-Request-Timeout" in (case.headers or {}) or "timeout_s" in body
        return
    case.validate_response(response, excluded_checks=[positive_data_acceptance])
