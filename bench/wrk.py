"""wrk, from the Debian package: a closed loop whose client costs little."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.command import BenchError
from bench.loads import Load, Outcome

# Bodies carry no seed, so that every request is new work. What wrk prints rounds latencies.
_SCRIPT = """
wrk.method = "POST"
wrk.body = [[%s]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json"

done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d, "errors": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def attack(url: str, load: Load, seconds: float, timeout_s: int = 30) -> Outcome:
    """Ask ``url`` for ``load.images`` images a request, over as many connections as clients.

    Args:
        url: of an endpoint that takes what ``POST /generate`` takes.
        load: one thread of wrk serves all its clients.
        seconds: whole ones; wrk takes no others.
        timeout_s: after which an answer counts as an error.

    Raises:
        BenchError: wrk is not installed, or failed.
    """
    program = shutil.which("wrk")
    if program is None:
        raise BenchError("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_SCRIPT % json.dumps({"num_images": load.images}))
        options = ["-t1", f"-c{load.clients}", f"-d{max(1, round(seconds))}s"]
        command = [program, *options, f"--timeout={timeout_s}s", "-s", str(script), url]
        answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode or "RESULT " not in answer.stdout:
        raise BenchError(f"wrk failed against {url}: {answer.stderr or answer.stdout}")
    found = json.loads(answer.stdout.rpartition("RESULT ")[2])
    good = max(0, found["requests"] - found["errors"])
    rate = good / (found["microseconds"] / 1e6)
    return Outcome(
        requests_per_s=rate,
        images_per_s=rate * load.images,
        p50_ms=found["p50"] / 1000,
        p99_ms=found["p99"] / 1000,
        requests=found["requests"],
        errors=found["errors"],
    )
