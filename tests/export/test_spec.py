"""A spec is read whole, or refused with every fault and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.errors import SpecInvalid
from export.manifest import ImageOutput, Label, Latent, ScoreOutput, VectorOutput
from export.spec import Picture, load_spec
from tests.export.own_generators import ENCODER, GENERATOR, TRANSLATOR, write_spec

STRENGTH = "role: scalar, name: strength, low: 0, high: 1, default: 0.75"


def test_inputs_are_the_manifests_own_in_order(tmp_path: Path) -> None:
    spec = load_spec(write_spec(tmp_path, GENERATOR))
    assert spec.declared_inputs == (
        Latent(name="z", shape=(6,)),
        Label(name="label", classes=("cat", "dog")),
    )


def test_outputs_are_declared_as_the_bundle_gives_them(tmp_path: Path) -> None:
    spec = load_spec(write_spec(tmp_path, TRANSLATOR))
    assert spec.outputs == (Picture(name="picture", channels=3, low=0, high=1),)
    assert spec.declared_outputs == (ImageOutput(name="picture", channels=3),)
    spec = load_spec(write_spec(tmp_path, ENCODER))
    code, likelihood = VectorOutput(name="code", shape=(5,)), ScoreOutput(name="likelihood")
    assert spec.declared_outputs == (code, likelihood)


@pytest.mark.parametrize(
    ("there", "instead", "told"),
    [
        ("data:", "dta:", "dta is not known; did you mean 'data'?"),
        ("stride: 4", "strides: 4", "size.strides is not known; did you mean 'stride'?"),
        ("attribution", "atribution", "licence.atribution .* did you mean 'attribution'?"),
        ("default: 0.75", "defualt: 0.7", r"inputs.1.defualt .* did you mean 'default'?"),
        ("name: picture,", "nam: picture,", r"outputs.0.nam .* did you mean 'name'?"),
        ("role: image", "role: imgae", "inputs.0: no role 'imgae'; did you mean 'image'?"),
        ("role: image, ", "", "inputs.0: say role, one of latent, noise, label, image"),
        ("kind: free, ", "", "size: say kind, one of fixed, free"),
        ("kind: image", "kind: pictures", "no kind 'pictures'; there are: image, vector, score"),
        ("channels: 3, low", "channels: 2, low", "inputs.0.channels: .* got 2"),
        ("name: image", "name: Image.1", "inputs.0.name: .* got 'Image.1'"),
        ("name: picture", "name: image", "different names"),
        ("3, low: 0, high: 1}", "3, low: 1, high: 1}", "'image': low 1 must be below 1"),
        ("[translate]", "[generate]", "generate needs no input of role image"),
        ("[translate]", "[encode]", "encode needs an output of kind vector"),
        ("[translate]", "[]", "tasks: "),
        ("[translate]", "[translat]", "tasks.0: .* got 'translat'"),
        ("warm: [[16, 16]]", "warm: [[18, 16]]", "size: warm lists 18x16"),
        ("outputs:", "rename: {x: pictures}\noutputs:", r"rename gives \['pictures'\]"),
        ("outputs:", "rename: {x: image, y: image}\noutputs:", "one name to two tensors"),
        ("licence: {", "# {", "licence is missing"),
        ("{role: scalar", "{role: text", "inputs.1: no role 'text'"),
        (STRENGTH, "role: image, name: other, channels: 1", "one input of role image at most"),
        (STRENGTH, "role: noise, name: n, shape: [height//16]", "'height//16' is 0 for 8x8"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, there: str, instead: str, told: str) -> None:
    assert there in TRANSLATOR
    with pytest.raises(SpecInvalid, match=told):
        load_spec(write_spec(tmp_path, TRANSLATOR.replace(there, instead, 1)))


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    text = TRANSLATOR.replace("data:", "dta:").replace("licence:", "license:")
    with pytest.raises(SpecInvalid) as refused:
        load_spec(write_spec(tmp_path, text))
    told = str(refused.value).splitlines()
    assert len(told) == 3
    assert "license is not known; did you mean 'licence'?" in str(refused.value)


def test_one_fault_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid) as refused:
        load_spec(write_spec(tmp_path, GENERATOR.replace("kind: image", "kind: pictures")))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "- 1", "3", "{", "a: !!python/object:os.system x", "\x00"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecInvalid, match=r"is not YAML|must be a mapping"):
        load_spec(write_spec(tmp_path, text))


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match="cannot be read"):
        load_spec(tmp_path / "spec.yaml")
