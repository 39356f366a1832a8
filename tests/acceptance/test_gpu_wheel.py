"""The real onnxruntime-gpu on a machine without a GPU: it serves on the CPU, or says why it cannot.

An environment is made with the wheel (250 MB) and without NVIDIA's libraries.
``GANYMEDE_GPU_ENVIRONMENT`` names a folder where it is kept for the next time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest

from service.onnx_runtime.probing import visible_gpus
from tests.deploy.dashboards import ROOT

pytestmark = pytest.mark.acceptance

WITHIN_S = 120
INSTALL_S = 1200


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )


def install(python: Path, *options: str | Path) -> None:
    """Install with pip, or skip what needs it."""
    done = run(python, "-m", "pip", "install", "--quiet", *options)
    if done.returncode:
        pytest.skip(f"pip cannot install {' '.join(map(str, options))}: {done.stderr[-500:]}")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with Ganymede and onnxruntime-gpu."""
    if visible_gpus():
        pytest.skip("this machine has a GPU: see python -m bench.cuda")
    kept = os.environ.get("GANYMEDE_GPU_ENVIRONMENT")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("gpu") / "environment"
    interpreter = folder / "bin" / "python"
    if not interpreter.exists() and run(sys.executable, "-m", "venv", folder).returncode:
        pytest.skip("python -m venv cannot make an environment here")
    wheel = f"onnxruntime-gpu=={version('onnxruntime')}"
    install(interpreter, "--constraint", ROOT / "constraints.txt", wheel, ROOT)
    return interpreter


def serve(python: Path, provider: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-m", "ganymede", "serve", "--provider", provider, "--port", "0"],
        env=os.environ | {"PYTHONSAFEPATH": "1"},  # the installed one, not this checkout
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_asked_for_and_not_there_is_one_line_and_no_service(
    python: Path, provider: str
) -> None:
    with serve(python, provider) as process:
        out, log = process.communicate(timeout=WITHIN_S)
    assert process.returncode != 0
    assert out == ""
    assert f"provider {provider} was asked for, but there is no NVIDIA driver here" in log
    assert "GANYMEDE_PROVIDER=cpu" in log
    assert "Traceback" not in log
    print(log.splitlines()[-1])


def test_auto_serves_on_the_cpu_and_says_why(python: Path) -> None:
    with serve(python, "auto") as process:
        assert process.stdout
        assert process.stderr
        try:
            serves = process.stdout.readline()
            root = re.search(r"http://\S+", serves)
            assert root, process.stderr.read()
            with urllib.request.urlopen(f"{root[0]}/generate/fashion.png?seed=1", timeout=60) as it:
                assert it.read(8) == b"\x89PNG\r\n\x1a\n"
        finally:
            process.terminate()
        log = process.stderr.read()
    assert "provider auto is the CPU: there is no NVIDIA driver here" in log


def test_missing_libraries_are_named(python: Path) -> None:
    program = """
from service.onnx_runtime import probing
probing.visible_gpus = lambda: 1
try:
    probing.choose_provider("cuda")
except probing.RuntimeUnusable as refusal:
    print(refusal)
"""
    done = run(python, "-c", program)
    assert re.search(r"libraries are missing: lib\S+\.so.*\[cuda,cudnn\]", done.stdout), done.stderr
    assert done.stderr == ""  # ONNX Runtime's own lines would say it again
    print(done.stdout)


def test_both_wheels_are_refused_with_the_repair(python: Path, tmp_path: Path) -> None:
    other = f"onnxruntime=={version('onnxruntime')}"
    install(python, "--no-deps", "--target", tmp_path, other)
    done = run(
        python,
        "-c",
        "from service.onnx_runtime.probing import choose_provider; choose_provider('auto')",
        PYTHONPATH=str(tmp_path),
    )
    assert "onnxruntime and onnxruntime-gpu are both installed" in done.stderr
    assert "pip uninstall --yes onnxruntime onnxruntime-gpu" in done.stderr
