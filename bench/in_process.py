"""The limits: ONNX Runtime in a loop, with nothing around it, in one process or one on each core.

With pictures it also does what an answer needs at least: PNG, by Pillow at level 1 or by our own
encoder, and base64. ``python -m bench.in_process`` is one of the processes: it takes a job a line,
and answers a line.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from bench.command import BenchError
from bench.loads import Attack, Batches, Load, Outcome, Served
from bench.pictures import Pixels, feed, pillow_png, roles
from export.bundle import load_bundle
from export.rows import Rows, sizes
from service import png
from service.threads import usable_cores

TRIAL_S = 0.3
CORES = usable_cores()
ALONE = Batches(1, 1)
TOGETHER = tuple(Batches(CORES, rows) for rows in (1, 4, 16))  # a CPU gains nothing from more

Encoder = Literal["none", "pillow", "ours"]


@dataclass(frozen=True)
class InProcess:
    """ONNX Runtime in a loop; a request is a batch."""

    name: str
    encoder: Encoder
    loads: tuple[Load, ...] = (ALONE, *TOGETHER)

    @contextlib.contextmanager
    def open(self, model: Served) -> Iterator[Attack]:
        """Processes, idle until there is a job for them."""
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(_process(model)) for _ in range(CORES)]

            def attack(load: Load, seconds: float) -> Outcome:
                assert isinstance(load, Batches)
                chosen = processes[: load.processes]
                job = {
                    "rows": load.rows,
                    "seconds": seconds,
                    "threads": sorted({1, CORES // len(chosen)}),
                    "encoder": self.encoder,
                }
                return _outcome(load.rows, _ask(chosen, job))

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
    )


# --- Inside such a process. ---


def _pillow_pngs(images: Pixels) -> list[bytes]:
    return [pillow_png(image) for image in images]


ENCODE: dict[Encoder, Callable[[Pixels], list[bytes]]] = {
    "none": lambda images: [],
    "pillow": _pillow_pngs,
    "ours": png.encode_all,
}


class Worker:
    """Sessions of one graph by their number of threads, set up as the service sets them up."""

    def __init__(self, bundle: Path) -> None:
        manifest = load_bundle(bundle).manifest
        graph = manifest.graph("generate")
        self.path = bundle / graph.onnx
        self.graph, self.image, self.size = graph, roles(graph)[2], sizes(manifest.size)[0]
        self.sessions: dict[int, onnxruntime.InferenceSession] = {}
        self.fastest: dict[tuple[int, Encoder], int] = {}

    def work(self, rows: int, threads: int, encoder: Encoder, seconds: float) -> list[float]:
        """The time of each batch, in seconds."""
        once = self._once(threads, feed(self.graph, range(rows), *self.size), encoder)
        once()
        spent = []
        until = time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            once()
            spent.append(time.perf_counter() - started)
        return spent

    def choose(self, rows: int, threads: list[int], encoder: Encoder) -> None:
        """Find the quickest number of threads for batches of this size, once."""
        key = (rows, encoder)
        if key not in self.fastest:
            trials = {n: np.median(self.work(rows, n, encoder, TRIAL_S)) for n in threads}
            self.fastest[key] = min(trials, key=lambda n: trials[n])

    def _once(self, threads: int, inputs: Rows, encoder: Encoder) -> Callable[[], None]:
        session, encode = self._session(threads), ENCODE[encoder]

        def once() -> None:
            (images,) = session.run([self.image], inputs)
            for file in encode(images):
                base64.b64encode(file)

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


def main(bundle: Path) -> None:
    """Answer one line per job until there are no more."""
    worker = Worker(bundle)
    for line in sys.stdin:
        job = json.loads(line)
        rows, encoder = job["rows"], job["encoder"]
        if job["warm"]:
            worker.choose(rows, job["threads"], encoder)
            print("{}", flush=True)
            continue
        spent = worker.work(rows, worker.fastest[rows, encoder], encoder, job["seconds"])
        print(json.dumps({"seconds": spent, "total_s": sum(spent)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
