"""The study over HTTP, and its command line."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.command import BenchError
from bench.study.__main__ import app as commands
from bench.study.app import create_app
from bench.study.pictures import Album, read_album, require_alike
from tests.bench.study.conftest import NewStore

pytestmark = pytest.mark.anyio


def write_pictures(
    folder: Path, count: int, level: int, ending: str = "png", side: int = 8
) -> Path:
    """Flat pictures: their level tells which folder they are from."""
    folder.mkdir()
    for k in range(count):
        pixels = np.full((side, side, 3), level, np.uint8)
        Image.fromarray(pixels).save(folder / f"p{k:02}.{ending}")
    return folder


@pytest.fixture
def albums(tmp_path: Path) -> dict[str, Album]:
    levels = {"real": 0, "a": 100, "b": 200}
    return {
        name: read_album(write_pictures(tmp_path / name, 12, level))
        for name, level in levels.items()
    }


@pytest.fixture
async def client(new_store: NewStore, albums: dict[str, Album]) -> AsyncIterator[httpx.AsyncClient]:
    models = {name: albums[name] for name in ("a", "b")}
    app = create_app(new_store(), albums["real"], models)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://study") as client:
        yield client


async def begin(client: httpx.AsyncClient, person: str = "ann") -> dict[str, Any]:
    reply = await client.post("/sittings", json={"participant": person})
    assert reply.status_code == 201, reply.text
    state: dict[str, Any] = reply.json()
    return state


async def look(client: httpx.AsyncClient, state: dict[str, Any]) -> list[int]:
    """The levels of the pictures of the trial whose turn it is."""
    reply = await client.post(f"/sittings/{state['sitting']}/{state['number']}/pictures")
    assert reply.status_code == 200, reply.text
    files = [base64.b64decode(png) for png in reply.json()["png"]]
    return [int(np.asarray(Image.open(io.BytesIO(file)))[0, 0, 0]) for file in files]


def said(state: dict[str, Any], **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    facts = {"number": state["number"], "answer": "left", "exposure_ms": 1000, "response_ms": 400}
    return facts | changes


async def test_a_whole_sitting(client: httpx.AsyncClient) -> None:
    state = await begin(client)
    models = set()
    for number in range(9):
        assert (state["number"], state["is_practice"]) == (number, number < 3)
        left, right = await look(client, state)
        assert (left == 0) != (right == 0)  # one is real
        models.add(left or right)
        truth = "left" if left else "right"
        reply = await client.post(f"/sittings/{state['sitting']}/answers", json=said(state))
        assert reply.status_code == 200, reply.text
        state = reply.json()
        told = {"right": truth == "left", "truth": truth} if number < 3 else None
        assert state["feedback"] == told
    assert state["number"] is None
    assert len(models) == 1  # one model in a sitting


async def test_replays_and_reordering_are_refused(client: httpx.AsyncClient) -> None:
    state = await begin(client)
    answers = f"/sittings/{state['sitting']}/answers"
    assert (await client.post(answers, json=said(state))).status_code == 409  # not looked at
    await look(client, state)
    again = await client.post(f"/sittings/{state['sitting']}/0/pictures")
    assert again.status_code == 409
    assert (await client.post(answers, json=said(state, number=1))).status_code == 409
    assert (await client.post(answers, json=said(state))).status_code == 200
    assert (await client.post(answers, json=said(state))).status_code == 409
    assert (await client.post("/sittings", json={"participant": "ann"})).status_code == 409


@pytest.mark.parametrize(
    "wrong",
    [{"answer": "middle"}, {"exposure_ms": -1}, {"number": "x"}, {"fooled": True}],
)
async def test_what_is_no_answer_is_refused(
    client: httpx.AsyncClient, wrong: dict[str, Any]
) -> None:
    state = await begin(client)
    await look(client, state)
    answers = f"/sittings/{state['sitting']}/answers"
    assert (await client.post(answers, json=said(state, **wrong))).status_code == 422


async def test_large_bodies_are_refused_unread(client: httpx.AsyncClient) -> None:
    reply = await client.post("/sittings", content=b" " * 5000)
    assert reply.status_code == 413


async def test_unknown_sittings_and_pages(client: httpx.AsyncClient) -> None:
    assert (await client.get("/sittings/guessed")).status_code == 404
    for path in ("/app.py", "/..%2fapp.py", "/docs"):
        assert (await client.get(path)).status_code == 404


async def test_the_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    for path in ("/", "/page.css", "/page.js"):
        reply = await client.get(path)
        assert reply.status_code == 200
        assert "//" not in reply.text.replace("// ", "")
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["cache-control"] == "no-store"


def test_files_tell_nothing_but_what_they_show(tmp_path: Path) -> None:
    png = read_album(write_pictures(tmp_path / "png", 2, 50))
    bmp = read_album(write_pictures(tmp_path / "bmp", 2, 50, "bmp"))
    assert png.files == bmp.files
    assert png.digest == bmp.digest


def test_pictures_that_would_tell_are_refused(tmp_path: Path) -> None:
    small = read_album(write_pictures(tmp_path / "small", 3, 0))
    large = read_album(write_pictures(tmp_path / "large", 3, 0, side=16))
    with pytest.raises(BenchError, match=r"8x8.*16x16"):
        require_alike({"small": small, "large": large}, 3)
    with pytest.raises(BenchError, match="a sitting shows 4"):
        require_alike({"small": small}, 4)
    with pytest.raises(BenchError, match="holds no picture"):
        read_album(tmp_path)


def test_the_report_of_a_study(new_store: NewStore, tmp_path: Path) -> None:
    new_store().close()
    told = tmp_path / "told.json"
    done = CliRunner().invoke(commands, ["report", str(tmp_path / "study.db"), "--json", str(told)])
    assert done.exit_code == 0, done.output
    models = json.loads(told.read_text())["models"]
    assert [(each["name"], each["fooled"]) for each in models] == [("a", None), ("b", None)]
    assert "nobody finished" in done.output
