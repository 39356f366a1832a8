"""What a reply in JSON says, as pydantic models and nothing else."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.config import CudnnSearch
from service.schemas import ImageFormat


class GeneratedImage(BaseModel):
    """One picture of a reply."""

    seed: int | None = Field(
        description="asked for alone, this seed is this picture; null when the latents were "
        "given or interpolated"
    )
    label: str | None = Field(description="the class, for models that have classes")
    data: str = Field(description="the encoded image, as base64")


class RunTiming(BaseModel):
    """Where the time of an inference went, in seconds."""

    queue_s: float
    run_s: float


class Timing(RunTiming):
    """Where this request's time went, in seconds; base64 is part of encode."""

    queue_s: float = Field(description="waiting, also for another request's reply")
    encode_s: float
    cached: bool = Field(description="made for another request, hence neither run nor encoded")


class GenerateReply(BaseModel):
    """The reply of ``POST /generate`` and ``POST /translate`` as ``application/json``."""

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


class _ReadReply(BaseModel):
    """What a model says of a picture."""

    model: str
    version: int
    seed: int
    label: str | None = Field(description="the class, for models that have classes")
    parameters: dict[str, float] = Field(description="every scalar input, as it was used")
    timing: RunTiming


class EncodeReply(_ReadReply):
    """The reply of ``POST /encode`` as ``application/json``."""

    shape: list[int]
    vector: list[Any] = Field(description="numbers, nested as the shape says")


class ScoreReply(_ReadReply):
    """The reply of ``POST /score``."""

    score: float
    scores: dict[str, float] = Field(
        description="every score that the model gives, by name; `score` is the first"
    )


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
    notice: str | None = Field(
        description="says when the chosen default version is not there, and what answers meanwhile"
    )
    ready: bool
    default: bool = Field(description="answers when a request names no model")
    tasks: list[str]
    description: str
    classes: list[str] | None
    texts: list[str] | None = Field(None, description="examples, for models that read a text")
    reference: list[str] = Field(
        description="the latents that a picture sent to POST /translate as `reference` tells in "
        "the place of the seed; none where the model takes no reference"
    )
    scalars: dict[str, dict[str, float]]
    preview: str | None = Field(description="the path of a picture of its pictures")
    licence: str


class ModelList(BaseModel):
    """The reply of ``GET /models``."""

    models: list[ModelCard]
    limits: dict[str, int]


class _Lanes(BaseModel):
    """How runs share the device."""

    lanes: int = Field(description="runs at once; on GPUs, one on each")
    threads: int = Field(description="of each run, on the CPU")
    cudnn_search: CudnnSearch | None = Field(description="how cuDNN finds its algorithms, on CUDA")
    cuda_graphs: bool = Field(description="whether kernels are replayed from a captured graph")


class RunCost(_Lanes):
    """What one run takes, as it was measured at load; what is in use is refined since."""

    row_elements: int = Field(description="numbers in the inputs of a row; grows with its pixels")
    rows: int
    seconds: float


class Schedule(_Lanes):
    """How one graph of a model is run on this machine, while requests wait."""

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
