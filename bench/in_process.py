"""The limit: ONNX Runtime in a loop, with nothing around it, in as many processes as are useful.

With pictures it also does what an answer needs at least: PNG by Pillow at level 1, and base64.
``python -m bench.in_process`` is one of the processes: it takes a job a line, and answers a line.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from bench.command import BenchError
from bench.loads import Attack, Load, Outcome, Served
from export.bundle import load_bundle
from export.rows import Rows, sizes, varied_rows
from service.threads import usable_cores

TRIAL_S = 0.3


@dataclass(frozen=True)
class InProcess:
    """ONNX Runtime in a loop; a request is a batch."""

    pictures: bool

    @property
    def name(self) -> str:
        """In a table."""
        return "ONNX Runtime, PNG, base64" if self.pictures else "ONNX Runtime"

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        """Processes, idle until there is a job for them."""
        cores = usable_cores()
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(_process(model)) for _ in range(cores)]

            def attack(load: Load, seconds: float) -> Outcome:
                chosen = processes[: load.limit_processes(cores)]
                rows = load.limit_rows(cores)
                job = {
                    "rows": rows,
                    "seconds": seconds,
                    "threads": sorted({1, cores // len(chosen)}),
                    "pictures": self.pictures,
                }
                return _outcome(rows, _ask(chosen, job))

            yield attack


@contextlib.contextmanager
def _process(model: Served) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.in_process", str(model.onnx.parent)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,  # Ctrl-C is for the measurement, which stops them
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _ask(processes: list[subprocess.Popen[str]], job: dict[str, Any]) -> list[dict[str, Any]]:
    """Warm all of them up, start all at once, and collect."""
    answers: list[str] = []
    for order in ({**job, "warm": True}, {**job, "warm": False}):
        answers.clear()
        for process in processes:
            assert process.stdin
            process.stdin.write(json.dumps(order) + "\n")
        for process in processes:
            assert process.stdout
            answers.append(process.stdout.readline())
        if not all(answers):
            raise BenchError("a process of the in-process limit ended: see its message above")
    return [json.loads(answer) for answer in answers]


def _outcome(rows: int, answers: list[dict[str, Any]]) -> Outcome:
    seconds = np.concatenate([answer["seconds"] for answer in answers])
    rate = sum(len(answer["seconds"]) / answer["total_s"] for answer in answers)
    return Outcome(
        requests_per_s=rate,
        images_per_s=rate * rows,
        p50_ms=float(np.percentile(seconds, 50)) * 1000,
        p99_ms=float(np.percentile(seconds, 99)) * 1000,
        requests=len(seconds),
        errors=0,
    )


# --- Inside such a process. ---


class Worker:
    """Sessions of one graph by their number of threads, set up as the service sets them up."""

    def __init__(self, bundle: Path) -> None:
        manifest = load_bundle(bundle).manifest
        graph = manifest.graph("generate")
        self.path = bundle / graph.onnx
        self.image = next(output.name for output in graph.outputs if output.kind == "image")
        self.inputs, self.size = graph.inputs, sizes(manifest.size)[0]
        self.sessions: dict[int, onnxruntime.InferenceSession] = {}
        self.fastest: dict[tuple[int, bool], int] = {}

    def work(self, rows: int, threads: int, pictures: bool, seconds: float) -> list[float]:
        """The time of each batch, in seconds."""
        feed = varied_rows(self.inputs, range(rows), *self.size)
        once = self._once(threads, feed, pictures)
        once()
        spent = []
        until = time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            once()
            spent.append(time.perf_counter() - started)
        return spent

    def choose(self, rows: int, threads: list[int], pictures: bool) -> None:
        """Find the quickest number of threads for batches of this size, once."""
        key = (rows, pictures)
        if key not in self.fastest:
            trials = {n: np.median(self.work(rows, n, pictures, TRIAL_S)) for n in threads}
            self.fastest[key] = min(trials, key=lambda n: trials[n])

    def _once(self, threads: int, feed: Rows, pictures: bool) -> Callable[[], None]:
        session = self._session(threads)

        def once() -> None:
            (images,) = session.run([self.image], feed)
            if pictures:
                for image in images:
                    base64.b64encode(_png(image))

        return once

    def _session(self, threads: int) -> onnxruntime.InferenceSession:
        if threads not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self.sessions[threads] = onnxruntime.InferenceSession(
                self.path, options, providers=["CPUExecutionProvider"]
            )
        return self.sessions[threads]


def _png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    flat = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(flat).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def main(bundle: Path) -> None:
    """Answer one line per job until there are no more."""
    worker = Worker(bundle)
    for line in sys.stdin:
        job = json.loads(line)
        rows, pictures = job["rows"], job["pictures"]
        if job["warm"]:
            worker.choose(rows, job["threads"], pictures)
            print("{}", flush=True)
            continue
        spent = worker.work(rows, worker.fastest[rows, pictures], pictures, job["seconds"])
        print(json.dumps({"seconds": spent, "total_s": sum(spent)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
