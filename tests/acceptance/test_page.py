"""The page at ``/`` in a real browser, by mouse, finger and keys, against a real service.

``negative`` answers with the negative of a picture: black strokes come back white.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.manifest import FixedSize, FreeSize, Task
from tests.acceptance.browser import NEEDS_CHROMIUM, Page, chromium
from tests.service.processes import running
from tests.tiny_images import picture_bundle

pytestmark = [pytest.mark.acceptance, NEEDS_CHROMIUM]

CANVAS = "#paper canvas"
SIDE = 64
ANSWER = """(async () => {
  const image = document.querySelectorAll('#gallery img')[%d];
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.height, canvas.width, ...data.filter((_, k) => k %% 4 === 0)];
})()"""
HOLD = """
window.flying = 0; window.asked = 0; window.most = 0; window.held = true;
const plain = window.fetch.bind(window);
window.fetch = async (...wish) => {
  window.asked += 1;
  window.flying += 1;
  window.most = Math.max(window.most, window.flying);
  while (window.held) await new Promise((resolve) => setTimeout(resolve, 5));
  return plain(...wish).finally(() => { window.flying -= 1; });
};
"""
DROP = """(async () => {
  const reply = await fetch('static/icon.svg'), canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [40, 24];
  canvas.getContext('2d').fillRect(0, 0, 40, 24);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([blob], 'dropped.png', {type: 'image/png'}));
  const event = new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true});
  document.querySelector('%s').dispatchEvent(event);
  return event.defaultPrevented;
})()"""

CLASSES = "[...document.querySelectorAll('[name=label] option')].map((each) => each.text)"
LABELS = "[...document.querySelectorAll('figcaption .class')].map((each) => each.textContent)"
CHOOSE = """(() => {
  const select = document.querySelector('[name=label]');
  select.selectedIndex = %d;
  for (const kind of ['input', 'change']) select.dispatchEvent(new Event(kind, {bubbles: true}));
})()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str]]:
    """A browser, and the address of a service with two translators."""
    folder = tmp_path_factory.mktemp("page")
    models, fixed = folder / "models", FixedSize(height=SIDE, width=SIDE)
    free = FreeSize(stride=1, warm=((8, 8), (32, 32)), min_side=8, max_side=512, max_pixels=2**18)
    picture_bundle(models, name="grainy", size=fixed, grain=True, tasks=("generate", "translate"))
    picture_bundle(models, name="negative", size=fixed)
    picture_bundle(models, name="free", size=free)
    tasks: tuple[Task, ...] = ("translate", "encode")
    picture_bundle(
        models, name="styled", size=fixed, tasks=tasks, style=True, classes=("dark", "light")
    )
    service = running(folder / "log", "--models", models, default_model="grainy")
    with service as (_, url), chromium(folder) as page:
        yield page, url


@pytest.fixture
def page(tab: tuple[Page, str]) -> Iterator[Page]:
    """The page as it opens; nothing may go wrong in it."""
    page, url = tab
    page.complaints.clear()
    page.look()
    page.open(url)
    page.until("document.querySelectorAll('#gallery figure').length === 8")
    yield page
    assert page.complaints == []


def start_from_a_picture(page: Page, model: str = "negative") -> None:
    page.ask(f"document.querySelector('[name=model][value={model}]').click()")
    if model == "grainy":
        page.ask("document.querySelector('[name=task][value=translate]').click()")
    page.until("!document.querySelector('#source').hidden")


def settled(page: Page) -> None:
    """Wait until every stroke has its answer."""
    page.ask("new Promise((resolve) => setTimeout(resolve, 150))")
    page.until("document.querySelector('.go').getAttribute('aria-busy') === 'false'")


def answer(page: Page, number: int = 0) -> np.ndarray:
    """The red of a picture in the gallery, [H, W]."""
    height, width, *red = page.ask(ANSWER % number)
    return np.array(red, np.uint8).reshape(height, width)


def is_line(picture: np.ndarray, row: float, left: float, right: float) -> bool:
    """Whether a bright line, two pixels thick, goes across the row; places are shares."""
    side = len(picture)
    middle, columns = round(row * side), slice(round(left * side), round(right * side))
    return bool(picture[middle - 1 : middle + 1, columns].max(axis=0).min() > 170)


