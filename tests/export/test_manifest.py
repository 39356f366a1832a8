"""What a manifest may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from export.manifest import Graph, Label, Latent, Manifest, Noise, RowSize, Scalar, ScoreOutput

GRAPH: dict[str, Any] = {
    "inputs": [{"role": "latent", "name": "z", "shape": [8]}],
    "outputs": [{"kind": "image", "name": "image", "channels": 3}],
    "onnx": "g.onnx",
}
MANIFEST: dict[str, Any] = {
    "name": "tiny",
    "version": 1,
    "created_utc": "2026-01-01T00:00:00+00:00",
    "tasks": {"generate": "g"},
    "graphs": {"g": GRAPH},
    "size": {"kind": "fixed", "height": 8, "width": 8},
    "files": {"g.onnx": {"sha256": "0" * 64, "size_bytes": 1}},
    "opset": 20,
    "licence": {"name": "MIT"},
}


def manifest(**changes: object) -> Manifest:
    return Manifest.model_validate(MANIFEST | changes)


def graph(**changes: object) -> Graph:
    return Graph.model_validate(GRAPH | changes)


def test_least_manifest_is_enough() -> None:
    assert manifest().graph("generate") == graph()


def test_json_says_the_same() -> None:
    assert Manifest.model_validate_json(manifest().model_dump_json()) == manifest()


def test_manifest_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        manifest().name = "other"  # type: ignore[misc]


def test_task_that_is_not_answered_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        manifest().graph("translate")


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", ".a", "-a", "a/b", "a" * 65, "ä"])
def test_name_is_a_plain_folder_name(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        manifest(name=name)


@pytest.mark.parametrize("version", [0, -1, 1.5])
def test_version_counts_from_one(version: float) -> None:
    with pytest.raises(ValidationError, match="version"):
        manifest(version=version)


@pytest.mark.parametrize("task", ["paint", "Generate"])
def test_unknown_task_is_refused(task: str) -> None:
    with pytest.raises(ValidationError, match="tasks"):
        manifest(tasks={task: "g"})


def test_task_needs_its_graph() -> None:
    with pytest.raises(ValidationError, match="not in graphs"):
        manifest(tasks={"generate": "other"})


@pytest.mark.parametrize("task", ["encode", "score"])
def test_task_needs_an_output_of_its_kind(task: str) -> None:
    with pytest.raises(ValidationError, match="needs a graph with a"):
        manifest(tasks={task: "g"})


@pytest.mark.parametrize("field", ["tasks", "graphs"])
def test_nothing_to_answer_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        manifest(**{field: {}})


@pytest.mark.parametrize(
    "changes",
    [
        {"preview": "preview.png"},
        {"graphs": {"g": GRAPH | {"torchscript": "g.pt"}}},
        {
            "graphs": {
                "g": GRAPH
                | {"inputs": [{"role": "text", "name": "t", "tokenizer": "t.json", "length": 4}]}
            }
        },
    ],
    ids=["preview", "torchscript", "tokenizer"],
)
def test_every_path_must_be_listed(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="not listed in files"):
        manifest(**changes)


@pytest.mark.parametrize("checksum", ["0" * 63, "0" * 65, "G" * 64, "A" * 64])
def test_checksum_is_64_hex_digits(checksum: str) -> None:
    with pytest.raises(ValidationError, match="sha256"):
        manifest(files={"g.onnx": {"sha256": checksum, "size_bytes": 1}})


@pytest.mark.parametrize(
    ("entry", "elements", "nbytes", "drawn_elements"),
    [
        ({"role": "latent", "shape": [8]}, 8, 32, 8),
        ({"role": "noise", "shape": [2, "height // 4", "width // 4"]}, 30, 120, 30),
        ({"role": "label", "classes": ["coat", "shirt"]}, 1, 8, 0),
        ({"role": "text", "tokenizer": "t.json", "length": 16}, 16, 128, 0),
        ({"role": "image", "channels": 3}, 720, 2880, 0),
        ({"role": "scalar", "low": 0, "high": 1, "default": 1}, 1, 4, 0),
        ({"role": "index", "shape": [14], "high": 3}, 14, 112, 0),
        ({"role": "vector", "shape": [3, "width"]}, 60, 240, 0),
    ],
    ids=lambda value: value["role"] if isinstance(value, dict) else "",
)
def test_a_row_takes_what_its_roles_and_its_size_say(
    entry: dict[str, Any], elements: int, nbytes: int, drawn_elements: int
) -> None:
    alone = graph(inputs=[entry | {"name": "x"}])
    expected = RowSize(elements, nbytes, drawn_elements)
    assert alone.row_size(12, 20) == expected
    among = graph(inputs=[entry | {"name": "x"}, {"role": "noise", "name": "n", "shape": [5]}])
    assert among.row_size(12, 20) == (elements + 5, nbytes + 20, drawn_elements + 5)


def test_a_row_is_reckoned_anew_for_each_size() -> None:
    entries = [{"role": "image", "name": "x", "channels": 1}, *GRAPH["inputs"]]
    free = graph(inputs=entries)
    for _ in range(2):
        assert free.row_size(4, 6) == RowSize(24 + 8, 4 * (24 + 8), 8)
        assert free.row_size(6, 10) == RowSize(60 + 8, 4 * (60 + 8), 8)


def test_unknown_role_is_refused() -> None:
    with pytest.raises(ValidationError, match="role"):
        graph(inputs=[{"role": "sound", "name": "s"}])


def test_input_and_output_names_differ() -> None:
    with pytest.raises(ValidationError, match="different names"):
        graph(outputs=[{"kind": "image", "name": "z", "channels": 1}])


@pytest.mark.parametrize("name", ["Z", "0z", "z.float", "z-1", "", "_z"])
def test_identifier_is_plain(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        Latent(name=name, shape=(1,))


@pytest.mark.parametrize("default", [-0.1, 1.1, float("nan")])
def test_default_lies_in_its_range(default: float) -> None:
    with pytest.raises(ValidationError, match="outside"):
        Scalar(name="truncation", low=0, high=1, default=default)


@pytest.mark.parametrize("keep", [0.0, 1.1])
def test_keep_is_a_probability_that_can_happen(keep: float) -> None:
    with pytest.raises(ValidationError, match="keep"):
        Noise(name="mask", shape=(1,), distribution="bernoulli", keep=keep)


def test_label_needs_a_class() -> None:
    with pytest.raises(ValidationError, match="classes"):
        Label(name="label", classes=())


@pytest.mark.parametrize("dimension", [0, -1, "height//0", "-height", "depth", "1.5"])
def test_dimension_is_positive_and_exact(dimension: object) -> None:
    with pytest.raises(ValidationError):
        graph(inputs=[{"role": "noise", "name": "n", "shape": [dimension]}])


def test_score_has_no_shape() -> None:
    with pytest.raises(ValidationError, match="shape"):
        ScoreOutput.model_validate({"name": "score", "shape": [1]})
