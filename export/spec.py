"""What a generator that was not trained here takes and gives, as its owner declares it in YAML.

Inputs are the manifest's own, by role; so are vectors and scores. A picture also says how the
network gives it, because a bundle gives uint8 alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from export.dimension import resolve_shape
from export.errors import SpecInvalid
from export.fields import Finite, Identifier
from export.manifest import (
    FixedSize,
    FreeSize,
    Image,
    ImageOutput,
    Index,
    Input,
    Label,
    Latent,
    Licence,
    Noise,
    Output,
    Scalar,
    ScoreOutput,
    Size,
    Task,
    Vector,
    VectorOutput,
)
from export.size import Frozen

# Of each task: whether it starts from a picture, and the kind of output that answers it.
_TASKS: dict[Task, tuple[bool, str]] = {
    "generate": (False, "image"),
    "translate": (True, "image"),
    "encode": (True, "vector"),
    "score": (True, "score"),
}


class Picture(Frozen):
    """A picture as the network gives it.

    float32 is [N, C, H, W] in [low, high], and will be quantised; uint8 is [N, H, W, C], finished.
    """

    kind: Literal["image"] = "image"
    name: Identifier
    channels: Literal[1, 3, 4]
    values: Literal["float32", "uint8"] = "float32"
    low: Finite = -1.0
    high: Finite = 1.0


Given = Latent | Noise | Label | Image | Scalar | Index | Vector  # no text: nothing answers one yet
Made = Picture | VectorOutput | ScoreOutput

_Input = Annotated[Given, Field(discriminator="role")]
_Output = Annotated[Made, Field(discriminator="kind")]


class Spec(Frozen):
    """One graph: what it answers, takes and gives, and what may be done with it."""

    description: str = Field(min_length=1)
    licence: Licence
    data: str = ""  # the name of what it learnt from
    tasks: tuple[Task, ...] = Field(min_length=1)
    size: Size
    inputs: tuple[_Input, ...] = Field(min_length=1)
    outputs: tuple[_Output, ...] = Field(min_length=1)
    rename: dict[str, Identifier] = Field({})  # a tensor of an ONNX file -> the name declared here

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError(f"inputs and outputs must have different names, got {names}")
        if strange := set(self.rename.values()) - set(names):
            raise ValueError(f"rename gives {sorted(strange)}, which no input or output declares")
        if len(set(self.rename.values())) != len(self.rename):
            raise ValueError("rename gives one name to two tensors")
        return self

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for entry in (*self.inputs, *self.outputs):
            if isinstance(entry, Image | Picture | Scalar) and not entry.low < entry.high:
                raise ValueError(f"{entry.name!r}: low {entry.low:g} must be below {entry.high:g}")
        return self

    @model_validator(mode="after")
    def _tasks_fit(self) -> Self:
        images = sum(isinstance(entry, Image) for entry in self.inputs)
        if images > 1:
            raise ValueError("one input of role image at most: a request uploads one picture")
        for task in self.tasks:
            uploads, kind = _TASKS[task]
            if uploads != bool(images):
                raise ValueError(f"{task} needs {'an' if uploads else 'no'} input of role image")
            if kind not in {output.kind for output in self.outputs}:
                raise ValueError(f"{task} needs an output of kind {kind}")
        return self

    @model_validator(mode="after")
    def _shapes_hold(self) -> Self:
        for size in self.size.examples():
            for entry in (*self.inputs, *self.outputs):
                if isinstance(entry, Latent | Noise | Index | Vector | VectorOutput):
                    resolve_shape(entry.shape, *size)  # ValueError when not positive
        return self

    @property
    def declared_inputs(self) -> tuple[Input, ...]:
        """As the manifest declares them."""
        return self.inputs

    @property
    def declared_outputs(self) -> tuple[Output, ...]:
        """As the manifest declares them: every picture finished."""
        return tuple(
            ImageOutput(name=output.name, channels=output.channels)
            if isinstance(output, Picture)
            else output
            for output in self.outputs
        )


def load_spec(path: Path) -> Spec:
    """Read a spec.

    Raises:
        SpecInvalid: lists every fault, one a line, with the nearest name where a key is unknown.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"the spec {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SpecInvalid(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise SpecInvalid(f"{path} must be a mapping with {', '.join(Spec.model_fields)}")
    try:
        return Spec.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        inside = {fault["loc"][:1] for fault in faults if len(fault["loc"]) > 1}
        lines = [  # pydantic also calls a list empty whose every part is wrong
            _explain(fault)
            for fault in faults
            if fault["type"] != "too_short" or fault["loc"] not in inside
        ]
        raise SpecInvalid(f"{path}: " + "\n  ".join(lines)) from None


def _explain(fault: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    *sections, last = fault["loc"] or ("the spec",)
    where = ".".join(str(part) for part in _without_tags((*sections, last)))
    context = fault.get("ctx", {})
    tags = [tag for section, tag in _TAGGED if fault["loc"][:1] == (section,)]
    discriminator = str(context.get("discriminator", "")).strip("'")
    match fault["type"]:
        case "extra_forbidden":
            return f"{where} is not known{_nearest(str(last), _keys(tuple(sections)))}"
        case "union_tag_not_found":
            return f"{where}: say {discriminator}, one of {', '.join(tags)}"
        case "union_tag_invalid":
            return f"{where}: no {discriminator} {context['tag']!r}{_nearest(context['tag'], tags)}"
        case "missing":
            return f"{where} is missing"
        case "value_error":
            return f"{where}: {context['error']}" if fault["loc"] else str(context["error"])
    shown = "" if isinstance(fault["input"], dict | list) else f", got {fault['input']!r}"
    return f"{where}: {fault['msg'].lower()}{shown}"


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"


# Each part of a spec that says what it is: (section, role or kind) -> its model.
_TAGGED: dict[tuple[str, str], type[BaseModel]] = {
    **{
        ("inputs", str(model.model_fields["role"].default)): model
        for model in (Latent, Noise, Label, Image, Scalar, Index, Vector)
    },
    **{
        ("outputs", str(model.model_fields["kind"].default)): model
        for model in (Picture, VectorOutput, ScoreOutput)
    },
    ("size", "fixed"): FixedSize,
    ("size", "free"): FreeSize,
}


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """The fields of the part of a spec that pydantic found at ``location``."""
    match location:
        case ("inputs" | "outputs" as section, int(), str(tag)):
            return list(_TAGGED[section, tag].model_fields)
        case ("size", str(tag)):
            return list(_TAGGED["size", tag].model_fields)
        case ("licence",):
            return list(Licence.model_fields)
    return list(Spec.model_fields)


def _without_tags(location: tuple[int | str, ...]) -> Iterator[int | str]:
    """Where a fault is, as its author wrote it: pydantic names the role or kind on the way."""
    for place, part in enumerate(location):
        in_list = place == 2 and location[0] in {"inputs", "outputs"}
        if not in_list and not (place == 1 and location[0] == "size"):
            yield part