def test_strokes_of_the_mouse_are_answered_as_they_land(page: Page) -> None:
    start_from_a_picture(page)
    page.draw(CANVAS, [(0.1, 0.5), (0.9, 0.5)])
    settled(page)
    first = answer(page)
    assert first.shape == (SIDE, SIDE)
    assert is_line(first, 0.5, 0.12, 0.88)
    assert first[: SIDE // 3].max() < 5
    page.draw(CANVAS, [(0.5, 0.05), (0.5, 0.3)])
    settled(page)
    assert is_line(answer(page).T, 0.5, 0.07, 0.28)
    page.click("#undo")
    settled(page)
    assert np.array_equal(answer(page), first)


def test_one_request_at_a_time_and_the_latest_drawing_wins(page: Page) -> None:
    start_from_a_picture(page)
    page.ask(HOLD)
    rows = [0.1, 0.25, 0.4, 0.55, 0.7, 0.85]
    for row in rows:
        page.draw(CANVAS, [(0.1, row), (0.5, row), (0.9, row)])
        page.ask("new Promise((resolve) => setTimeout(resolve, 80))")
    assert page.ask("[flying, asked]") == [1, 1]
    page.ask("window.held = false")
    settled(page)
    assert page.ask("[flying, asked, most]") == [0, 2, 1]
    assert all(is_line(answer(page), row, 0.15, 0.85) for row in rows)


def test_fingers_draw(page: Page) -> None:
    start_from_a_picture(page)
    page.ask(f"document.querySelector({CANVAS!r}).scrollIntoView({{block: 'center'}})")
    box = page.ask(f"document.querySelector({CANVAS!r}).getBoundingClientRect().toJSON()")
    for kind, share in (("touchStart", 0.2), ("touchMove", 0.5), ("touchMove", 0.8)):
        place = {"x": box["left"] + share * box["width"], "y": box["top"] + 0.5 * box["height"]}
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=[place])
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    settled(page)
    assert is_line(answer(page), 0.5, 0.25, 0.75)


