"""The OpenAPI document is tracked, tells the truth, and survives a fuzzer that reads it."""

from __future__ import annotations

import io
import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.transport.serialization import Binary

from export.manifest import FreeSize, Task
from service import documentation, openapi
from service.app import create_app
from service.config import ServiceConfig
from service.errors import ServiceError
from service.images import READABLE
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
    later = {"MethodNotAllowed"}  # what answers methods that are not in the document
    text = openapi.render()
    missing = {
        error.__name__ for error in ServiceError.__subclasses__() if error.__name__ not in text
    }
    assert missing <= later


def test_what_asks_for_a_key_says_so_and_nothing_else_does() -> None:
    paths = document()["paths"]
    assert set(document()["components"]["securitySchemes"]) == {"bearer", "header"}
    open_paths = {
        "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics",
    }  # fmt: skip
    for path, methods in paths.items():
        for operation in methods.values():
            asks = path not in open_paths
            assert operation.get("security", []) == [{}, {"bearer": []}, {"header": []}] * asks
            assert ({"401", "403", "429"} <= set(operation["responses"])) == asks


def test_the_document_is_the_same_when_asked_for_again() -> None:
    app = create_app(ServiceConfig())
    assert documentation.document(app.openapi()) == documentation.document(app.openapi())


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


def fuzzed(method: str, path: str) -> Any:  # noqa: ANN401
    """A test of one operation, under a name of its own: several processes may share the tests."""

    @schema.include(method=method, path=path).parametrize()
    @settings(max_examples=40, deadline=None, derandomize=True)
    def test(case: schemathesis.Case[Any], url: str) -> None:
        call(case, url)

    return test


OPERATIONS: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
for operation in OPERATIONS:
    where = re.sub(r"\W+", "_", f"{operation.method}{operation.path}").strip("_")
    globals()[f"test_a_fuzzer_finds_nothing_at_{where}"] = fuzzed(operation.method, operation.path)


def call(case: schemathesis.Case[Any], url: str, *excluded: CheckFunction) -> int:
    """The status of the reply, which is as the document says."""
    response = case.call(base_url=url)
    if response.status_code == 504:  # the truth about a deadline that is too short, if one was set
        body = case.body if isinstance(case.body, dict) else {}
        fields = {*(case.headers or {}), *(case.query or {}), *body}
        assert {"x-request-timeout", "timeout_s"} & {name.lower() for name in fields}
    else:
        # What fits the schema may not fit the model: its labels, its scalars, its latents' shape.
        case.validate_response(response, excluded_checks=[positive_data_acceptance, *excluded])
    status: int = response.status_code
    return status


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((9, 7)).save(stream, kind)
    return stream.getvalue()


PICTURES = [picture(kind) for kind in READABLE]
UPLOADS = ("multipart/form-data", "image/*", "application/json")


@pytest.mark.parametrize("path", ["/translate", "/encode", "/score"])
def test_a_fuzzer_finds_nothing_behind_a_picture_that_is_one(path: str, url: str) -> None:
    statuses: dict[str, Counter[int]] = {media_type: Counter() for media_type in UPLOADS}

    @given(schema[path]["POST"].as_strategy(), st.sampled_from(PICTURES), st.booleans())
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    def send(case: schemathesis.Case[Any], file: bytes, alone: bool) -> None:
        if alone:  # nothing beside the picture
            case.body = {} if isinstance(case.body, dict) else case.body
            for fields in (case.query, case.headers):
                fields.clear()
        media_type = case.media_type or ""
        if media_type.startswith("image/"):
            media_type = "image/*"
            case.body = Binary(file)
        elif isinstance(case.body, dict):
            as_json = media_type == "application/json"
            case.body["image"] = b64encode(file).decode() if as_json else Binary(file)
        statuses[media_type][call(case, url, negative_data_rejection)] += 1  # none is left

    send()
    assert {kind for kind, found in statuses.items() if not found[200]} == set(), statuses
