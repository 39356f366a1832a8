"""Which device is used, and when the service refuses to start, with stand-ins for the GPU."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.config import InvalidSetting, RuntimeUnusable, ServiceConfig, load_config
from service.onnx_runtime import probing
from service.onnx_runtime.probing import choose_provider, used_gpus, visible_gpus
from service.onnx_runtime.providers import Gpu, execution_providers
from service.session import OrtSession
from tests.tiny import tiny_bundle


class Driver:
    """NVIDIA's driver, as ctypes sees it."""

    def __init__(self, gpus: int, status: int = 0) -> None:
        self._gpus, self._status = gpus, status

    def cuInit(self, flags: int) -> int:
        return self._status

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: ANN401
        count._obj.value = self._gpus
        return 0


class Quiet:
    """A session that was asked for a GPU, could not load it, and says nothing of it."""

    chains: list[list[tuple[str, dict[str, str]]]]

    def __init__(self, *args: object, providers: Any, **kwargs: object) -> None:  # noqa: ANN401
        assert kwargs["enable_fallback"] is False
        self.chains.append(providers)

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


class Working(Quiet):
    """A session on a GPU."""

    def get_providers(self) -> list[str]:
        return [name for name, _ in self.chains[-1]]

    def run(self, outputs: None, feed: dict[str, Any]) -> list[Any]:
        return list(feed.values())


class Failing(Working):
    """A session on a GPU that its library was not built for."""

    def run(self, outputs: None, feed: dict[str, Any]) -> list[Any]:
        raise RuntimeError("no kernel image is available")


def without_tensorrt(self: Working) -> list[str]:
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """An ONNX Runtime for GPUs, which lists them also where there is none, and a driver."""

    def make(session: type[Quiet] = Working, gpus: int | None = 1, prints: str = "") -> None:
        listed = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
        monkeypatch.setattr(ort, "preload_dlls", lambda: print(prints))
        monkeypatch.setattr(probing, "visible_gpus", lambda: gpus)
        monkeypatch.setattr(session, "chains", [], raising=False)
        monkeypatch.setattr(ort, "InferenceSession", session)
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")
        monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")

    return make


def test_without_a_gpu_build_auto_is_the_cpu_and_cuda_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = ["CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    assert choose_provider("auto") == "cpu"
    for asked in ("cuda", "tensorrt"):
        with pytest.raises(RuntimeUnusable, match=r"pip install 'onnxruntime-gpu") as refusal:
            choose_provider(asked)
        assert str(refusal.value).startswith(f"provider {asked} was asked for")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"gpus": None}, "no NVIDIA driver here"),
        ({"gpus": 0}, "shows no GPU .*CUDA_VISIBLE_DEVICES"),
        ({"session": Quiet}, "GPU 0 cannot be used: its libraries could not be loaded"),
        (
            {"session": Quiet, "prints": "Failed to load /a/libcublas.so.13: x\nFailed to load "
             "libcudnn.so.9: libcudnn.so.9: cannot open"},
            "libraries are missing: libcublas.so.13, libcudnn.so.9",
        ),
        ({"session": Failing}, "GPU 0 cannot be used: it failed to run: no kernel image"),
    ],
)  # fmt: skip
def test_a_gpu_build_without_a_gpu_is_the_cpu_or_a_refusal(
    machine: Machine, state: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(**state)
    assert choose_provider("auto") == "cpu"
    assert choose_provider("cpu") == "cpu"
    with pytest.raises(RuntimeUnusable, match=words) as refusal:
        choose_provider("cuda")
    assert "GANYMEDE_PROVIDER=cpu" in str(refusal.value)
    assert capsys.readouterr().out == ""


def test_cuda_that_works_is_used_and_every_gpu_is_tried(machine: Machine) -> None:
    machine(gpus=3)
    assert choose_provider("auto") == "cuda"
    assert [chain[0][1]["device_id"] for chain in Working.chains] == ["0", "1", "2"]
    Working.chains.clear()
    assert choose_provider("cuda", [2]) == "cuda"
    assert [chain[0][1]["device_id"] for chain in Working.chains] == ["2"]


@pytest.mark.parametrize("asked", ["auto", "cuda", "tensorrt"])
def test_a_gpu_that_is_named_and_not_there_is_refused(
    machine: Machine,
    asked: Any,  # noqa: ANN401
) -> None:
    machine(gpus=2)
    with pytest.raises(RuntimeUnusable, match=r"no GPU 2: the NVIDIA driver shows 2, counted from"):
        choose_provider(asked, [0, 2])


def test_tensorrt_is_used_only_when_asked_for_and_never_replaced(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine()
    assert choose_provider("tensorrt") == "tensorrt"
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"  # which ONNX Runtime has no option for
    monkeypatch.setattr(Working, "get_providers", without_tensorrt)
    with pytest.raises(RuntimeUnusable, match=r"could not be loaded.*pip install tensorrt"):
        choose_provider("tensorrt")
    assert choose_provider("auto") == "cuda"


def test_the_driver_is_asked_how_many_gpus_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    for gpus in (0, 1, 8):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, gpus=gpus: Driver(gpus))
        assert visible_gpus() == gpus
    assert used_gpus(None) == tuple(range(8))
    assert used_gpus([3, 1]) == (3, 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(8, status=100))
    assert visible_gpus() == 0
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert visible_gpus() is None


def test_the_probe_is_a_graph_that_runs() -> None:
    session = ort.InferenceSession(probing._PROBE, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones(1, np.float32)})[0].tolist() == [-1]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_lost_after_the_start_is_no_silent_fallback(
    machine: Machine,
    tmp_path: Path,
    provider: Any,  # noqa: ANN401
) -> None:
    tiny = tiny_bundle(tmp_path)
    graph = tiny.manifest.graph("generate")
    machine(Quiet)
    with pytest.raises(RuntimeUnusable, match=f"{provider} stopped working"):
        OrtSession(
            graph, tiny.file(graph.onnx), tiny.manifest.size, provider=provider, bucket_rows=(1,)
        )


