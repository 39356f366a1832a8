"""Accept and format against what can be had."""

from __future__ import annotations

import pytest

from service.errors import NotAcceptable
from service.negotiation import Form, negotiate, negotiate_numbers
from service.schemas import ImageFormat

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "image", "form"),
    [
        (None, None, Form("json", "png")),
        ("", None, Form("json", "png")),
        ("*/*", None, Form("json", "png")),
        ("*/*", "webp", Form("json", "webp")),
        (None, "npy", Form("json", "npy")),
        ("application/json", "jpeg", Form("json", "jpeg")),
        ("application/*", None, Form("json", "png")),
        ("image/*", None, Form("image", "png")),
        ("image/*", "jpeg", Form("image", "jpeg")),
        ("image/webp", None, Form("image", "webp")),
        ("IMAGE/PNG", "png", Form("image", "png")),
        ("application/zip", None, Form("zip", "png")),
        ("application/zip", "npy", Form("zip", "npy")),
        ("application/x-npy", None, Form("npy", "npy")),
        ("multipart/mixed", "webp", Form("multipart", "webp")),
        ("multipart/*", None, Form("multipart", "png")),
        # Quality decides, then exactness, then the order of what is offered.
        ("application/json;q=0.1, image/png", None, Form("image", "png")),
        ("image/png;q=0.2, image/webp;q=0.9, */*;q=0.1", None, Form("image", "webp")),
        ("application/zip, */*", None, Form("zip", "png")),
        ("image/*, image/png;q=0", None, Form("image", "jpeg")),
        ("*/*, application/json;q=0", None, Form("image", "png")),
        ("image/png ; q=1.0 , application/json ; q=0.999", None, Form("image", "png")),
        ("image/jpeg, application/json;q=0.5", "png", Form("json", "png")),
        ("application/json; charset=utf-8", None, Form("json", "png")),
        (BROWSER, None, Form("image", "webp")),
        # What is not a media range is passed over.
        ("png", None, Form("json", "png")),
        (",,;q=1,", None, Form("json", "png")),
        ("image/webp;q=high", None, Form("image", "webp")),
    ],
)
def test_the_form_that_the_client_likes_best(
    accept: str | None, image: ImageFormat | None, form: Form
) -> None:
    assert negotiate(accept, image) == form


@pytest.mark.parametrize(
    ("accept", "image", "available"),
    [
        ("image/png", "jpeg", "image/jpeg"),
        ("image/png, image/webp", "jpeg", "image/jpeg"),
        ("image/*", "npy", "application/x-npy"),
        ("application/x-npy", "png", "image/png"),
        ("image/avif", None, "image/webp"),
        ("text/html", None, "application/json"),
        ("*/*;q=0", None, "multipart/mixed"),
        ("application/json;q=0, image/png", "npy", "application/zip"),
    ],
)
def test_a_conflict_lists_what_can_be_had(
    accept: str, image: ImageFormat | None, available: str
) -> None:
    with pytest.raises(NotAcceptable) as caught:
        negotiate(accept, image)
    assert available in caught.value.extra["available"]
    assert available in caught.value.detail


def test_numbers_are_json_or_an_array_where_there_is_one() -> None:
    assert negotiate_numbers(None, array=True).container == "json"
    assert negotiate_numbers("application/x-npy", array=True).container == "npy"
    with pytest.raises(NotAcceptable) as caught:
        negotiate_numbers("application/x-npy, image/png", array=False)
    assert caught.value.extra["available"] == ["application/json"]
