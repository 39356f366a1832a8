"""Which device is used, and when the service refuses to start, with stand-ins for CUDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service import session as session_module
from service.config import RuntimeUnusable
from service.session import OrtSession, choose_provider
from tests.tiny import tiny_bundle


class Quiet:
    """A session that was asked for CUDA, could not load it, and says nothing of it."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


class Working(Quiet):
    """A session on a GPU."""

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def run(self, outputs: None, feed: dict[str, Any]) -> list[Any]:
        return list(feed.values())


class Failing(Working):
    """A session on a GPU that its library was not built for."""

    def run(self, outputs: None, feed: dict[str, Any]) -> list[Any]:
        raise RuntimeError("no kernel image is available")


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX Runtime that lists CUDA, as that for GPUs does also where there is none."""
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("failed to load"))


def test_without_a_gpu_build_auto_is_the_cpu_and_cuda_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = ["CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    assert choose_provider("auto") == "cpu"
    with pytest.raises(RuntimeUnusable, match=r"pip install 'onnxruntime-gpu"):
        choose_provider("cuda")


@pytest.mark.usefixtures("gpu_build")
@pytest.mark.parametrize(("session", "words"), [(Quiet, "nvidia-smi"), (Failing, "kernel image")])
def test_a_gpu_build_without_a_gpu_is_the_cpu_or_a_refusal(
    session: type[Quiet],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ort, "InferenceSession", session)
    assert choose_provider("auto") == "cpu"
    assert choose_provider("cpu") == "cpu"
    with pytest.raises(RuntimeUnusable, match=words) as refusal:
        choose_provider("cuda")
    assert "GANYMEDE_PROVIDER=cpu" in str(refusal.value)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("gpu_build")
def test_cuda_that_works_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "InferenceSession", Working)
    assert choose_provider("auto") == "cuda"
    assert choose_provider("cuda") == "cuda"


def test_the_probe_is_a_graph_that_runs() -> None:
    session = ort.InferenceSession(session_module._PROBE, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones(1, np.float32)})[0].tolist() == [-1]


def test_cuda_that_is_lost_after_the_start_is_no_silent_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_bundle(tmp_path)
    graph = tiny.manifest.graph("generate")
    monkeypatch.setattr(ort, "InferenceSession", Quiet)
    with pytest.raises(RuntimeUnusable, match="CUDA stopped working"):
        OrtSession(
            graph, tiny.file(graph.onnx), tiny.manifest.size, provider="cuda", bucket_rows=(1,)
        )


@pytest.mark.parametrize("asked", ["auto", "cpu", "cuda"])
def test_two_onnx_runtimes_are_refused_with_the_repair(
    asked: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "version", lambda distribution: "1.31.1")
    with pytest.raises(RuntimeUnusable, match="pip uninstall --yes onnxruntime onnxruntime-gpu"):
        choose_provider(asked)
