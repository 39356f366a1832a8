"""The perceptual study in a real browser: somebody sits through it, reloads, and tries again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.asking import free_port
from tests.acceptance.browser import NEEDS_CHROMIUM, WITHIN_S, Page, chromium
from tests.service.processes import ROOT

pytestmark = [pytest.mark.acceptance, NEEDS_CHROMIUM]

PRACTICE, TRIALS, EXPOSURE_S = 2, 4, 0.3
ANSWERABLE = "document.querySelectorAll('#answers button').length === 2"
DARK_LEFT = """(() => {
  const images = [...document.querySelectorAll('#stage.shown img')];
  return images.length ? images.map((image) => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [1, 1];
    canvas.getContext('2d').drawImage(image, 0, 0, 1, 1);
    return canvas.getContext('2d').getImageData(0, 0, 1, 1).data[0] < 128;
  }) : null;
})()"""
"""Which of the pictures that stand are dark, hence real; null when none stands."""


def study(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "bench.study", *map(str, arguments)]


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """The study of dark real and bright generated pictures; its address."""
    for name, level in (("real", 40), ("bright", 220)):
        (folder / name).mkdir(exist_ok=True)
        for k in range(PRACTICE + TRIALS):
            pixels = np.full((64, 64, 3), level, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    port = free_port()
    command = study(
        *("serve", "--real", folder / "real", "--fake", f"bright={folder / 'bright'}"),
        *("--db", folder / "study.db", "--port", str(port), "--exposure-s", str(EXPOSURE_S)),
        *("--practice", str(PRACTICE), "--trials", str(TRIALS), *options),
    )
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _answers(url, folder / "log")
            yield url
        finally:
            process.kill()


def _answers(url: str, log: Path) -> None:
    end_s = time.monotonic() + WITHIN_S
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            assert time.monotonic() < end_s, log.read_text()
            time.sleep(0.1)


def report(folder: Path) -> dict[str, Any]:
    told = folder / "told.json"
    done = subprocess.run(
        study("report", folder / "study.db", "--json", told),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (model,) = json.loads(told.read_text())["models"]
    found: dict[str, Any] = model
    return found


def begin(page: Page, code: str) -> None:
    page.until("!document.querySelector('#welcome').hidden")
    page.ask(f"document.querySelector('[name=participant]').value = {code!r}")
    page.click("#begin button")


def seen(page: Page) -> list[bool]:
    """Of the pictures that stand now, which are dark; they go before the question comes."""
    page.until(f"{DARK_LEFT} !== null")
    dark: list[bool] | None = page.ask(DARK_LEFT)
    assert dark is not None
    page.until(ANSWERABLE)
    assert page.ask("document.querySelectorAll('#stage img').length") == 0
    return dark


def test_a_sitting_from_the_welcome_to_the_report(tmp_path: Path) -> None:
    with serving(tmp_path) as url, chromium(tmp_path) as page:
        page.open(url)
        begin(page, "ann")
        for number in range(PRACTICE + TRIALS):
            dark = seen(page)
            assert sorted(dark) == [False, True]
            bright = dark.index(False)
            fooled = number >= PRACTICE and number % 2 == 1
            page.press(["ArrowLeft", "ArrowRight"][bright if not fooled else 1 - bright])
            if number < PRACTICE:
                page.until("!document.querySelector('#next').hidden")
                assert page.ask("document.querySelector('#question').textContent") == (
                    f"Right: the {['left', 'right'][bright]} one was generated."
                )
                page.click("#next")
        page.until("!document.querySelector('#end').hidden")
        assert page.complaints == []
        found = report(tmp_path)
        assert (found["finished"], found["abandoned"], found["left_out"]) == (1, 0, 0)
        assert (found["fooled"]["value"], found["practice"]) == (0.5, 1.0)
        page.ask("sessionStorage.clear()")
        page.open(url)
        begin(page, "ann")
        page.until("!document.querySelector('#problem').hidden")
        assert "once" in page.ask("document.querySelector('#problem').textContent")
        assert report(tmp_path)["finished"] == 1


def test_a_reload_shows_nothing_again_and_that_trial_does_not_count(tmp_path: Path) -> None:
    with serving(tmp_path, "--kind", "single") as url, chromium(tmp_path) as page:
        page.open(url)
        begin(page, "bob")
        for number in range(PRACTICE + TRIALS):
            (dark,) = seen(page)
            if number == PRACTICE:
                page.open(url)
                page.until(ANSWERABLE)  # at once: its picture was shown
                assert page.ask("document.querySelectorAll('#stage img').length") == 0
            page.click(f"#answers button:nth-child({1 if dark else 2})")
            if number < PRACTICE:
                page.until("!document.querySelector('#next').hidden")
                page.press("Enter")
        page.until("!document.querySelector('#end').hidden")
        found = report(tmp_path)
        assert (found["finished"], found["left_out"]) == (1, 1)
        rates = [found[name] for name in ("fooled", "wronged")]
        assert [each["value"] for each in rates] == [0.0, 0.0]
        assert sum(each["trials"] for each in rates) == TRIALS - 1
