"""wrk, from the Debian package: a closed loop whose client costs little."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.command import BenchError
from bench.loads import Closed, Outcome

SEED_AGAIN = 7
TIMEOUT_S = 30  # an answer that takes longer counts as failed

# What wrk prints rounds latencies.
_SCRIPT = """
wrk.method = "POST"
wrk.body = [[%s]]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json"

done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %%d, "microseconds": %%d, "p50": %%d, "p99": %%d, "refused": %%d, ' ..
    '"failed": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""


def attack(url: str, load: Closed, seconds: float) -> Outcome:
    """Ask ``url`` over as many connections as clients, from one thread.

    The body is the same every time, which is cheapest for the client. Without a seed the server
    draws one, so that no answer can come from a cache.

    Args:
        url: of an endpoint that takes what ``POST /generate`` takes.
        load: what is asked.
        seconds: whole ones; wrk takes no others.

    Raises:
        BenchError: wrk is not installed, or failed.
    """
    program = shutil.which("wrk")
    if program is None:
        raise BenchError("wrk is not installed: apt-get install wrk")
    body = {"num_images": load.images} | ({"seed": SEED_AGAIN} if load.again else {})
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_SCRIPT % json.dumps(body))
        options = ["-t1", f"-c{load.clients}", f"-d{max(1, round(seconds))}s"]
        command = [program, *options, f"--timeout={TIMEOUT_S}s", "-s", str(script), url]
        answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode or "RESULT " not in answer.stdout:
        raise BenchError(f"wrk failed against {url}: {answer.stderr or answer.stdout}")
    return parse(answer.stdout, load.images)


def parse(output: str, images: int) -> Outcome:
    """What wrk with our script wrote; the latencies are of all answers, refusals included."""
    found = json.loads(output.rpartition("RESULT ")[2])
    seconds = found["microseconds"] / 1e6
    rate = max(0, found["requests"] - found["refused"]) / seconds
    return Outcome(
        requests_per_s=rate,
        images_per_s=rate * images,
        p50_ms=found["p50"] / 1000,
        p99_ms=found["p99"] / 1000,
        refused_per_s=found["refused"] / seconds,
        failed=found["failed"],
    )
