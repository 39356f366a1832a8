"""What bodies and query strings are read as, and what is said of those that cannot be."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest

from service.errors import InvalidInput, MalformedRequest, UnsupportedMedia
from service.parsing import parse_body, parse_query, parse_timeout, require_json


def wrong_fields(caught: pytest.ExceptionInfo[InvalidInput]) -> dict[str, str]:
    return {error["field"]: error["detail"] for error in caught.value.extra["errors"]}


def test_an_empty_object_asks_for_everything_by_default() -> None:
    assert parse_body(b"{}").model_dump(exclude_none=True) == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("2", 2), (" 0.5 ", 0.5), ("1e3", 1000), ("1e999", math.inf)],
)
def test_a_timeout_header_is_read(text: str | None, seconds: float | None) -> None:
    assert parse_timeout(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "2s", "1, 2"])
def test_a_timeout_header_that_is_no_number_of_seconds_is_invalid(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_timeout(text)
    assert "such as 2.5" in wrong_fields(caught)["X-Request-Timeout"]


def test_every_field_is_read() -> None:
    request = parse_body(
        b'{"model": "m", "version": 2, "num_images": 3, "seed": 9007199254740991, "label": '
        b'["a", 1, "b"], "truncation": 1, "latents": [[1]], "interpolate": {"from": 1, "to": 2, '
        b'"steps": 3}, "format": "webp", "quality": 80, "noise": 0.5, '
        b'"timeout_s": 2, "priority": "bulk"}'
    )
    assert (request.timeout_s, request.priority) == (2, "bulk")
    assert request.seed == 2**53 - 1
    assert request.label == ["a", 1, "b"]
    assert request.interpolate is not None
    assert (request.interpolate.start, request.interpolate.end, request.interpolate.steps) == (
        (1, 2, 3)
    )
    assert request.scalars == {"truncation": 1.0, "noise": 0.5}


@pytest.mark.parametrize(
    ("body", "position"),
    [
        (b"", "line 1 column 0"),
        (b'{"seed": 1,}', "line 1 column 12"),
        (b'{\n "seed": }', "line 2 column 10"),
        (b"\xff\xfe{}", "line 1 column 1"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "out of range"),
        (b'{"label": "\\ud800"}', "line 1 column 18"),
        (b'{"seed": 1} {}', "line 1 column 13"),
    ],
)
def test_what_is_not_json_is_malformed_and_says_where(body: bytes, position: str) -> None:
    with pytest.raises(MalformedRequest, match=position):
        parse_body(body)


@pytest.mark.parametrize(
    ("body", "field", "advice"),
    [
        (b"[]", "body", "must be an object"),
        (b'{"seed": true}', "seed", "whole number"),
        (b'{"seed": "7"}', "seed", "whole number"),
        (b'{"seed": 7.5}', "seed", "whole number"),
        (b'{"timeout_s": 0}', "timeout_s", "above 0"),
        (b'{"timeout_s": "1"}', "timeout_s", "must be a number"),
        (b'{"priority": "urgent"}', "priority", "must be 'interactive' or 'bulk'"),
        (b'{"seed": -1}', "seed", "at least 0"),
        (b'{"seed": 9007199254740992}', "seed", "below 9007199254740992"),
        (b'{"seed": 1e400}', "seed", "whole number"),
        (b'{"num_images": 0}', "num_images", "at least 1"),
        (b'{"num_images": false}', "num_images", "whole number"),
        (b'{"truncation": NaN}', "truncation", "finite"),
        (b'{"truncation": -Infinity}', "truncation", "finite"),
        (b'{"truncation": "0.5"}', "truncation", "must be a number"),
        (b'{"label": true}', "label", "whole number or must be a text or must be a list"),
        (b'{"label": -1}', "label", "at least 0"),
        (b'{"label": []}', "label", "must not be empty"),
        (b'{"label": ["a", 1.5]}', "label[1]", "whole number"),
        (b'{"format": "gif"}', "format", "'png', 'jpeg', 'webp' or 'npy'"),
        (b'{"quality": 101}', "quality", "at most 100"),
        (b'{"model": 3}', "model", "must be a text"),
        (b'{"model": "' + b"m" * 300 + b'"}', "model", "at most 200 characters"),
        (b'{"latents": []}', "latents", "must not be empty"),
        (b'{"latents": {}}', "latents", "must be a list"),
        (b'{"interpolate": 3}', "interpolate", "must be an object"),
        (b'{"interpolate": {"from": 1, "to": 2}}', "interpolate.steps", "is missing"),
        (b'{"interpolate": {"from": 1, "to": 2, "steps": 1}}', "interpolate.steps", "at least 2"),
        (
            b'{"interpolate": {"from": 1, "to": 2, "steps": 3, "k": 1}}',
            "interpolate.k",
            "leave it out",
        ),
    ],
)
def test_each_bad_value_names_its_field_and_what_to_change(
    body: bytes, field: str, advice: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_body(body)
    assert advice in wrong_fields(caught)[field]
    assert field in caught.value.detail


def test_every_bad_field_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_body(b'{"seed": -1, "num_images": 0, "format": "bmp"}')
    assert set(wrong_fields(caught)) == {"seed", "num_images", "format"}


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("seed", "7"), ("truncation", "0.5")], {"seed": 7, "truncation": 0.5}),
        ([("label", "7")], {"label": "7"}),
        ([("label", "a"), ("label", "b")], {"label": ["a", "b"]}),
        ([("noise", ".5")], {"noise": 0.5}),
        ([("noise", "1e-1")], {"noise": 0.1}),
    ],
)
def test_a_query_is_read_by_the_same_rules(
    pairs: list[tuple[str, str]], expected: dict[str, Any]
) -> None:
    assert parse_query(pairs).model_dump(exclude_none=True) == expected


@pytest.mark.parametrize(
    ("pairs", "field"),
    [
        ([("seed", "seven")], "seed"),
        ([("seed", "")], "seed"),
        ([("seed", "7.5")], "seed"),
        ([("seed", "9" * 400)], "seed"),
        ([("seed", "1"), ("seed", "2")], "seed"),
        ([("truncation", "nan")], "truncation"),
        ([("truncation", "1e999")], "truncation"),
        ([("num_images", "0")], "num_images"),
    ],
)
def test_a_bad_query_names_its_field(pairs: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_query(pairs)
    assert set(wrong_fields(caught)) == {field}


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_taken(kind: str) -> None:
    require_json(kind)


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded"])
def test_other_kinds_of_body_are_refused(kind: str | None) -> None:
    with pytest.raises(UnsupportedMedia, match="Content-Type: application/json"):
        require_json(kind)


def test_a_compressed_body_is_refused() -> None:
    require_json("application/json", "identity")
    require_json("application/json", "Identity")
    with pytest.raises(UnsupportedMedia, match="without Content-Encoding"):
        require_json("application/json", "gzip")


@pytest.mark.parametrize(
    "kind",
    [
        "application/json; charset=utf-16",
        "application/json; profile=x; Charset=latin-1",
        "application/json; charset=utf-8, application/json",
    ],
)
def test_another_encoding_of_the_text_is_refused(kind: str) -> None:
    require_json('application/json; charset="UTF-8"')
    with pytest.raises(UnsupportedMedia, match="UTF-8"):
        require_json(kind)


@pytest.mark.parametrize("digits", [21, 400, 4000])
def test_a_long_whole_number_is_a_whole_number(digits: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_query([("seed", "9" * digits)])
    assert wrong_fields(caught) == {"seed": "must be below 9007199254740992"}
    for other in ("truncation", "num_images", "version", "quality", "noise"):
        with contextlib.suppress(InvalidInput):
            parse_query([(other, "9" * digits)])
