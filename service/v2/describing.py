"""What the V2 pages tell of models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from export.manifest import Image, Input, Output, Size, Text
from service import __version__
from service.admin import AdminVersion, admin_models
from service.config import ServiceConfig
from service.model import Model
from service.repository import Repository
from service.tally import Tally, Total
from service.v2.datatypes import tensor_type
from service.v2.documents import (
    BatchStatistics,
    ConfigTensor,
    Duration,
    IndexEntry,
    InferStatistics,
    ModelStatistics,
    PriorityBatching,
    TensorMetadata,
    V2Config,
    V2Model,
    V2Server,
    V2Statistics,
)
from service.v2.inferring import default_task

EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)
_NONE = Duration(count=0, ns=0)


def server() -> V2Server:
    """The service itself."""
    return V2Server(name="ganymede", version=__version__, extensions=list(EXTENSIONS))


def metadata(model: Model, versions: Sequence[int]) -> V2Model:
    """The tensors of a model."""
    manifest = model.manifest
    graph = manifest.graph(default_task(manifest))
    return V2Model(
        name=manifest.name,
        versions=[str(version) for version in versions],
        platform="onnx_onnxv1",
        inputs=[_tensor(entry, manifest.size) for entry in graph.inputs],
        outputs=[_tensor(entry, manifest.size) for entry in graph.outputs],
    )


def configuration(model: Model, config: ServiceConfig) -> V2Config:
    """How a model is asked and run, in the words of Triton's configuration."""
    manifest = model.manifest
    task = default_task(manifest)
    graph = manifest.graph(task)
    told = {"task": task, "tasks": ",".join(manifest.tasks), "provider": model.provider}
    return V2Config(
        name=manifest.name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=config.max_images,
        input=[_config_tensor(entry, manifest.size) for entry in graph.inputs],
        output=[_config_tensor(entry, manifest.size) for entry in graph.outputs],
        dynamic_batching=PriorityBatching(
            max_queue_delay_microseconds=round(config.max_wait_s * 1e6),
            priority_levels=2,
            default_priority_level=1,
        ),
        default_model_filename=graph.onnx,
        parameters={name: {"string_value": value} for name, value in told.items()},
    )


def statistics(models: Iterable[Model]) -> V2Statistics:
    """What models have done since they were loaded."""
    return V2Statistics(model_stats=[_statistics(model) for model in models])


def index(repository: Repository, *, ready_only: bool) -> list[IndexEntry]:
    """Every version in the folders: those that serve, those that cannot, and those that shall not.

    Of two folders with the same version, the one that counts.
    """
    entries = [
        _index_entry(repository, model.name, version)
        for model in admin_models(repository).models
        for version in model.versions
        if version.state != "superseded"
    ]
    return [entry for entry in entries if entry.state == "READY" or not ready_only]


def _index_entry(repository: Repository, name: str, version: AdminVersion) -> IndexEntry:
    model = repository.catalogue.find((name, version.version))
    return IndexEntry(
        name=name,
        version=str(version.version),
        state="READY" if model is not None and model.alive else "UNAVAILABLE",
        reason=version.reason or ("" if model else version.state),
    )


def _tensor(entry: Input | Output, size: Size) -> TensorMetadata:
    datatype, shape = tensor_type(entry, size)
    return TensorMetadata(name=entry.name, datatype=datatype, shape=[-1, *_dims(shape)])


def _config_tensor(entry: Input | Output, size: Size) -> ConfigTensor:
    datatype, shape = tensor_type(entry, size)
    is_input = hasattr(entry, "role")
    return ConfigTensor(
        name=entry.name,
        data_type=f"TYPE_{datatype}",
        dims=_dims(shape),
        optional=not isinstance(entry, Image | Text) if is_input else None,
    )


def _dims(shape: Sequence[int | None]) -> list[int]:
    return [-1 if side is None else side for side in shape]


def _statistics(model: Model) -> ModelStatistics:
    tallies = [engine.tally for engine in model.engines.values()]
    batches: dict[int, list[Total]] = {}
    for tally in tallies:
        for rows, total in tally.batches.items():
            batches.setdefault(rows, []).append(total)
    return ModelStatistics(
        name=model.manifest.name,
        version=str(model.manifest.version),
        last_inference=round(max(tally.last_unix_s for tally in tallies) * 1000),
        inference_count=sum(tally.rows for tally in tallies),
        execution_count=sum(total.count for totals in batches.values() for total in totals),
        inference_stats=_requests(tallies),
        batch_stats=[
            BatchStatistics(
                batch_size=rows,
                compute_input=_NONE,
                compute_infer=_duration(totals),
                compute_output=_NONE,
            )
            for rows, totals in sorted(batches.items())
        ],
    )


def _requests(tallies: Sequence[Tally]) -> InferStatistics:
    return InferStatistics(
        success=_duration([tally.succeeded for tally in tallies]),
        fail=_duration([tally.failed for tally in tallies]),
        queue=_duration([tally.queued for tally in tallies]),
        compute_input=_NONE,
        compute_infer=_duration([tally.ran for tally in tallies]),
        compute_output=_NONE,
    )


def _duration(totals: Sequence[Total]) -> Duration:
    seconds = sum(total.seconds for total in totals)
    return Duration(count=sum(total.count for total in totals), ns=round(seconds * 1e9))
