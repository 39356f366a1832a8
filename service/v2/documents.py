"""What a V2 reply says, as pydantic models and nothing else."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class V2Error(BaseModel):
    """Every refusal below ``/v2``."""

    error: str = Field(description="says what to change")


class V2Live(BaseModel):
    """The reply of ``GET /v2/health/live``."""

    live: bool


class V2Ready(BaseModel):
    """The reply of ``GET /v2/health/ready``: the protocol says live, and its clients read ready."""

    live: bool
    ready: bool


class V2ModelReady(BaseModel):
    """The reply of ``GET /v2/models/{name}/ready``."""

    name: str
    ready: bool


class V2Server(BaseModel):
    """The reply of ``GET /v2``."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or output; -1 is free: the rows, and what follows the size of the pictures."""

    name: str
    datatype: str
    shape: list[int]


class V2Model(BaseModel):
    """The reply of ``GET /v2/models/{name}``: of the graph that answers when no task is named."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata] = Field(description="what GET .../config calls optional may lack")
    outputs: list[TensorMetadata]


class ConfigTensor(BaseModel):
    """An input or output as a configuration tells it: without the axis of the rows."""

    name: str
    data_type: str
    dims: list[int]
    optional: bool | None = None


class PriorityBatching(BaseModel):
    """How requests come together."""

    max_queue_delay_microseconds: int
    priority_levels: int
    default_priority_level: int


class V2Config(BaseModel):
    """The reply of ``GET /v2/models/{name}/config``."""

    name: str
    platform: str
    backend: str
    max_batch_size: int = Field(description="most rows in one request")
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    dynamic_batching: PriorityBatching
    default_model_filename: str
    parameters: dict[str, dict[str, str]] = Field(description="the tasks, and the one by default")


class Duration(BaseModel):
    """How often, and for how long in all."""

    count: int
    ns: int


class InferStatistics(BaseModel):
    """Requests; putting together and handing out are not timed apart from ``compute_infer``."""

    success: Duration
    fail: Duration = Field(description="also what was refused, expired, or withdrawn")
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class BatchStatistics(BaseModel):
    """Batches of one size."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(BaseModel):
    """One version of a model since it was loaded, by whatever route it was asked."""

    name: str
    version: str
    last_inference: int = Field(description="in ms since 1970; 0 for never")
    inference_count: int = Field(description="rows that were answered")
    execution_count: int = Field(description="batches")
    inference_stats: InferStatistics
    batch_stats: list[BatchStatistics]


class V2Statistics(BaseModel):
    """The reply of the statistics pages; of several workers, about the one that answered."""

    model_stats: list[ModelStatistics]


class IndexEntry(BaseModel):
    """A version of a model, in the reply of ``POST /v2/repository/index``."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class ResponseOutput(BaseModel):
    """A tensor of a reply."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = Field(None, description="binary_data_size, when binary")
    data: list[Any] | None = Field(None, description="row by row, flat")


class InferResponse(BaseModel):
    """The JSON of the reply of ``POST /v2/models/{name}/infer``."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, int] | None = Field(
        None, description="seed, when an input was drawn: sent again, the answer is the same"
    )
    outputs: list[ResponseOutput]
