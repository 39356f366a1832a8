"""The panels of what the machine does: batches, the device and ONNX Runtime, the process."""

from __future__ import annotations

from panel import Panel
from promql import INSTANCE, MODEL, WINDOW, mean, quantile, rate, share

BATCHES = (
    Panel(
        "Rows waiting",
        "Images in the queue, those of requests with priority bulk too.",
        {"{{model}}": f"sum by (model) (ganymede_queue_rows{{{MODEL}}})"},
    ),
    Panel(
        "Queue taken",
        "Of what may wait, in the fullest worker. At 1 the next image is refused: what waits takes "
        "as long as it may (GANYMEDE_QUEUE_S), or is as much (GANYMEDE_QUEUE_IMAGES).",
        {"{{model}}": f"max by (model) (ganymede_queue_fullness_ratio{{{MODEL}}})"},
        unit="percentunit",
        red_from=0.8,
    ),
    Panel(
        "Wait in the queue",
        "The slowest request in a hundred, and the oldest that waits now.",
        {
            "{{model}} p99": quantile(
                0.99, "ganymede_phase_seconds", "model", f'phase="queue",{MODEL}'
            ),
            "{{model}} oldest": f"max by (model) (ganymede_queue_age_seconds{{{MODEL}}})",
        },
        unit="s",
    ),
    Panel(
        "Measured over predicted",
        "Time of a batch over what the cost model said: 1 when it is right. Far above 1 for long: "
        "the machine does other things, and deadlines are missed that were promised.",
        {
            "{{model}} p50": quantile(0.5, "ganymede_cost_ratio", "model"),
            "{{model}} p90": quantile(0.9, "ganymede_cost_ratio", "model"),
        },
        red_from=4.0,
    ),
    Panel(
        "Batch sizes",
        "How many inferences per second had how many rows.",
        {"{{le}}": rate("ganymede_batch_rows_bucket", "le")},
        kind="heatmap",
    ),
    Panel(
        "Rows in a batch",
        "Mean rows of one inference. It grows with the load; near 1 the device keeps up easily.",
        {"{{model}}": mean("ganymede_batch_rows", "model")},
    ),
    Panel(
        "Padding",
        "Share of the computed rows that only fill a bucket.",
        {"{{model}}": share("ganymede_padding_rows_total", "ganymede_batch_rows_sum", "model")},
        unit="percentunit",
    ),
)

DEVICE = (
    Panel(
        "Device busy",
        "Share of the time in which inference of this model ran, the mean of all workers. Where "
        "the models of a device add up to 1 it is full: the queues grow. Several lanes of a worker "
        "may add up to more.",
        {
            "{{model}}": rate("ganymede_batch_seconds_sum", "model")
            + f" / scalar(sum(ganymede_workers{{{INSTANCE}}}))"
        },
        unit="percentunit",
        red_from=0.95,
    ),
    Panel(
        "Time of an inference",
        "The median and the slowest in a hundred.",
        {
            "{{model}} p50": quantile(0.5, "ganymede_batch_seconds", "model"),
            "{{model}} p99": quantile(0.99, "ganymede_batch_seconds", "model"),
        },
        unit="s",
    ),
    Panel(
        "Time of a row",
        "What one image costs: it falls as batches grow, for as long as larger ones pay.",
        {
            "{{model}}": rate("ganymede_batch_seconds_sum", "model")
            + f" / {rate('ganymede_batch_rows_sum', 'model')}"
        },
        unit="s",
    ),
    Panel(
        "Failed inferences",
        "Per second, retries included. Anything but 0 is a broken bundle or a failing device: the "
        "log has the cause. Rebuilds are models that were opened anew for it.",
        {
            "{{model}}": rate("ganymede_failed_batches_total", "model"),
            "{{model}} rebuilds": rate("ganymede_session_rebuilds_total", "model"),
        },
        red_from=0.001,
    ),
    Panel(
        "Overdue",
        "Time of an inference that takes far longer than predicted. It cannot be interrupted: "
        "restart the service.",
        {"{{model}}": f"max by (model) (ganymede_overdue_seconds{{{MODEL}}})"},
        unit="s",
        red_from=1.0,
    ),
    Panel(
        "What serves",
        "Services on which a version of a model serves, and the provider of ONNX Runtime.",
        {
            "{{model}}/{{version}} {{provider}}": "count by (model, version, provider) "
            f'(ganymede_model_info{{version=~"$version",{MODEL}}})'
        },
        kind="stat",
    ),
)

PROCESS = (
    Panel(
        "Processor",
        "Cores in use.",
        {"{{instance}}": f'rate(process_cpu_seconds_total{{job="ganymede",{INSTANCE}}}{WINDOW})'},
    ),
    Panel(
        "Memory",
        "Resident. It should be flat once every bucket of every model is warm, and the cache of "
        "replies is full.",
        {"{{instance}}": f'process_resident_memory_bytes{{job="ganymede",{INSTANCE}}}'},
        unit="bytes",
    ),
    Panel(
        "Event loop",
        "How late the event loop wakes up, the worst worker's too. Above some milliseconds: the "
        "machine is short of processor time, or something holds the loop up.",
        {
            "p50": quantile(0.5, "ganymede_event_loop_lag_seconds", where=INSTANCE),
            "p99": quantile(0.99, "ganymede_event_loop_lag_seconds", where=INSTANCE),
        },
        unit="s",
        red_from=0.1,
    ),
    Panel(
        "Workers",
        "Processes that answer requests, and how many of them were started anew in an hour because "
        "one had ended: the log says why.",
        {
            "{{instance}}": f"sum by (instance) (ganymede_workers{{{INSTANCE}}})",
            "{{instance}} restarts": "sum by (instance) "
            f"(increase(ganymede_worker_restarts_total{{{INSTANCE}}}[1h]))",
        },
    ),
    Panel(
        "Replies kept",
        "The cache of replies, and the most that it may hold (GANYMEDE_CACHE_BYTES).",
        {
            "{{instance}}": f"sum by (instance) (ganymede_cache_bytes{{{INSTANCE}}})",
            "{{instance}} limit": f"sum by (instance) (ganymede_cache_limit_bytes{{{INSTANCE}}})",
        },
        unit="bytes",
    ),
    Panel(
        "Open files",
        "Connections and files, as a share of what the system allows.",
        {
            "{{instance}}": f'process_open_fds{{job="ganymede",{INSTANCE}}} '
            f'/ process_max_fds{{job="ganymede",{INSTANCE}}}'
        },
        unit="percentunit",
        red_from=0.8,
    ),
    Panel(
        "Scrapes",
        "1 while Prometheus reaches the service. At 0 everything above is unknown, not zero.",
        {"{{instance}}": f'up{{job="ganymede",{INSTANCE}}}'},
    ),
)
