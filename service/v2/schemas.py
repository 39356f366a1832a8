"""What a V2 request may say, as pydantic models and nothing else; replies are in ``documents``.

Members that the protocol does not name are passed over, as its clients send some of their own. The
lists stop at their first fault: a body that is nothing but faults must not cost a fault for each.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from export.manifest import Task
from service.schemas import LabelValue, Seed

Whole = Annotated[int, Strict(), Field(ge=0)]
Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]


class InputParameters(BaseModel):
    """How a tensor comes."""

    model_config = ConfigDict(extra="allow")

    binary_data_size: Whole | None = Field(
        None, description="its bytes, which follow the JSON in the order of the inputs"
    )


class RequestInput(BaseModel):
    """A tensor for an input of the graph: a row for each picture."""

    name: Text
    shape: Annotated[list[Whole], Field(max_length=16, fail_fast=True)] = Field(
        description="the first number is that of the rows"
    )
    datatype: Text = Field(description="FP32 or INT64, as GET /v2/models/{name} says")
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = Field(
        None, description="row by row, nested as the shape says or flat; not beside binary data"
    )


class OutputParameters(BaseModel):
    """How an output is wanted."""

    model_config = ConfigDict(extra="allow")

    binary_data: Flag | None = Field(None, description="behind the JSON instead of in it")


class RequestOutput(BaseModel):
    """An output that is wanted."""

    name: Text
    parameters: OutputParameters = OutputParameters()


class Parameters(BaseModel):
    """What inputs that are left out are filled from, and how the request is treated.

    Further parameters are scalar inputs of the model, by name.
    """

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"additionalProperties": {"type": "number"}}
    )

    task: Task | None = Field(
        None,
        description="which of the model's graphs answers; generate when left out, or else the "
        "model's first task",
    )
    seed: Seed | None = Field(
        None,
        description="row k of an input that is left out is drawn from seed (seed + k) mod 2^53; "
        "drawn, and told in the reply, when left out",
    )
    label: LabelValue | None = Field(None, description="the class of every row, by name or index")
    num_images: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None, description="how many rows, when no tensor says so; 1 when left out"
    )
    height: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None, description="in pixels, for models of free size; given together with width"
    )
    width: Annotated[int, Strict(), Field(ge=1)] | None = Field(None, description="in pixels")
    priority: Whole | None = Field(
        None, description="0 and 1 are interactive, 2 and more are bulk: when nothing else waits"
    )
    timeout: Whole | None = Field(
        None, description="microseconds after which no answer is wanted; 0 is the server's default"
    )
    binary_data_output: Flag = Field(
        False, description="every output behind the JSON, unless its own binary_data says otherwise"
    )


class InferRequest(BaseModel):
    """The JSON of ``POST /v2/models/{name}/infer``."""

    id: Text | None = Field(None, description="comes back in the reply")
    parameters: Parameters = Parameters()
    inputs: Annotated[list[RequestInput], Field(max_length=64, fail_fast=True)] = Field(
        default=[], description="inputs that are left out are filled from the parameters"
    )
    outputs: Annotated[list[RequestOutput], Field(max_length=64, fail_fast=True)] = Field(
        default=[], description="all, when left out"
    )


class ControlRequest(BaseModel):
    """The body of load and unload, which may be empty."""

    parameters: dict[str, Any] = Field(
        {}, description="none is read; config and file:... are refused, as a bundle brings its own"
    )


class IndexRequest(BaseModel):
    """The body of ``POST /v2/repository/index``, which may be empty."""

    ready: Flag = Field(False, description="only what is ready")
