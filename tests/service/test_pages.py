"""The pages for people: complete, from this service alone, and safe."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest

from service.page import STATIC, page

pytestmark = pytest.mark.anyio


class Links(HTMLParser):
    """Everything that a page loads or leads to, and everything inline."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []
        self.base = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "base":
            self.base = given["href"] or ""
            return
        self.found += [given[name] or "" for name in ("src", "href") if given.get(name)]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_every_link_of_a_page_is_answered_here(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    links = Links(reply.text)
    assert links.base == "/"
    assert links.inline == []  # the Content-Security-Policy would refuse it
    assert links.found
    for link in links.found:
        assert "//" not in link
        if not link.startswith("#"):
            assert (await client.get(f"/{link}")).status_code == 200, link


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_may_load_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_our_own_files_name_no_other_host() -> None:
    ours = [path for path in STATIC.iterdir() if path.is_file()]
    assert {path.name for path in ours} >= {"index.html", "page.css", "page.js", "docs.js"}
    for path in ours:
        hosts = set(re.findall(r"https?://[^\s\"'<>]+", path.read_text("utf-8")))
        assert hosts <= {"http://www.w3.org/2000/svg"}, path


def test_swagger_ui_comes_with_its_licence() -> None:
    folder = STATIC / "swagger-ui"
    assert "Apache License" in (folder / "LICENSE").read_text("utf-8")
    assert (folder / "NOTICE").read_text("utf-8")


def test_a_root_path_cannot_break_out_of_the_page() -> None:
    body = page("index", '/"><script>alert(1)</script>').body
    assert body is not None
    assert b"<script>alert" not in body


async def test_files_are_revalidated(client: httpx.AsyncClient) -> None:
    reply = await client.get("/static/page.css")
    assert reply.headers["content-type"] == "text/css; charset=utf-8"
    for known in (reply.headers["etag"], f"W/{reply.headers['etag']}", "*"):
        again = await client.get("/static/page.css", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")


def test_every_script_that_a_script_imports_is_loaded_with_the_page() -> None:
    text = (STATIC / "index.html").read_text("utf-8")
    loaded = set(re.findall(r'"static/(\w+\.js)"', text))
    assert len(loaded) > 1
    for name in loaded:
        imported = re.findall(r'from "\./(\w+\.js)"', (STATIC / name).read_text("utf-8"))
        assert set(imported) <= loaded, name
