"""What a request may say and what a reply says, as pydantic models and nothing else.

Values that only a model can judge (its labels, its scalars, the shape of its latents) are checked
by ``planning.plan``; here is what holds for every model. Numbers are strict: ``true`` is not 1 and
``"7"`` is not 7.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from export.draw import SEED_LIMIT

ImageFormat = Literal["png", "jpeg", "webp", "npy"]

_Integer = Annotated[int, Strict()]
Seed = Annotated[_Integer, Field(ge=0, lt=SEED_LIMIT)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Seconds = Annotated[Number, Field(gt=0)]
LabelValue = Annotated[_Integer, Field(ge=0)] | Annotated[str, Strict(), Field(max_length=200)]
LabelList = Annotated[list[LabelValue], Field(min_length=1, fail_fast=True)]


class Interpolation(BaseModel):
    """Pictures on the way between two seeds."""

    # Allowed and then refused by hand: pydantic would note an error for each of a million fields.
    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    start: Seed = Field(alias="from", description="the seed of the first picture")
    end: Seed = Field(alias="to", description="the seed whose latents the last picture has")
    steps: Annotated[_Integer, Field(ge=2)] = Field(description="how many pictures")

    @model_validator(mode="after")
    def _no_more_than_these(self) -> Interpolation:
        for name in self.model_extra or ():
            raise PydanticCustomError("extra_forbidden", "unknown: {name}", {"name": name[:100]})
        return self


class GenerateQuery(BaseModel):
    """What the plain URL ``GET /generate/{model}.png`` takes.

    Unlisted fields are kept for ``planning.plan``: each must be a scalar input of the model.
    """

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"additionalProperties": {"type": "number"}}
    )

    version: Annotated[_Integer, Field(gt=0)] | None = Field(
        None, description="pins a version of the model; the default version when left out"
    )
    num_images: Annotated[_Integer, Field(ge=1)] | None = Field(
        None, description="how many pictures; 1 when left out"
    )
    seed: Seed | None = Field(
        None,
        description="image k has seed (seed + k) mod 2^53; drawn and told in the reply "
        "when left out",
    )
    label: LabelValue | LabelList | None = Field(
        None,
        description="a class by name or index, or a list with one for each image; "
        "drawn from each image's seed when left out",
    )
    truncation: Number | None = Field(
        None, description="for models that have it; GET /models/{name} tells the range"
    )
    quality: Annotated[_Integer, Field(ge=1, le=100)] | None = Field(
        None, description="for jpeg and webp; 90 when left out"
    )

    @property
    def scalars(self) -> dict[str, Any]:
        """The values given for scalar inputs, by name, not yet checked."""
        given = dict(self.model_extra or {})
        if self.truncation is not None:
            given["truncation"] = self.truncation
        return given


class GenerateRequest(GenerateQuery):
    """The body of ``POST /generate``. Further fields are scalar inputs of the model, by name."""

    model: Annotated[str, Strict(), Field(max_length=200)] | None = Field(
        None, description="may be left out when one is loaded or a default is set"
    )
    latents: Annotated[list[Any], Field(min_length=1)] | None = Field(
        None, description="explicit latents instead of drawn ones: numbers [num_images, *shape]"
    )
    interpolate: Interpolation | None = Field(
        None, description="pictures between two seeds, spherically interpolated"
    )
    format: ImageFormat | None = Field(
        None, description="the encoding of each image; png when left out. Accept is the container"
    )
    timeout_s: Seconds | None = Field(
        None,
        description="seconds after which no answer is wanted; the server has a default and an "
        "upper limit. The header X-Request-Timeout says the same; the shorter counts",
    )
    priority: Literal["interactive", "bulk"] | None = Field(
        None,
        description="bulk is computed when nothing interactive waits; interactive when left out",
    )


class GeneratedImage(BaseModel):
    """One picture of a reply."""

    seed: int | None = Field(
        description="asked for alone, this seed is this picture; null when the latents were "
        "given or interpolated"
    )
    label: str | None = Field(description="the class, for models that have classes")
    data: str = Field(description="the encoded image, as base64")


class Timing(BaseModel):
    """Where the time went, in seconds; base64 is part of encode, the writing of the JSON is not."""

    queue_s: float
    run_s: float
    encode_s: float


class GenerateReply(BaseModel):
    """The reply of ``POST /generate`` as ``application/json``."""

    model: str
    version: int
    seed: int
    format: ImageFormat
    height: int
    width: int
    channels: int
    parameters: dict[str, float] = Field(description="every scalar input, as it was used")
    images: list[GeneratedImage]
    timing: Timing


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    detail: str = Field(description="says what to change")
    nearest: str | None = None
    choices: list[str] | None = None


class Problem(BaseModel):
    """RFC 9457 ``application/problem+json``: every refusal looks like this."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str = Field(description="says what to change")
    request_id: str | None = None
    errors: list[FieldProblem] | None = None


class ModelCard(BaseModel):
    """One model, as ``GET /models`` lists it."""

    name: str
    version: int = Field(
        description="the version that this tells of: when none is pinned, the one that answers"
    )
    versions: list[int]
    ready: bool
    default: bool = Field(description="answers when a request names no model")
    tasks: list[str]
    description: str
    classes: list[str] | None
    scalars: dict[str, dict[str, float]]
    preview: str | None = Field(description="the path of a picture of its pictures")
    licence: str


class ModelList(BaseModel):
    """The reply of ``GET /models``."""

    models: list[ModelCard]
    limits: dict[str, int]


class RunCost(BaseModel):
    """What one run takes, as it was measured at load and refined since."""

    lanes: int = Field(description="runs at once")
    threads: int = Field(description="of each run")
    row_elements: int = Field(description="numbers in the inputs of a row; grows with its pixels")
    rows: int
    seconds: float


class Schedule(BaseModel):
    """How one graph of a model is run on this machine."""

    lanes: int = Field(description="runs at once, while requests wait")
    threads: int = Field(description="of each")
    max_batch_rows: int = Field(description="most images in a run: more would gain nothing")
    alone_threads: int | None = Field(description="of a run that has the device to itself")
    alone_rows: int = Field(description="most images for which that is quicker")
    costs: list[RunCost]


class ModelPage(ModelCard):
    """The reply of ``GET /models/{name}``: the card, the schedule and the whole manifest."""

    schedule: dict[str, Schedule] = Field(description="by the name of the graph")
    manifest: dict[str, Any]


class Health(BaseModel):
    """The reply of the health pages."""

    status: Literal["live", "ready"]
