"""Makes the Grafana dashboards: ``python deploy/grafana/build.py`` writes them beside this file.

A dashboard is a list of rows, a row a title and its panels. Every query names a series of
``service/metrics.py``; the tests hold the two together, and the written files to this one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from panel import Panel, page

PICTURES = 'route=~"/generate.*"'
# Scrapes and health checks come every few seconds: they are no one's work.
WORK = 'route!~"/metrics|/health/.*"'
WINDOW = "[$__rate_interval]"


def rate(series: str, by: str = "", where: str = "") -> str:
    """The increase of a counter per second, summed."""
    selector = f"{{{where}}}" if where else ""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({series}{selector}{WINDOW}))"


def mean(histogram: str, by: str) -> str:
    """The mean of what a histogram saw."""
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


def quantile(q: float, histogram: str, where: str = "", by: str = "le") -> str:
    """A quantile of what a histogram saw; as exact as its buckets, which grow by factors of 2."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', by, where)})"


def quantiles(histogram: str, where: str = "") -> dict[str, str]:
    """The median and the two that users feel."""
    return {f"p{q * 100:.0f}": quantile(q, histogram, where) for q in (0.5, 0.9, 0.99)}


ANSWERS = (
    Panel(
        "Ready",
        "1 when every service accepts requests. 0 for longer than a restart: read its log.",
        {"ready": "min(ganymede_ready)"},
        kind="stat",
        width=4,
    ),
    Panel(
        "Models that serve",
        "Model versions loaded, and bundles in the folders that could not be: the log says why.",
        {
            "serve": "max(ganymede_models_loaded)",
            "failed": "max(ganymede_model_failures)",
        },
        kind="stat",
        width=4,
    ),
    Panel(
        "Images",
        "Images in replies, per second.",
        {"{{model}}": rate("ganymede_images_total", "model")},
    ),
    Panel(
        "Requests",
        "Replies per second by status. Health checks and scrapes are left out. 429 and 503 are "
        "refusals: see below. 499 is a client that went away.",
        {"{{status}} {{route}}": rate("ganymede_requests_total", "status, route", WORK)},
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "Time to answer",
        "From the request for pictures to the end of its reply, of those answered with 200: "
        "refusals and 304 come at once, and would flatter it. Read off buckets that grow by "
        "factors of 2: a line may be off by as much. Idle: no line.",
        quantiles("ganymede_request_seconds", PICTURES),
        unit="s",
        width=12,
    ),
    Panel(
        "Refused",
        "Requests per second that were refused or expired, by reason. queue_full: more replicas, "
        "or a longer queue (GANYMEDE_QUEUE_IMAGES) if waiting is better than a refusal.",
        {
            "{{reason}}": rate("ganymede_refusals_total", "reason"),
            "client went away": rate("ganymede_cancellations_total"),
        },
        unit="reqps",
        width=12,
    ),
)

TIME = (
    Panel(
        "Mean time by phase",
        "Where a request's time goes, from its first byte to its last; the four phases add up to "
        "nearly all of it. Much decode: large or slow bodies. Much queue: the "
        "device is full. Much encode: smaller pictures, or a faster format than png.",
        {"{{phase}}": mean("ganymede_phase_seconds", "phase")},
        unit="s",
        width=12,
        stacked=True,
    ),
    Panel(
        "99th percentile by phase",
        "The phase that the slowest requests wait in.",
        {"{{phase}}": quantile(0.99, "ganymede_phase_seconds", by="le, phase")},
        unit="s",
        width=12,
    ),
)

BATCHES = (
    Panel(
        "Rows waiting",
        "Images in the queue, and the number at which requests are refused.",
        {
            "{{model}} waiting": "sum by (model) (ganymede_queue_rows)",
            "{{model}} limit": "sum by (model) (ganymede_queue_limit_rows)",
        },
    ),
    Panel(
        "Rows in a batch",
        "Mean rows of one inference. It grows with the load; near 1 the device keeps up easily.",
        {"{{model}}": mean("ganymede_batch_rows", "model")},
    ),
    Panel(
        "Padding",
        "Share of the computed rows that only fill a bucket.",
        {
            "{{model}}": f"{rate('ganymede_padding_rows_total', 'model')} / "
            f"({rate('ganymede_padding_rows_total', 'model')} + "
            f"{rate('ganymede_batch_rows_sum', 'model')})"
        },
        unit="percentunit",
    ),
    Panel(
        "Batch sizes",
        "How many inferences per second had how many rows.",
        {"{{le}}": rate("ganymede_batch_rows_bucket", "le")},
        kind="heatmap",
    ),
    Panel(
        "Device busy",
        "Share of the time in which inference of this model ran, the mean of the services. Where "
        "the models of a device add up to 1 it is full: the queues grow.",
        {
            "{{model}}": rate("ganymede_batch_seconds_sum", "model")
            + ' / scalar(count(up{job="ganymede"} == 1))'
        },
        unit="percentunit",
        red_from=0.95,
    ),
    Panel(
        "Failed inferences",
        "Per second, retries included. Anything but 0 is a broken bundle or a failing device: the "
        "log has the cause.",
        {"{{model}}": rate("ganymede_failed_batches_total", "model")},
        red_from=0.001,
    ),
)

PROCESS = (
    Panel(
        "Processor",
        "Cores in use.",
        {"{{instance}}": 'rate(process_cpu_seconds_total{job="ganymede"}' + WINDOW + ")"},
    ),
    Panel(
        "Memory",
        "Resident. It should be flat once every bucket of every model is warm.",
        {"{{instance}}": 'process_resident_memory_bytes{job="ganymede"}'},
        unit="bytes",
    ),
    Panel(
        "Scrapes",
        "1 while Prometheus reaches the service. At 0 everything above is unknown, not zero.",
        {"{{instance}}": 'up{job="ganymede"}'},
    ),
)

ROWS = {
    "What clients see": ANSWERS,
    "Where the time goes": TIME,
    "Batching and the device": BATCHES,
    "The process": PROCESS,
}


def dashboard() -> dict[str, Any]:
    """The dashboard of one or more Ganymede services."""
    return {
        "uid": "ganymede",
        "title": "Ganymede",
        "tags": ["ganymede"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "10s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": page(ROWS),
    }


def main(folder: Path) -> None:
    """Write every dashboard into a folder."""
    folder.mkdir(exist_ok=True)
    text = json.dumps(dashboard(), indent=2) + "\n"
    (folder / "ganymede.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
