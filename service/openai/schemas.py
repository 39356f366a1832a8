"""What a request for images may say at ``/v1``, as pydantic models and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

from service.schemas import TEXT_CHARACTERS, Seed

_Text = Annotated[str, Strict(), Field(max_length=200)]
_Integer = Annotated[int, Strict()]


class ImagesRequest(BaseModel):
    """The body of ``POST /v1/images/generations``.

    Further fields are scalar inputs of the model, by name. ``seed`` and ``version`` are extensions
    too; the client of OpenAI sends them as its ``extra_body``.
    """

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"additionalProperties": {"type": "number"}}
    )

    prompt: Annotated[str, Strict(), Field(min_length=1, max_length=TEXT_CHARACTERS)] = Field(
        description="what to show, for models that read a text; else a class of the model: its "
        "name, in any case, or its index"
    )
    model: _Text | None = Field(
        None, description="may be left out when one is loaded or a default is set"
    )
    n: Annotated[_Integer, Field(ge=1)] | None = Field(
        None, description="how many pictures; 1 when left out"
    )
    size: Annotated[str, Strict(), Field(pattern=r"^(auto|[1-9][0-9]{0,5}x[1-9][0-9]{0,5})$")] | (
        None
    ) = Field(None, description="auto, or width x height: one that the model makes, such as 28x28")
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="b64_json; url is refused, as no picture is kept to be linked to"
    )
    output_format: Literal["png", "jpeg", "webp"] | None = Field(
        None, description="the encoding of each image; png when left out"
    )
    output_compression: Annotated[_Integer, Field(ge=0, le=100)] | None = Field(
        None, description="the quality of jpeg and webp; png takes 100 alone"
    )
    background: Literal["auto", "opaque", "transparent"] | None = Field(
        None, description="the pictures are opaque; transparent is refused"
    )
    stream: Annotated[bool, Strict()] | None = Field(None, description="true is refused")
    partial_images: Annotated[_Integer, Field(ge=0, le=3)] | None = Field(
        None, description="more than 0 is refused"
    )
    quality: Literal["auto", "standard", "hd", "low", "medium", "high"] | None = Field(
        None, description="passed over: a model has one"
    )
    style: Literal["vivid", "natural"] | None = Field(None, description="passed over likewise")
    moderation: Literal["auto", "low"] | None = Field(None, description="passed over")
    user: Annotated[str, Strict()] | None = Field(None, description="passed over")
    seed: Seed | None = Field(
        None,
        description="image k has seed (seed + k) mod 2^53; drawn and told in the reply "
        "when left out",
    )
    version: Annotated[_Integer, Field(gt=0)] | None = Field(
        None, description="pins a version of the model; the default version when left out"
    )

    @property
    def extensions(self) -> dict[str, Any]:
        """The fields that nobody declared here: values for scalar inputs, not yet checked."""
        return dict(self.model_extra or {})
