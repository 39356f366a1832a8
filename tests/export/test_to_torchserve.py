"""A bundle as an archive: what is in it, what is refused, and that it needs no more of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from export.bundle import Bundle, ChecksumMismatch, write_manifest
from export.errors import NotPackable, NotWritable
from export.to_torchserve import HANDLER, OURS, to_torchserve
from tests.deploy.scripted import scripted_reader
from tests.tiny import tiny_bundle
from tests.tiny_images import picture_bundle


@pytest.fixture(scope="module")
def archive(animals: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_torchserve(animals, tmp_path_factory.mktemp("archives") / "new")


def test_archive_tells_torchserve_what_it_is(archive: Path) -> None:
    assert archive.name == "animals-1.mar"
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        model = json.loads(opened.read("MAR-INF/MANIFEST.json"))["model"]
    assert (model["modelName"], model["modelVersion"]) == ("animals", "1")
    for key in ("handler", "configFile", "requirementsFile"):
        assert model[key] in names
    assert {"bundle/manifest.json", "bundle/generator.pt", *HANDLER, *OURS} <= set(names)
    assert not [name for name in names if name.endswith((".onnx", ".png"))]


def test_same_bundle_is_the_same_archive(archive: Path, animals: Bundle, tmp_path: Path) -> None:
    again = to_torchserve(animals, tmp_path)
    assert again.read_bytes() == archive.read_bytes()
    assert to_torchserve(animals, tmp_path) == again
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_handler_runs_with_what_is_in_the_archive_alone(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    program = """
import sys
from pathlib import Path
missing = ("onnx", "onnxruntime", "fastapi", "prometheus_client", "training", "uvicorn")
sys.modules.update(dict.fromkeys(missing))
sys.path.insert(0, sys.argv[1])
import ganymede_handler
ours = [name for name in sys.modules if name.split(".")[0] in ("export", "service")]
files = {name: sys.modules[name].__file__ for name in ours}
assert all(Path(file).is_relative_to(sys.argv[1]) for file in files.values()), files
print(*sorted(str(Path(file).relative_to(sys.argv[1])) for file in files.values()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(OURS), "what the handler does not import need not travel"


def test_bundle_without_torchscript_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPackable, match="without --no-torchscript"):
        to_torchserve(tiny_bundle(tmp_path), tmp_path)


def test_bundle_that_gives_no_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPackable, match="ganymede serve"):
        to_torchserve(picture_bundle(tmp_path, tasks=("encode", "score")), tmp_path)


def test_what_reads_a_text_brings_its_tokenizer(archive: Path, tmp_path: Path) -> None:
    bundle = scripted_reader(tmp_path)
    with zipfile.ZipFile(to_torchserve(bundle, tmp_path)) as opened:
        packed = opened.read("bundle/tokenizer.json")
        needed = opened.read("requirements.txt").decode()
    assert packed == bundle.file("tokenizer.json").read_bytes()
    with zipfile.ZipFile(archive) as opened:
        plain = opened.read("requirements.txt").decode()
    assert needed.startswith(plain)
    assert "tokenizers" in needed
    assert "tokenizers" not in plain


def test_damaged_bundle_is_refused(animals: Bundle, tmp_path: Path) -> None:
    for name in animals.manifest.files:
        (tmp_path / name).write_bytes(animals.file(name).read_bytes())
    (tmp_path / "generator.pt").write_bytes(b"another")
    with pytest.raises(ChecksumMismatch, match=r"generator\.pt"):
        to_torchserve(write_manifest(tmp_path, animals.manifest), tmp_path)


def test_folder_that_cannot_be_written_is_told(animals: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match=r"animals-1\.mar"):
        to_torchserve(animals, tmp_path / "file")
