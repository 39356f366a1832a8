"""The settings of the service: environment variables ``GANYMEDE_<FIELD>``, or arguments.

What stops the service from starting::

    StartupError
      x InvalidSetting    a setting has a value that cannot be used
      x RuntimeUnusable   ONNX Runtime is missing, installed twice, or lacks the provider
      x KeysError         the keys file cannot be used (in ``keys``)
      x StateUnreadable   the file of what operators asked for cannot be read
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.copies import copies_folder
from service.notation import Auto, Source, none_if_all, rooted, sources, split

logger = logging.getLogger(__name__)

PREFIX = "GANYMEDE_"
CudnnSearch = Literal["heuristic", "default", "exhaustive"]


class StartupError(Exception):
    """The service cannot start; the message says what to change."""


class InvalidSetting(StartupError):
    """A setting has a value that cannot be used."""


class RuntimeUnusable(StartupError):
    """ONNX Runtime is missing, installed twice, or lacks the provider."""


class StateUnreadable(StartupError):
    """The file of what operators asked for cannot be read."""


def starter_folder() -> Path:
    """The folder of the starter bundle: beside this file in a wheel, ``deploy/`` in a checkout."""
    installed = Path(__file__).parent / "starter"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "deploy" / "starter"


MiB = 2**20
LARGEST_REQUEST_BYTES = 64 * MiB  # of input: 64 pictures of 256 x 256, as float32, and some more


class ServiceConfig(BaseSettings):
    """Every setting of ``ganymede serve``; ``auto`` means that the machine decides."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid"
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 is every interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    root_path: Annotated[str, AfterValidator(rooted)] = Field(
        "", description="Path prefix that a reverse proxy strips, such as /ganymede."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, split(",")] = Field(
        ("127.0.0.1",),
        description="Addresses or networks whose X-Forwarded-* headers are believed; * is all.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, split(",")] = Field(
        (), description="Web origins that may call the service from a browser; * is all."
    )
    keys_file: Path | None = Field(
        None, description="File of API keys, made by `ganymede keys`; without it no key is needed."
    )
    metrics_open: bool = Field(
        True, description="Whether /metrics is answered without a key where there are keys."
    )
    runtime_folder: Path | None = Field(
        None, description="Folder of this service alone for what its workers share."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line that is written."
    )
    traces: bool = Field(
        False, description="Send traces as the OTEL_* variables say; needs the extra otel."
    )

    models: Annotated[tuple[Source, ...], NoDecode, sources] = Field(
        default_factory=lambda: (starter_folder(),),
        min_length=1,
        description="Folders that hold <name>/<version>/ bundles, or URLs of such (s3://..., "
        "gs://...), with the extra remote; the first that has one wins.",
    )
    default_model: str | None = Field(
        None, description="Model of a request that names none; not needed when one is loaded."
    )
    watch_s: float = Field(
        2.0, ge=0, description="Seconds between two looks for new bundles; 0 does not look."
    )
    remote_watch_s: float = Field(
        30.0, ge=0, description="Likewise at URLs, one process for all; 0 looks at the start alone."
    )
    remote_cache: Path | None = Field(
        None, description="Folder of the copies of what URLs hold; the user's cache when not given."
    )
    remote_cache_bytes: int = Field(
        20 * 1024 * MiB,
        ge=MiB,
        description="Most bytes of these copies; beyond, nothing is copied.",
    )
    state_file: Path | None = Field(
        None,
        description="Keeps what `ganymede admin` changed; .ganymede.json in the first models "
        "folder when not given.",
    )
    admin_timeout_s: float = Field(
        300.0, gt=0, description="Longest that `ganymede admin` waits for a change, in seconds."
    )

    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto",
        description="auto is CUDA where it works, else CPU; cuda and tensorrt refuse to start "
        "without.",
    )
    gpus: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...] | None,
        NoDecode,
        split(","),
        BeforeValidator(none_if_all),
    ] = Field(
        None,
        min_length=1,
        description="GPUs that each model runs on, a lane on each, such as 0,1; all is every one "
        "that CUDA_VISIBLE_DEVICES shows.",
    )
    gpu_memory_bytes: Annotated[int | None, Auto] = Field(
        None,
        ge=MiB,
        description="Most GPU memory that one graph computes in, in bytes; auto is all there is.",
    )
    cudnn_search: Annotated[CudnnSearch | None, Auto] = Field(
        None,
        description="How cuDNN finds its algorithms on CUDA: heuristic, default or exhaustive; "
        "auto measures them.",
    )
    cuda_graphs: bool = Field(
        False,
        description="Measure also with captured CUDA graphs, for models of one size; capturing "
        "disturbs what else runs on the GPU.",
    )
    tensorrt_cache: Path | None = Field(
        None,
        description="Folder where TensorRT keeps the engines that it built; without one it builds "
        "them at each start, for minutes.",
    )
    tensorrt_fp16: bool = Field(
        False,
        description="Let TensorRT compute in half precision: faster, and no longer within 1/255.",
    )
    workers: Annotated[int | None, Auto] = Field(
        None,
        ge=1,
        le=256,
        description="Processes that serve; auto is one per core, to 16, on the CPU, and 1 on CUDA.",
    )
    cores: Annotated[int | None, Auto] = Field(
        None, ge=1, description="Cores that all workers share; auto is those of the cgroup."
    )
    threads: Annotated[int | None, Auto] = Field(
        None, ge=1, description="Threads of one inference; auto is measured (cores of the cgroup)."
    )
    lanes: Annotated[int | None, Auto] = Field(
        None, ge=1, description="Inferences of one graph at once on the CPU; auto is measured."
    )
    max_batch_rows: Annotated[int | None, Auto] = Field(
        None,
        ge=1,
        le=1024,
        description="Most images in one inference; auto is measured, to 16 (CPU) or 64 (GPU).",
    )
    max_wait_s: float = Field(
        0.0, ge=0, le=10, description="Seconds that an idle model waits for company; 0 is best."
    )

    max_images: int = Field(64, ge=1, description="Most images in one request.")
    max_body_bytes: int = Field(20 * MiB, ge=1024, description="Largest request body, in bytes.")
    bodies_bytes: int = Field(
        256 * MiB, ge=1024, description="Bytes of all request bodies that are held at once."
    )
    max_upload_pixels: int = Field(
        16_000_000,
        ge=1,
        le=89_000_000,  # what Pillow itself takes for a decompression bomb begins just above
        description="Most pixels of an uploaded picture, checked before decoding.",
    )
    timeout_s: float = Field(
        30.0, gt=0, description="Deadline of a request that sets none, in seconds."
    )
    max_timeout_s: float = Field(
        300.0, gt=0, description="Longest deadline that a request may set, in seconds."
    )
    queue_images: int = Field(
        512, ge=1, description="Most images waiting for one model, in all workers together."
    )
    queue_bytes: int = Field(
        256 * MiB, ge=1024, description="Most bytes of input waiting for one model, likewise."
    )
    cache_bytes: int = Field(
        64 * MiB, ge=0, description="Most bytes of finished replies kept, likewise; 0 keeps none."
    )
    queue_s: Annotated[float | None, Auto] = Field(
        None,
        gt=0,
        description="Longest predicted wait for a model, in seconds; auto is 0.5 or 20 own runs.",
    )
    drain_s: float = Field(
        20.0, ge=0, description="Seconds given to accepted requests when the service stops."
    )

    @model_validator(mode="after")
    def _a_request_fits_the_queue(self) -> ServiceConfig:
        if self.queue_images < self.max_images:
            raise ValueError(
                f"queue_images ({self.queue_images}) must be at least max_images "
                f"({self.max_images}), or the largest request could never be accepted"
            )
        return self

    @property
    def state_path(self) -> Path:
        """Where what operators asked for is kept."""
        first = self.models[0]
        folder = first if isinstance(first, Path) else copies_folder(first, self.remote_cache)
        return self.state_file or folder / ".ganymede.json"