def test_keys_draw(page: Page) -> None:
    start_from_a_picture(page)
    page.ask(f"document.querySelector({CANVAS!r}).focus()")
    page.press(*["ArrowUp"] * 12, " ", *["ArrowRight"] * 18, " ", *["ArrowDown"] * 30)
    settled(page)
    found = answer(page)
    assert is_line(found, 0.25, 0.5, 0.85)
    assert found[SIDE // 2 :].max() < 5  # the pen was up
    page.press("Tab")
    assert page.ask("document.activeElement.id") == "file"


def test_a_mouse_that_passes_draws_nothing_with_the_pen_of_the_keys(page: Page) -> None:
    start_from_a_picture(page)
    page.ask(f"document.querySelector({CANVAS!r}).focus()")
    page.press(*["ArrowUp"] * 12, " ", "ArrowRight")  # the pen stays down
    box = page.ask(f"document.querySelector({CANVAS!r}).getBoundingClientRect().toJSON()")
    place = {"x": box["left"] + 0.5 * box["width"], "y": box["top"] + 0.8 * box["height"]}
    page.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
    settled(page)
    assert answer(page)[SIDE // 2 :].max() < 5
    page.draw(CANVAS, [(0.1, 0.75), (0.9, 0.75)])  # which takes the keys' pen away
    settled(page)
    assert is_line(answer(page), 0.75, 0.15, 0.85)


def test_a_model_of_free_size_gets_drawings_of_the_size_that_it_knows(page: Page) -> None:
    start_from_a_picture(page, "free")
    page.draw(CANVAS, [(0.05, 0.5), (0.95, 0.5)])
    settled(page)
    assert page.ask(f"document.querySelector({CANVAS!r}).width") == 12 * 32
    assert answer(page).shape == (32, 32)


def test_a_picture_is_chosen_and_sent_as_it_is(page: Page, tmp_path: Path) -> None:
    start_from_a_picture(page, "free")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "chosen.png")
    page.choose("#file", tmp_path / "chosen.png")
    page.until("document.querySelectorAll('#gallery figure').length === 1")
    settled(page)
    assert np.array_equal(answer(page), 255 - pixels[..., 0])


def test_a_picture_is_dropped(page: Page) -> None:
    start_from_a_picture(page, "free")
    assert page.ask(DROP % "#paper") is True
    page.until("document.querySelectorAll('#gallery figure').length === 1")
    assert answer(page).shape == (24, 40)


def test_a_reference_is_dropped_and_taken_away(page: Page, tmp_path: Path) -> None:
    start_from_a_picture(page)
    hidden = "document.querySelector('%s').hidden"
    assert page.ask(hidden % "#reference") is True  # the model reads no style
    page.draw(CANVAS, [(0.2, 0.2), (0.8, 0.8)])
    settled(page)
    start_from_a_picture(page, "styled")
    page.until("!" + hidden % "#reference")
    assert page.ask(CLASSES) == ["any", "dark", "light"]
    page.ask(CHOOSE % 1)
    page.until("document.querySelectorAll('#gallery figure').length === 4")
    settled(page)
    assert page.ask(LABELS) == ["dark"] * 4
    assert page.ask(DROP % "#reference p") is True
    page.until("!" + hidden % "#reference canvas")
    settled(page)
    assert page.ask(hidden % "#images-field") is True  # nothing is drawn any more
    page.until("document.querySelectorAll('#gallery figure').length === 1")
    assert 100 < answer(page).max() < 130  # white strokes, and the style of what is black
    program = page.ask("document.querySelector('#program').textContent")
    assert "-F reference=@reference.png" in program
    assert "-F 'label=dark'" in program
    (tmp_path / "none.png").write_text("no picture")
    page.choose("#reference input", tmp_path / "none.png")
    page.until("!document.querySelector('#problem').hidden")
    page.click("#reference button")
    settled(page)
    assert page.ask(hidden % "#images-field") is False
    page.until("document.querySelectorAll('#gallery figure').length === 4")
    assert "reference" not in page.ask("document.querySelector('#program').textContent")


def test_what_is_no_picture_is_refused_here(page: Page, tmp_path: Path) -> None:
    start_from_a_picture(page)
    (tmp_path / "none.png").write_text("no picture")
    page.choose("#file", tmp_path / "none.png")
    page.until("!document.querySelector('#problem').hidden")
    assert "none.png" in page.ask("document.querySelector('#problem').textContent")


def test_several_styles_and_the_same_ones_while_drawing(page: Page) -> None:
    start_from_a_picture(page, "grainy")
    page.draw(CANVAS, [(0.2, 0.2), (0.4, 0.2)])
    page.until("document.querySelectorAll('#gallery figure').length === 4")
    settled(page)
    seeds = "[...document.querySelectorAll('.seed')].map((each) => each.textContent)"
    first, told = [answer(page, number) for number in range(4)], page.ask(seeds)
    assert len({picture.tobytes() for picture in first}) == 4
    page.draw(CANVAS, [(0.2, 0.9), (0.4, 0.9)])
    settled(page)
    assert page.ask(seeds) == told
    assert np.array_equal(answer(page)[:40], first[0][:40])  # the grain is drawn from the seed
    page.click(".go")
    settled(page)
    assert page.ask(seeds) != told


def test_controls_follow_the_roles_of_the_inputs(page: Page) -> None:
    assert page.ask("document.querySelector('#text-field').hidden") is True
    page.ask(
        "import('./static/knobs.js').then((knobs) => { window.knobs = knobs; knobs.showKnobs("
        "[{role: 'text', name: 'caption'}, {role: 'latent', name: 'z'},"
        " {role: 'scalar', name: 'truncation', low: 0, high: 1, default: 0.5, description: ''}],"
        " {kind: 'fixed', height: 8, width: 8}, false); })"
    )
    assert page.ask("document.querySelector('#text-field').hidden") is False
    assert page.ask("document.querySelector('#form').checkValidity()") is False  # a text is wanted
    page.ask("document.querySelector('[name=text]').value = 'red heart'")
    wish = page.ask("knobs.givenWish()")
    assert wish == {"num_images": 8, "text": "red heart", "truncation": 0.5}


def test_the_program_that_is_shown_asks_for_the_same(page: Page) -> None:
    start_from_a_picture(page)
    page.draw(CANVAS, [(0.2, 0.2), (0.8, 0.8)])
    page.until("!document.querySelector('#program').hidden")
    settled(page)
    program = page.ask("document.querySelector('#program pre').textContent")
    assert re.search(r"^curl http://\S+/translate ", program)
    assert "-F image=@picture.png" in program
    assert "-F 'model=negative'" in program
