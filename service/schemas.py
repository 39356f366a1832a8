"""What a request may say, as pydantic models and nothing else; replies are in ``documents``.

Values that only a model can judge (its labels, its scalars, the shape of its latents) are checked
by ``planning.plan``; here is what holds for every model. Numbers are strict: ``true`` is not 1 and
``"7"`` is not 7.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

from export.draw import SEED_LIMIT

ImageFormat = Literal["png", "jpeg", "webp", "npy"]
FixedFit = Literal["crop", "stretch", "pad"]
FreeFit = Literal["keep", "scale"]
Fit = Literal[FixedFit, FreeFit]

TEXT_CHARACTERS = 1000  # of a text; how many words of it are read is the model's

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


class ModelQuery(BaseModel):
    """What a request to any model may say.

    Unlisted fields are kept for ``planning.plan``: each must be a scalar input of the model.
    """

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"additionalProperties": {"type": "number"}}
    )

    own_scalars: ClassVar[tuple[str, ...]] = ()  # fields that are scalar inputs of a model

    version: Annotated[_Integer, Field(gt=0)] | None = Field(
        None, description="pins a version of the model; the default version when left out"
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

    @property
    def scalars(self) -> dict[str, Any]:
        """The values given for scalar inputs, by name, not yet checked."""
        given = dict(self.model_extra or {})
        for name in type(self).own_scalars:
            if (value := getattr(self, name)) is not None:
                given[name] = value
        return given


class PicturesQuery(ModelQuery):
    """What a request that is answered with pictures may say besides."""

    num_images: Annotated[_Integer, Field(ge=1)] | None = Field(
        None, description="how many pictures; 1 when left out"
    )
    quality: Annotated[_Integer, Field(ge=1, le=100)] | None = Field(
        None, description="for jpeg and webp; 90 when left out"
    )
    text: Annotated[str, Strict(), Field(max_length=TEXT_CHARACTERS)] | None = Field(
        None,
        description="what to show, for models that read a text. At least one of its words must be "
        "known to the model; the others are read as unknown, and told in the reply's header "
        "Ganymede-Unknown-Words",
    )


class GenerateQuery(PicturesQuery):
    """What the plain URL ``GET /generate/{model}.png`` takes."""

    own_scalars = ("truncation",)

    truncation: Number | None = Field(
        None, description="for models that have it; GET /models/{name} tells the range"
    )
    height: Annotated[_Integer, Field(ge=1)] | None = Field(
        None, description="in pixels, for models of free size; given together with width"
    )
    width: Annotated[_Integer, Field(ge=1)] | None = Field(
        None, description="in pixels; given together with height"
    )


class Urgency(BaseModel):
    """By when an answer is wanted, and before what."""

    timeout_s: Seconds | None = Field(
        None,
        description="seconds after which no answer is wanted; the server has a default and an "
        "upper limit. The header X-Request-Timeout says the same; the shorter counts",
    )
    priority: Literal["interactive", "bulk"] | None = Field(
        None,
        description="bulk is computed when nothing interactive waits; interactive when left out",
    )


class GenerateRequest(Urgency, GenerateQuery):
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


class ImageRequest(Urgency, ModelQuery):
    """What a request that starts from a picture takes."""

    model_config = ConfigDict(
        json_schema_extra={"additionalProperties": {"type": "number"}, "required": ["image"]}
    )

    image: Annotated[str, Strict()] | None = Field(
        None,
        description="a PNG, JPEG, WebP, BMP, TIFF or GIF (its first frame): as base64 in JSON, "
        "as the file itself in a form; it is turned as its EXIF data says",
    )
    model: Annotated[str, Strict(), Field(max_length=200)] | None = Field(
        None, description="may be left out when one is loaded or a default is set"
    )
    fit: Fit | None = Field(
        None,
        description="how the picture comes to the model's size. A model of one size: crop (cut "
        "around the centre, scaled with antialiasing; the default), stretch, or pad (scaled whole "
        "and framed by its reflection, which the reply is freed of). A model of free size: keep "
        "(refused outside its limits; the default) or scale (to the nearest size within them)",
    )


class ReadRequest(ImageRequest):
    """What ``POST /encode`` and ``POST /score`` take: one picture, one answer."""

    label: LabelValue | None = Field(
        None, description="a class by name or index; drawn from the seed when left out"
    )


class TranslateRequest(PicturesQuery, ImageRequest):
    """What ``POST /translate`` takes. Further fields are scalar inputs of the model, by name."""

    own_scalars = ("strength",)

    reference: Annotated[str, Strict()] | None = Field(
        None,
        description="a second picture, sent as `image` is, whose style the pictures get: for "
        "models whose page lists what a reference tells. It is brought to the model's size as "
        "`image` is; what else is drawn still differs from seed to seed",
    )
    strength: Number | None = Field(
        None, description="for models that have it; GET /models/{name} tells the range"
    )
    format: ImageFormat | None = Field(
        None, description="the encoding of each image; png when left out. Accept is the container"
    )
