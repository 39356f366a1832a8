"""What the soak says of a service that does wrong."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from bench.soak_bodies import sources
from bench.soak_checks import checks
from bench.soak_clients import judge
from bench.soak_ledger import Ledger, Serving
from bench.soak_models import PICTURES, READER, STARTER, make_models
from bench.soak_reference import Answer, Asked, Reference
from bench.soak_trouble import worker_pids
from bench.soak_watch import Counters, Log, Memory, regress
from bench.soak_wishes import Mix, Wish
from service import png
from service.images import encode, encode_all
from service.negotiation import Form
from service.replies import render

MOMENT = (0, False)
SMALL, *_, LARGE = sources()


def test_the_line_through_samples_and_its_error() -> None:
    line = regress([(0, 10), (1, 12), (2, 14), (3, 16)])
    assert (line.bytes_per_s, line.mean_bytes, line.seconds) == (2, 13, 3)
    assert line.error == pytest.approx(0, abs=1e-12)
    assert line.surely_grown == pytest.approx(6 / 13)
    noisy = regress([(0, 10), (1, 13), (2, 9), (3, 12)])
    assert noisy.bytes_per_s == pytest.approx(0.2)
    assert noisy.error == pytest.approx((9.8 / 2 / 5) ** 0.5)
    assert noisy.surely_grown < 0


# --- Answers. ---


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(make_models(tmp_path_factory.mktemp("models")))


def right(reference: Reference, wish: Wish) -> httpx.Response:
    """The answer that the reference would give itself."""
    assert wish.asked is not None
    assert wish.seed is not None
    answer = reference.answer(wish.asked, 1, wish.seed)
    headers = {"ETag": answer.etag, "Ganymede-Version": "1", "Ganymede-Seed": str(wish.seed)}
    return httpx.Response(200, headers=headers, content=answer.rendered.told({}))


@pytest.mark.parametrize("container", ["json", "zip", "multipart", "npy", "image"])
def test_only_the_right_pictures_are_right(reference: Reference, container: str) -> None:
    serving = Serving(1, frozenset({1}))
    image = "npy" if container == "npy" else "png"
    asked = Asked(STARTER, "generate", {"num_images": 2}, Form(container, image))  # type: ignore[arg-type]
    wish = Wish("generate", "/generate", asked=asked, seed=7, reply="pictures")
    good = right(reference, wish)
    assert judge(wish, good, reference, serving, MOMENT) is None
    other = right(reference, replace(wish, seed=8))
    other.headers["Ganymede-Seed"] = "7"
    other.headers["ETag"] = good.headers["ETag"]
    assert "other pictures" in str(judge(wish, other, reference, serving, MOMENT))
    other.headers["ETag"] = "another"
    assert "tag" in str(judge(wish, other, reference, serving, MOMENT))
    assert "status 500" in str(judge(wish, httpx.Response(500), reference, serving, MOMENT))


def deflated_anew(file: bytes, flipped: int = 0) -> bytes:
    """A PNG of the same pixels, or of others, in other bytes."""
    pixels = np.asarray(Image.open(io.BytesIO(file)))
    return png.encode(pixels.reshape(*pixels.shape[:2], -1) ^ np.uint8(flipped), png.ZLIB)


def answered(reference: Reference, container: str) -> tuple[Wish, Answer, httpx.Response]:
    asked = Asked(STARTER, "generate", {"num_images": 2}, Form(container, "png"))  # type: ignore[arg-type]
    wish = Wish("generate", "/generate", asked=asked, seed=7, reply="pictures")
    return wish, reference.answer(asked, 1, 7), right(reference, wish)


@pytest.mark.parametrize("container", ["json", "image", "zip", "multipart"])
@pytest.mark.parametrize(("flipped", "verdict"), [(0, None), (1, "other pictures")])
def test_the_same_pixels_in_other_bytes_are_right(
    reference: Reference,
    monkeypatch: pytest.MonkeyPatch,
    container: str,
    flipped: int,
    verdict: str | None,
) -> None:
    wish, answer, good = answered(reference, container)
    monkeypatch.setattr(
        "service.replies.encode_all",
        lambda *how: [deflated_anew(file, flipped) for file in encode_all(*how)],
    )
    monkeypatch.setattr("service.replies.encode", lambda *how: deflated_anew(encode(*how), flipped))
    content = render(answer.rows, answer.facts).told({})
    monkeypatch.undo()
    assert content != good.content
    reply = httpx.Response(200, headers=good.headers, content=content)
    found = judge(wish, reply, reference, Serving(1, frozenset({1})), MOMENT)
    assert found is None if verdict is None else verdict in str(found)


def test_what_is_said_beside_the_pictures_must_be_right_too(reference: Reference) -> None:
    wish, _, good = answered(reference, "json")
    serving, document = Serving(1, frozenset({1})), good.json()
    first, second = document["images"]
    for wrong in (
        document | {"images": [first | {"label": "nothing"}, second]},
        document | {"images": [first | {"seed": 9}, second]},
        document | {"images": [first]},
        {name: value for name, value in document.items() if name != "timing"},
        document | {"images": [first | {"data": first["data"][:40]}, second]},
    ):
        content = json.dumps(wrong).encode()
        reply = httpx.Response(200, headers=good.headers, content=content)
        assert "other pictures" in str(judge(wish, reply, reference, serving, MOMENT))
    wish, _, good = answered(reference, "image")
    reply = httpx.Response(200, headers=good.headers, content=good.content[:-30])
    assert "other pictures" in str(judge(wish, reply, reference, serving, MOMENT))


PLAIN = Asked(PICTURES, "translate", {}, Form("json", "png"), source=SMALL)


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        (replace(PLAIN, reference=SMALL), replace(PLAIN, reference=LARGE)),
        (replace(PLAIN, reference=SMALL), PLAIN),
        (replace(PLAIN, fields={"label": "dark"}), replace(PLAIN, fields={"label": "light"})),
    ],
)
def test_styles_and_classes_are_judged(reference: Reference, asked: Asked, other: Asked) -> None:
    serving = Serving(1, frozenset({1}))
    wish = Wish("translate", "/translate", asked=asked, seed=7, reply="pictures")
    good, wrong = right(reference, wish), right(reference, replace(wish, asked=other))
    assert judge(wish, good, reference, serving, MOMENT) is None
    assert "tag" in str(judge(wish, wrong, reference, serving, MOMENT))
    wrong.headers["ETag"] = good.headers["ETag"]
    assert "other pictures" in str(judge(wish, wrong, reference, serving, MOMENT))


def test_texts_are_judged(reference: Reference) -> None:
    first, second = (
        reference.answer(Asked(READER, "generate", {"text": text}), 1, 7)
        for text in ("red heart", "black cat")
    )
    assert first.etag != second.etag
    assert first.rendered.body != second.rendered.body


def test_the_mix_has_everything(reference: Reference) -> None:
    mix = Mix(random.Random(1), reference)
    kinds = {mix.draw().kind for _ in range(300)}
    assert {"generate", "text", "translate", "reference", "encode", "score", "V2 infer"} <= kinds


def test_the_same_chance_asks_for_the_same(reference: Reference) -> None:
    first, second = Mix(random.Random(5), reference), Mix(random.Random(5), reference)
    for _ in range(50):
        one, other = first.draw(), second.draw()
        assert (one.path, one.headers, one.body) == (other.path, other.headers, other.body)


# --- What adds up. ---

EXPOSED = """
# TYPE ganymede_requests_total counter
ganymede_requests_total{route="/generate",model="m",status="200"} REQUESTS
# TYPE ganymede_requests_total counter
ganymede_requests_total{route="/generate",model="m",status="499"} 1
# TYPE ganymede_images_total counter
ganymede_images_total{model="m"} IMAGES
# TYPE ganymede_cancellations_total counter
ganymede_cancellations_total 1
# TYPE ganymede_ready gauge
ganymede_ready 1
"""


async def looked(*pairs: tuple[int, int]) -> Counters:
    """The counters after as many looks: requests and images each."""
    texts = [EXPOSED.replace("REQUESTS", str(r)).replace("IMAGES", str(i)) for r, i in pairs]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=texts.pop(0)))
    counters = Counters()
    async with httpx.AsyncClient(transport=transport, base_url="http://soak") as client:
        for _ in pairs:
            await counters.look(client)
    return counters


def noted() -> Ledger:
    """Two good answers with three pictures, and a client that vanished."""
    ledger = Ledger(judged=2)
    for images in (1, 2):
        ledger.end(ledger.begin(), "generate", 200, images)
    ledger.vanish(ledger.begin(), "vanishes")
    return ledger


def log_of(path: Path, statuses: tuple[int, ...] = (200, 200, 499)) -> Log:
    lines = [
        {"level": "info", "message": "request", "request_id": f"soak-{k}", "status": status}
        for k, status in enumerate(statuses, 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"half')
    return Log.read(path)


def unmet(ledger: Ledger, counters: Counters, log: Log) -> list[str]:
    found = checks(ledger, counters, Memory(0), log, 10)
    return [check.name for check in found if check.met is False]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_what_does_not_add_up_is_told(tmp_path: Path) -> None:
    good, log = await looked((1, 1), (2, 3)), log_of(tmp_path / "log")
    assert unmet(noted(), good, log) == []
    assert unmet(noted(), await looked((1, 1), (3, 3)), log) == ["requests_total adds up"]
    assert unmet(noted(), await looked((1, 1), (1, 3)), log) == ["requests_total adds up"]
    assert unmet(noted(), await looked((1, 1), (2, 4)), log) == ["images_total adds up"]
    assert unmet(noted(), await looked((3, 3), (2, 3)), log) == ["no counter ever fell"]
    half = log_of(tmp_path / "half", (200,))
    assert "every request was answered once" in unmet(noted(), good, half)
    wrong = noted()
    wrong.object("another picture")
    assert unmet(wrong, good, log) == ["every answer is right"]


@pytest.mark.anyio
async def test_what_is_lost_needs_a_kill(tmp_path: Path) -> None:
    good, log = await looked((1, 1), (2, 3)), log_of(tmp_path / "log")
    ledger = noted()
    ledger.lose(ledger.begin(), "generate", "it broke")
    assert unmet(ledger, good, log) == ["nothing is lost but with a killed worker"]
    ledger = noted()
    name = ledger.begin()
    ledger.kill()
    ledger.lose(name, "generate", "it broke")
    assert unmet(ledger, good, log) == ["every killed worker was replaced"]


def test_workers_are_found_in_the_process_tree(tmp_path: Path) -> None:
    processes = [
        (10, 1, "S", "ganymede serve"),
        (11, 10, "S", "-m service.worker 3"),
        (12, 10, "Z", "-m service.worker 3"),
        (13, 10, "S", "from multiprocessing.resource_tracker"),
        (14, 99, "S", "-m service.worker 3"),
    ]
    for pid, parent, state, command in processes:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (b) {state} {parent} 1 1 0")
        (tmp_path / str(pid) / "cmdline").write_text(command)
    assert worker_pids(10, tmp_path) == [11]