def load_config(**overrides: Any) -> ServiceConfig:  # noqa: ANN401
    """The settings from the environment; overrides that are not None win.

    Warns of variables with the prefix that are no setting, with the nearest name.

    Raises:
        InvalidSetting: names the variable, its value and what is allowed.
    """
    for warning in unknown_variables(os.environ):
        logger.warning(warning)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return ServiceConfig(**given)
    except ValidationError as error:
        raise InvalidSetting("\n".join(_explain(error, given))) from error


_OF_OTHERS = ("KEY", "CACHE")  # of ``ganymede admin``, and of training


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """One sentence for each variable with the prefix that is no setting."""
    known = [name.upper() for name in ServiceConfig.model_fields]
    sentences = []
    for name in sorted(environment):
        field = name.upper().removeprefix(PREFIX)
        if field != name.upper() and field not in (*known, *_OF_OTHERS):
            near = difflib.get_close_matches(field, known, n=1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            sentences.append(f"{name} is not a setting of the service and is ignored{hint}")
    return sentences


def _explain(error: ValidationError, given: Mapping[str, object]) -> list[str]:
    """One line a fault, by the name under which the user gave the value."""
    lines = []
    for fault in error.errors():
        field = str(fault["loc"][0]) if fault["loc"] else ""
        message = fault["msg"].removeprefix("Value error, ")
        if not field:
            lines.append(message)
        elif fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(field, ServiceConfig.model_fields, n=1)
            lines.append(
                f"{field} is not a setting" + (f"; did you mean {near[0]}?" if near else "")
            )
        else:
            name = field if field in given else PREFIX + field.upper()
            lines.append(f"{name}={fault['input']!r}: {message}")
    return lines
