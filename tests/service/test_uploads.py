"""Bodies that bring a picture: what is read, and what is said of those that cannot be."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInput, MalformedRequest, UnsupportedMedia
from service.parsing import require_json
from service.schemas import ReadRequest, TranslateRequest
from service.uploads import MAX_PARTS, Upload, parse_upload, require_upload

FORM = "multipart/form-data; boundary=b"


def part(value: bytes, disposition: str, *lines: str) -> bytes:
    head = [f"Content-Disposition: form-data; {disposition}", *lines]
    return b"--b\r\n" + "\r\n".join(head).encode() + b"\r\n\r\n" + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


PICTURE = part(b"\x00picture\r\n\xff", 'name="image"; filename="a.png"', "Content-Type: image/png")


def parse(
    body: bytes, content_type: str = FORM, query: list[tuple[str, str]] | None = None
) -> Upload[TranslateRequest]:
    return parse_upload(TranslateRequest, content_type, body, query or [])


def said(upload: Upload[TranslateRequest]) -> dict[str, object]:
    return upload.request.model_dump(exclude_none=True)


# --- What is read. ---


def test_a_form_is_a_file_and_fields() -> None:
    body = form(
        part(b"9007199254740991", 'name="seed"'),
        PICTURE,
        part(b"0.5", 'name="strength"'),
        part(b"-1e-1", 'name="glow"'),
        part("größe".encode(), 'name="label"'),
        part(b"7", 'name="label"'),
        part(b"7", 'name="model"'),
        part(b"pad", 'name="fit"', "Content-Type: text/plain; charset=utf-8"),
    )
    upload = parse(body)
    assert upload.file == b"\x00picture\r\n\xff"
    assert said(upload) == {
        "seed": 2**53 - 1,
        "strength": 0.5,
        "glow": -0.1,
        "label": ["größe", "7"],
        "model": "7",
        "fit": "pad",
    }


@pytest.mark.parametrize(
    "disposition",
    ['name="image"', 'name="file"', 'name="upload"; filename="a"', 'name="image"; filename=""'],
)
def test_the_picture_is_the_part_with_a_file_name_or_its_own(disposition: str) -> None:
    assert parse(form(part(b"bytes", disposition))).file == b"bytes"


def test_a_part_may_be_base64() -> None:
    encoded = part(
        b64encode(b"a\0b"), 'name="image"; filename="a"', "Content-Transfer-Encoding: base64"
    )
    assert parse(form(encoded)).file == b"a\0b"


def test_a_large_file_stays_in_memory() -> None:
    large = bytes(3 * 2**20)
    assert parse(form(part(large, 'name="image"; filename="a"'))).file == large


def test_a_picture_alone_has_its_fields_in_the_query() -> None:
    upload = parse(b"bytes", "image/png", [("seed", "7"), ("label", "a"), ("format", "webp")])
    assert upload.file == b"bytes"
    assert said(upload) == {"seed": 7, "label": "a", "format": "webp"}


def test_json_has_its_picture_as_base64_and_forgets_it() -> None:
    upload = parse(b'{"image": "YQBi", "seed": 7}', "application/json; charset=utf-8")
    assert upload.file == b"a\0b"
    assert said(upload) == {"seed": 7}


@pytest.mark.parametrize(
    "content_type",
    [
        "image/png",
        "IMAGE/JPEG",
        "image/x-unheard-of",
        "multipart/form-data",
        "application/json;a=b",
    ],
)
def test_kinds_of_bodies_that_are_read(content_type: str) -> None:
    require_upload(content_type, None)
    require_upload(content_type, "identity")


# --- What is refused. ---


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/octet-stream", "multipart/mixed", "image"]
)
def test_other_kinds_of_bodies_tell_what_is_read(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        require_upload(content_type, None)
    assert caught.value.extra["supported"] == ["application/json", "multipart/form-data", "image/*"]


@pytest.mark.parametrize("require", [require_upload, require_json])
def test_what_a_body_says_of_itself_is_told_in_short(require: Callable[..., object]) -> None:
    for told in (("a" * 10_000, None), ("application/json", "z" * 10_000)):
        with pytest.raises(UnsupportedMedia) as caught:
            require(*told)
        assert len(caught.value.detail) < 300


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(UnsupportedMedia, match="Content-Encoding"):
        require_upload("image/png", "gzip")


@pytest.mark.parametrize(
    ("content_type", "body", "advice"),
    [
        (FORM, form(part(b"1", 'name="seed"')), "image: is missing"),
        (FORM, form(PICTURE, PICTURE), "image: 2 files were sent: send one"),
        (
            FORM,
            form(PICTURE, part(b"1", 'name="seed"'), part(b"1", 'name="seed"')),
            "seed: is given",
        ),
        (FORM, form(PICTURE, part(b"x", 'name="seed"')), "seed: must be a whole number"),
        (FORM, form(PICTURE, part(b"", 'name="seed"')), "seed: must be a whole number"),
        (FORM, form(PICTURE, part(b"big", 'name="fit"')), "fit: must be 'crop'"),
        ("application/json", b"{}", "image: is missing"),
        ("application/json", b'{"image": null}', "image: is missing"),
        ("application/json", b'{"image": 7}', "image: must be a text"),
        ("application/json", b'{"image": "YQB"}', "image: is not base64"),
        ("application/json", b'{"image": "Y-_i"}', "image: is not base64"),
        ("application/json", '{"image": "ß"}'.encode(), "image: is not base64"),
        ("application/json", b'{"image": "YQBi", "format": "gif"}', "format: must be 'png'"),
    ],
)
def test_wrong_fields_say_what_to_change(content_type: str, body: bytes, advice: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(body, content_type)
    assert advice in caught.value.detail
    assert caught.value.extra["errors"][0]["field"] == advice.partition(":")[0]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b""),
        (FORM, b"nothing of the kind"),
        (FORM, form(PICTURE)[:-10]),
        (FORM, PICTURE),
        ("multipart/form-data", form(PICTURE)),
        ("multipart/form-data; boundary=other", form(PICTURE)),
        ("multipart/form-data; boundary=" + "b" * 300, form(PICTURE)),
        (FORM, form(b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n")),
        (FORM, form(part(b"x", 'name="a"', "Content-Transfer-Encoding: rot13"))),
        (FORM, form(part(b"#", 'name="image"; filename="a"', "Content-Transfer-Encoding: base64"))),
        (FORM, form(part(b"\xff", 'name="label"'))),
        (FORM, form(*[part(b"1", f'name="a{k}"') for k in range(MAX_PARTS + 1)])),
        ("application/json", b'{"image": '),
    ],
)
def test_bodies_that_are_not_what_they_say_are_malformed(content_type: str, body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(body, content_type)


def test_fields_have_one_place_for_each_kind_of_body() -> None:
    for content_type, body in ((FORM, form(PICTURE)), ("application/json", b'{"image": "YQBi"}')):
        with pytest.raises(InvalidInput, match=r"seed: is in the URL: put it into the"):
            parse(body, content_type, [("seed", "7")])
    with pytest.raises(InvalidInput, match="image: the body is the picture"):
        parse(b"bytes", "image/png", [("image", "YQBi")])


def test_one_picture_for_one_answer_has_one_label() -> None:
    with pytest.raises(InvalidInput, match="label"):
        parse_upload(ReadRequest, "image/png", b"x", [("label", "a"), ("label", "b")])


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_no_form_brings_anything_but_a_refusal(junk: bytes, start: int, length: int) -> None:
    whole = form(PICTURE, part(b"0.5", 'name="strength"'), part(b"a", 'name="label"'))
    body = whole[:start] + junk + whole[start + length :]
    with suppress(InvalidInput, MalformedRequest):
        assert isinstance(parse(body).file, bytes)