@pytest.mark.parametrize("asked", ["auto", "cpu", "cuda", "tensorrt"])
def test_two_onnx_runtimes_are_refused_with_the_repair(
    asked: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probing, "version", lambda distribution: "1.31.1")
    with pytest.raises(RuntimeUnusable, match="pip uninstall --yes onnxruntime onnxruntime-gpu"):
        choose_provider(asked)


# --- What ONNX Runtime is told. ---


def test_on_cuda_pictures_stay_exact_and_the_arena_does_not_grow_without_bound() -> None:
    [(name, options), (last, _)] = execution_providers("cuda", Gpu(index=1))
    assert (name, last) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options == {
        "device_id": "1",
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
        "enable_cuda_graph": "0",
    }
    set_otherwise = Gpu(cudnn_search="exhaustive", cuda_graphs=True, memory_bytes=2**30)
    [(_, options), _] = execution_providers("cuda", set_otherwise)
    assert options["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert options["enable_cuda_graph"] == "1"
    assert options["gpu_mem_limit"] == "1073741824"


def test_tensorrt_is_full_precision_unless_told_and_keeps_its_engines() -> None:
    gpu = Gpu(index=2, memory_bytes=2**30, engines=Path("cache"))
    [(name, options), (second, _), (last, _)] = execution_providers("tensorrt", gpu)
    assert (name, second, last) == (
        "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider",
    )  # fmt: skip
    assert options == {
        "device_id": "2",
        "trt_fp16_enable": "0",
        "trt_max_workspace_size": "1073741824",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "cache",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "cache",
    }
    [(_, options), *_] = execution_providers("tensorrt", Gpu(fp16=True))
    assert options == {"device_id": "0", "trt_fp16_enable": "1"}


@pytest.mark.parametrize(
    ("given", "expected"), [("all", None), ("0", (0,)), ("1, 0", (1, 0)), (None, None)]
)
def test_gpus_are_all_or_a_list(
    given: str | None, expected: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        monkeypatch.setenv("GANYMEDE_GPUS", given)
    assert ServiceConfig().gpus == expected


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("gpus", "-1", "greater than or equal to 0"),
        ("gpus", "first", "valid integer"),
        ("gpus", ",", "at least 1 item"),
        ("cudnn_search", "fast", "'heuristic', 'default' or 'exhaustive'"),
        ("gpu_memory_bytes", "1", "greater than or equal to 1048576"),
    ],
)
def test_settings_of_gpus_that_cannot_be_are_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{name}=.*{says}"):
        load_config(**{name: value})


def test_what_is_measured_is_left_open_by_auto() -> None:
    config = load_config(cudnn_search="auto", gpu_memory_bytes="auto")
    assert (config.cudnn_search, config.gpu_memory_bytes) == (None, None)
