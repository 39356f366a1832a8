"""The contract on disk: what is read, what is refused and how, and that half a bundle is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export import bundle as contract
from export.bundle import (
    MANIFEST,
    Bundle,
    BundleError,
    ChecksumMismatch,
    ManifestInvalid,
    ParityExceeded,
    UnsupportedSchema,
    find_bundles,
    fingerprint,
    load_bundle,
    write_manifest,
)
from export.manifest import SCHEMA_VERSION
from tests.tiny import ONNX, tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path)


def rewrite(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest as a careless or a hostile hand would."""
    path = bundle.path / MANIFEST
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_what_is_written_is_read_back(bundle: Bundle) -> None:
    assert load_bundle(bundle.path) == bundle


def test_digest_changes_with_any_file(tmp_path: Path, bundle: Bundle) -> None:
    other = tiny_bundle(tmp_path, version=2, salt=1)
    assert other.manifest.files[ONNX] != bundle.manifest.files[ONNX]
    assert other.digest != bundle.digest


def test_folder_without_manifest_is_not_a_bundle(bundle: Bundle) -> None:
    (bundle.path / MANIFEST).unlink()
    with pytest.raises(ManifestInvalid, match="not a bundle"):
        load_bundle(bundle.path)


def test_manifest_is_written_by_rename(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash just before the rename leaves the folder as it was: not a bundle."""
    (bundle.path / MANIFEST).unlink()

    def crash(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_manifest(bundle.path, bundle.manifest)
    assert not (bundle.path / MANIFEST).exists()
    assert find_bundles(bundle.path.parents[1]) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"[1]",
        b"3",
        b"null",
        b"{}",
        b'{"name": "tiny"}',
        b"[" * 100_000,
    ],
)
def test_manifest_that_is_none_is_refused(bundle: Bundle, raw: bytes) -> None:
    (bundle.path / MANIFEST).write_bytes(raw)
    with pytest.raises(ManifestInvalid, match="is not a manifest"):
        load_bundle(bundle.path)


def test_faults_of_a_manifest_are_a_line_each_without_urls(bundle: Bundle) -> None:
    path = bundle.path / MANIFEST
    data = json.loads(path.read_bytes())
    path.write_text(json.dumps(data | {"colour": 1, "version": 0}))
    with pytest.raises(ManifestInvalid) as caught:
        load_bundle(bundle.path)
    assert len(str(caught.value).splitlines()) == 2
    assert "http" not in str(caught.value)


def test_manifest_cut_short_is_refused(bundle: Bundle) -> None:
    path = bundle.path / MANIFEST
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ManifestInvalid):
        load_bundle(bundle.path)


@pytest.mark.parametrize("version", [0, 2, 99, -1, None, "1", 1.5])
def test_other_schema_is_refused_with_what_to_do(bundle: Bundle, version: object) -> None:
    rewrite(bundle, lambda data: data.update(schema_version=version))
    with pytest.raises(UnsupportedSchema, match="export the run again"):
        load_bundle(bundle.path)


def test_newer_schema_is_refused_before_its_fields_are_looked_at(bundle: Bundle) -> None:
    rewrite(bundle, lambda data: data.update(schema_version=2, a_field_of_the_future=1))
    with pytest.raises(UnsupportedSchema, match="schema_version 2"):
        load_bundle(bundle.path)


def test_older_schema_is_upgraded_step_by_step(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename_title(data: dict[str, Any]) -> dict[str, Any]:
        title = data.pop("title")
        return data | {"description": title, "schema_version": SCHEMA_VERSION}

    def age(data: dict[str, Any]) -> None:
        data["title"] = data.pop("description")
        data["schema_version"] = SCHEMA_VERSION - 1

    rewrite(bundle, age)
    monkeypatch.setitem(contract.UPGRADES, SCHEMA_VERSION - 1, rename_title)
    assert load_bundle(bundle.path).manifest == bundle.manifest


def _deep(data: dict[str, Any]) -> None:
    data["graphs"]["generate"]["inputs"][0]["colour"] = "red"


@pytest.mark.parametrize("change", [lambda data: data.update(colour="red"), _deep])
def test_unknown_field_is_refused(
    bundle: Bundle, change: Callable[[dict[str, Any]], object]
) -> None:
    rewrite(bundle, change)
    with pytest.raises(ManifestInvalid, match="colour"):
        load_bundle(bundle.path)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "./x", "a//x", "a\\x", "", "..", "a/"]
)
def test_path_that_leaves_the_folder_is_refused(bundle: Bundle, path: str) -> None:
    def escape(data: dict[str, Any]) -> None:
        data["files"][path] = data["files"].pop(ONNX)
        data["graphs"]["generate"]["onnx"] = path

    rewrite(bundle, escape)
    with pytest.raises(ManifestInvalid, match="plain path inside"):
        load_bundle(bundle.path)


def test_file_that_is_used_but_not_listed_is_refused(bundle: Bundle) -> None:
    rewrite(bundle, lambda data: data["files"].pop(ONNX))
    with pytest.raises(ManifestInvalid, match="not listed in files"):
        load_bundle(bundle.path)


def test_missing_file_is_refused(bundle: Bundle) -> None:
    (bundle.path / ONNX).unlink()
    with pytest.raises(ChecksumMismatch, match=f"{ONNX} is missing"):
        load_bundle(bundle.path)


def test_folder_in_the_place_of_a_file_is_refused(bundle: Bundle) -> None:
    (bundle.path / ONNX).unlink()
    (bundle.path / ONNX).mkdir()
    with pytest.raises(ChecksumMismatch):
        load_bundle(bundle.path)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda raw: raw[:-1], id="cut short"),
        pytest.param(lambda raw: raw + b"\0", id="longer"),
        pytest.param(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), id="one bit"),
    ],
)
def test_changed_file_is_refused(bundle: Bundle, spoil: Callable[[bytes], bytes]) -> None:
    path = bundle.path / ONNX
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ChecksumMismatch, match="not the file that was exported"):
        load_bundle(bundle.path)


def test_manifest_alone_can_be_read_without_its_files(bundle: Bundle) -> None:
    (bundle.path / ONNX).unlink()
    assert load_bundle(bundle.path, verify=False).manifest == bundle.manifest


def test_bundles_are_found_by_name_then_by_number(tmp_path: Path) -> None:
    for name, version in (("b", 2), ("b", 10), ("a", 1), ("b", 9)):
        tiny_bundle(tmp_path, name=name, version=version)
    tiny_bundle(tmp_path, name="a", version=7).path.rename(tmp_path / "a" / ".partial-7")
    (tmp_path / "c" / "1").mkdir(parents=True)
    found = [(path.parent.name, path.name) for path in find_bundles(tmp_path)]
    assert found == [("a", "1"), ("b", "2"), ("b", "9"), ("b", "10")]


def test_no_folder_has_no_bundles(tmp_path: Path) -> None:
    assert find_bundles(tmp_path / "none") == []


def test_fingerprint_is_the_sha256_and_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    file = fingerprint(path)
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (file.sha256, file.size_bytes) == (expected, 3)


def test_error_tree_is_drawn_in_full() -> None:
    drawn = contract.__doc__ or ""
    ours = [one for one in BundleError.__subclasses__() if one.__module__ == contract.__name__]
    assert ours
    assert all(error.__name__ in drawn for error in ours)


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("onnx_max_abs", 2e-4, 1e-4),
        ("torchscript_max_abs", float("nan"), 1e-4),
        ("max_levels", 2, 1),
        ("pixels_differing", 2e-3, 1e-3),
        ("row_max_abs", 2e-4, 1e-4),
    ],
)
def test_a_parity_record_past_a_limit_is_refused(
    bundle: Bundle, field: str, value: float, limit: float
) -> None:
    def measured(number: float) -> Callable[[dict[str, Any]], object]:
        return lambda data: data["parity"].update({field: number})

    rewrite(bundle, measured(limit))
    load_bundle(bundle.path)
    rewrite(bundle, measured(value))
    with pytest.raises(ParityExceeded, match=f"{field} is {value:g}, more than {limit:g}"):
        load_bundle(bundle.path)
