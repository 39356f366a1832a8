"""What ``/v1`` answers, as pydantic models and nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

FaultKind = Literal["invalid_request_error", "rate_limit_error", "server_error"]


class OpenAIImage(BaseModel):
    """One picture."""

    b64_json: str = Field(description="the encoded image, as base64")
    revised_prompt: str | None = Field(
        description="the class, by its name as the model has it; null where a text was read"
    )
    seed: int = Field(description="asked for alone, this seed is this picture; an extension")


class OpenAIImages(BaseModel):
    """The reply of ``POST /v1/images/generations``."""

    created: int = Field(description="in seconds since 1970")
    output_format: Literal["png", "jpeg", "webp"]
    size: str = Field(description="width x height")
    data: list[OpenAIImage]


class OpenAIModel(BaseModel):
    """A model that takes a prompt."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="when it was exported, in seconds since 1970")
    owned_by: Literal["ganymede"] = "ganymede"
    classes: list[str] = Field(
        description="what a prompt may be, empty where it may be any text; an extension"
    )


class OpenAIModels(BaseModel):
    """The reply of ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class OpenAIFault(BaseModel):
    """Why a request was refused."""

    message: str = Field(description="says what to change")
    type: FaultKind
    param: str | None = Field(description="the field that is wrong, if it is one")
    code: str = Field(description="a stable name to branch on")


class OpenAIError(BaseModel):
    """Every refusal below ``/v1`` looks like this."""

    error: OpenAIFault
