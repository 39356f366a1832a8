"""The peers' programs import nothing of ours, so what they copy is compared with the original."""

from __future__ import annotations

import ast
import base64
import importlib.util
import io
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from bench import pictures
from bench.command import BenchError
from bench.loads import Served
from bench.rivals import PROGRAMS
from export.draw import draw, image_seed
from export.manifest import FixedSize, Graph, ImageOutput, Label, Latent, Scalar

LATENT = Latent(name="z", shape=(100,), distribution="normal")
KNOB = Scalar(name="truncation", low=0, high=1, default=1)
GRAPH = Graph(
    inputs=(LATENT, KNOB), outputs=(ImageOutput(name="image", channels=3),), onnx="g.onnx"
)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers_generator", PROGRAMS / "generator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_peers_draw_what_we_draw(program: ModuleType) -> None:
    peer = program.Generator.__new__(program.Generator)
    peer.model = {"latent": "z", "shape": [100]}
    for seed in (0, 7, 2**53 - 1):
        assert np.array_equal(peer.draw(seed), draw(LATENT, [seed], 1, 1)[0])


def test_peers_number_the_pictures_of_a_request_as_we_do(program: ModuleType) -> None:
    last = 2**53 - 1
    found = program.seeds_of({"seed": last, "num_images": 3})
    assert found == [image_seed(last, k) for k in range(3)]
    assert len(program.seeds_of({"num_images": 5})) == 5


def test_a_peers_batch_is_cut_into_its_requests(program: ModuleType) -> None:
    class Peer(program.Generator):  # type: ignore[name-defined, misc]
        def pictures(self, seeds: list[int]) -> list[str]:
            return [str(seed) for seed in seeds]

    requests = [{"seed": 5, "num_images": 2}, {"seed": 9, "num_images": 1}]
    answers = Peer.__new__(Peer).answers(requests)
    assert answers == [{"images": ["5", "6"]}, {"images": ["9"]}]


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.name)
def test_programs_import_nothing_of_ours(path: Path) -> None:
    names = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else
                     [alias.name for alias in node.names])
    }  # fmt: skip
    packages = {"numpy", "onnxruntime", "PIL", "fastapi", "uvicorn", "mosec", "litserve"}
    assert names <= packages | {"generator"} | sys.stdlib_module_names


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Served:
    pixels = np.zeros((pictures.CHECKED, 8, 8, 3), np.uint8)
    pixels[:, :4] = np.arange(pictures.CHECKED)[:, None, None, None]
    monkeypatch.setattr(pictures, "reference", lambda model: pixels)
    return Served("m", Path("m"), Path("m.onnx"), GRAPH, FixedSize(height=8, width=8))


def answer(pixels: pictures.Pixels, level: int = 1) -> bytes:
    files = []
    for image in pixels:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG", compress_level=level)
        files.append(base64.b64encode(stream.getvalue()).decode())
    return json.dumps({"images": files}).encode()


def test_the_same_pixels_pass_with_their_size(model: Served) -> None:
    expected = pictures.reference(model)
    assert pictures.check(answer(expected), model) == 1
    assert pictures.check(answer(expected, level=0), model) > 1


def test_one_wrong_pixel_does_not_pass(model: Served) -> None:
    wrong = pictures.reference(model).copy()
    wrong[3, 0, 0, 0] ^= 1
    with pytest.raises(BenchError, match="picture 3"):
        pictures.check(answer(wrong), model)
    with pytest.raises(BenchError, match="not 16"):
        pictures.check(answer(wrong[:3]), model)


def test_scalars_have_their_defaults_and_other_inputs_are_refused() -> None:
    fed = pictures.feed(GRAPH, [1, 2], 8, 8)
    assert fed["truncation"].tolist() == [1, 1]
    assert fed["z"].shape == (2, 100)
    label = Label(name="label", classes=("a", "b"))
    with pytest.raises(BenchError, match="one latent"):
        pictures.roles(GRAPH.model_copy(update={"inputs": (LATENT, label)}))
