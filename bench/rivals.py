"""The other servers: their programs are in ``peers/``, each with one setting for all its loads.

The settings were chosen from one run of a second each, at 1, 8 and 64 clients and with 16 images a
request, on a machine with other work; FastAPI's at both sizes, the others' at 32x32. What lost
there is not always worse:

- mosec: batches of 16 and 1 ms. Batches of 8 did better at 8 clients and with 16 images a request,
  worse at 64; batches of 32 and 2 ms did worse at 1 and 8.
- LitServe: batches of 16 and ``fast_queue``. Without batches it did better at 1 client only.
- FastAPI: no thread pool, one thread of ONNX Runtime. Two threads did better at 64x64 for 1
  client, worse for 8.
- TorchServe: batches of 16 and 1 ms, its log and metrics quiet, after a warm-up. Batches of 8, and
  of 32 with 5 ms, did worse; what the quiet log gains was not measured apart from the warm-up.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import pictures
from bench.command import BenchError
from bench.environments import Environment
from bench.loads import MANY, SERVER_LOADS, Attack, Load, Served, Unavailable
from bench.processes import first_post, free_port, process
from bench.servers import OverHttp
from service.threads import usable_cores

PROGRAMS = Path(__file__).parent / "peers"
WARM_UP_S = 3  # Java compiles what is run often

MOSEC = Environment("mosec", ("mosec==0.9.8",))
LITSERVE = Environment("litserve", ("litserve==0.2.19",))
TORCHSERVE = Environment(
    "torchserve",
    ("torchserve==0.12.0", "torch-model-archiver==0.12.0", "pyyaml==6.0.3", "torch==2.13.0"),
)


@dataclass(frozen=True)
class Start:
    """How a server is started; its port is free, ``folder`` holds ``model.json`` and is its own."""

    command: list[str]
    ready: str  # URLs
    generate: str
    environment: Mapping[str, str]


Starter = Callable[[Path, int], Start]
"""From the folder and the port."""


@dataclass(frozen=True)
class Rival:
    """A server that answers ``{"seed", "num_images"}`` with ``{"images": [base64 PNG]}``."""

    name: str
    starter: Starter
    loads: tuple[Load, ...] = SERVER_LOADS

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        """One server with one model, checked to draw what Ganymede draws, and warm."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "model.json").write_text(json.dumps(_description(model)))
            start = self.starter(folder, free_port())
            common = {
                "BENCH_MODEL": str(folder / "model.json"),
                "BENCH_WORKERS": str(usable_cores()),
                "PYTHONPATH": str(PROGRAMS),
            }
            with process(start.command, start.ready, {**common, **start.environment}):
                pictures.check(first_post(start.generate, pictures.CHECKED, pictures.SEED), model)
                OverHttp(start.generate)(MANY, WARM_UP_S)
                yield OverHttp(start.generate)


def _description(model: Served) -> dict[str, object]:
    """What ``peers/generator.py`` reads."""
    latent, scalars, image = pictures.roles(model.graph)
    return {
        "onnx": str(model.onnx.resolve()),
        "latent": latent.name,
        "shape": list(latent.shape),
        "scalars": scalars,
        "image": image,
    }


def mosec(folder: Path, port: int) -> Start:
    """Its queue holds 1024 requests, and 3 s is its timeout: both as they come."""
    root = f"http://127.0.0.1:{port}"
    command = [str(MOSEC.prepare() / "python"), str(PROGRAMS / "mosec_server.py")]
    command += ["--address", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    return Start(command, f"{root}/", f"{root}/inference", {"TMPDIR": str(folder)})


def litserve(folder: Path, port: int) -> Start:
    """Batches of what is there: it waits for nothing."""
    root = f"http://127.0.0.1:{port}"
    command = [str(LITSERVE.prepare() / "python"), str(PROGRAMS / "litserve_server.py"), str(port)]
    return Start(command, f"{root}/health", f"{root}/generate", {})


def fastapi(folder: Path, port: int) -> Start:
    """In this environment: FastAPI and uvicorn are what the service uses too."""
    root = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(PROGRAMS / "fastapi_server.py"), str(port)]
    return Start(command, f"{root}/health", f"{root}/generate", {})


def torchserve(folder: Path, port: int) -> Start:
    """From an archive of the graph; the log and the metrics as quiet as they can be set.

    Raises:
        Unavailable: Java or the packages are missing.
    """
    if shutil.which("java") is None:
        raise Unavailable("there is no java: apt-get install openjdk-17-jre-headless")
    programs = TORCHSERVE.prepare()
    description = json.loads((folder / "model.json").read_text())
    shutil.copy(description["onnx"], folder)
    archived = {**description, "onnx": Path(description["onnx"]).name}
    (folder / "model.json").write_text(json.dumps(archived))
    (folder / "model-config.yaml").write_text(_TORCHSERVE_MODEL.format(cores=usable_cores()))
    (folder / "log4j2.xml").write_text(_TORCHSERVE_LOG)
    ports = {f"port{k}": free_port() for k in range(4)}
    config = _TORCHSERVE_CONFIG.format(port=port, folder=folder, **ports)
    (folder / "config.properties").write_text(config)
    archive = [str(programs / "torch-model-archiver"), "--model-name", "generate"]
    archive += ["--version", "1", "--serialized-file", str(folder / archived["onnx"])]
    archive += ["--handler", str(PROGRAMS / "torchserve_handler.py")]
    archive += ["--extra-files", f"{PROGRAMS / 'generator.py'},{folder / 'model.json'}"]
    archive += ["--config-file", str(folder / "model-config.yaml"), "--export-path", str(folder)]
    archived_well = subprocess.run(archive, capture_output=True, text=True)
    if archived_well.returncode:
        raise BenchError(f"torch-model-archiver failed: {archived_well.stderr[-500:]}")
    command = [str(programs / "torchserve"), "--start", "--foreground", "--ncs"]
    command += ["--disable-token-auth", "--ts-config", str(folder / "config.properties")]
    command += ["--log-config", str(folder / "log4j2.xml")]
    places = ("LOG_LOCATION", "METRICS_LOCATION", "TEMP")
    environment = {place: str(folder) for place in places}
    environment["PATH"] = f"{programs}:/usr/local/bin:/usr/bin:/bin"
    url = f"http://127.0.0.1:{port}/predictions/generate"
    return Start(command, f"http://127.0.0.1:{port}/ping", url, environment)


_TORCHSERVE_MODEL = """
minWorkers: {cores}
maxWorkers: {cores}
batchSize: 16
maxBatchDelay: 1
responseTimeout: 30
"""

_TORCHSERVE_CONFIG = """
inference_address=http://127.0.0.1:{port}
management_address=http://127.0.0.1:{port0}
metrics_address=http://127.0.0.1:{port1}
grpc_inference_address=127.0.0.1
grpc_management_address=127.0.0.1
grpc_inference_port={port2}
grpc_management_port={port3}
model_store={folder}
load_models=generate.mar
disable_token_authorization=true
metrics_mode=prometheus
number_of_netty_threads=2
job_queue_size=1000
"""

_TORCHSERVE_LOG = """
<Configuration status="error">
  <Appenders><Console name="console"/></Appenders>
  <Loggers><Root level="error"><AppenderRef ref="console"/></Root></Loggers>
</Configuration>
"""

RIVALS = (
    Rival("mosec", mosec),
    Rival("litserve", litserve),
    Rival("fastapi", fastapi),
    Rival("torchserve", torchserve),
)
