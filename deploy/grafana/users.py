"""The panels of what users feel: the objectives, and requests, errors and durations."""

from __future__ import annotations

from panel import Panel
from promql import INSTANCE, MODEL, WORK, burn, mean, quantile, quantiles, rate

ERRORS = "job:ganymede_errors_per_request"
SLOW = "job:ganymede_slow_per_answer"
BUDGET = "job:ganymede_error_budget:ratio"
PAGES_FROM = 14.4  # times too fast, over an hour: the page of deploy/prometheus/rules.yml

OBJECTIVES = (
    Panel(
        "Error budget left",
        "Of what the objectives of deploy/prometheus/rules.yml allow, over the last three days. "
        "Below 0 more has failed, or was slow, than is allowed.",
        {
            "availability": f"1 - {ERRORS}:ratio_rate3d / on (job) "
            f'{BUDGET}{{objective="availability"}}',
            "latency": f'1 - {SLOW}:ratio_rate3d / on (job) {BUDGET}{{objective="latency"}}',
        },
        unit="percentunit",
        kind="stat",
        green_from=0.0,
        lowest=None,
    ),
    Panel(
        "Ready",
        "1 when every service accepts requests. 0 for longer than a restart: /health/ready tells.",
        {  # one that is down has no series of its own
            "ready": f"min(ganymede_ready{{{INSTANCE}}} or on (job, instance) "
            f'0 * up{{job="ganymede",{INSTANCE}}})'
        },
        kind="stat",
        width=4,
        green_from=1.0,
    ),
    Panel(
        "Models that serve",
        "Model versions loaded, of the service with the fewest, and bundles in the folders that "
        "could not be: the log says why.",
        {
            "serve": f"min(ganymede_models_loaded{{{INSTANCE}}})",
            "failed": f"max(ganymede_model_failures{{{INSTANCE}}})",
        },
        kind="stat",
        width=6,
    ),
    Panel(
        "Alerts",
        "Alerts that fire now; each is explained in deploy/RUNBOOK.md. Red marks in the panels are "
        "where they fired.",
        {"fire": 'count(ALERTS{alertname=~"Ganymede.*",alertstate="firing"}) or vector(0)'},
        kind="stat",
        width=6,
        red_from=1.0,
    ),
    Panel(
        "Availability: times too fast",
        "How fast the error budget is used up: at 1 it lasts exactly as long as it should, at the "
        "red line a page is sent. Errors are replies with 5xx.",
        burn(ERRORS, "availability"),
        width=12,
        red_from=PAGES_FROM,
    ),
    Panel(
        "Latency: times too fast",
        "The same of answers that took longer than the objective says.",
        burn(SLOW, "latency"),
        width=12,
        red_from=PAGES_FROM,
    ),
)

ANSWERS = (
    Panel(
        "Images",
        "Images in replies, per second.",
        {"{{model}}": rate("ganymede_images_total", "model")},
    ),
    Panel(
        "Requests",
        "Replies per second by status. Health checks and scrapes are left out. 429 and 503 are "
        "refusals: see below. 499 is a client that went away. What did not happen is not shown.",
        {"{{status}} {{route}}": rate("ganymede_requests_total", "status, route", WORK) + " > 0"},
        unit="reqps",
        stacked=True,
    ),
    Panel(
        "Errors",
        "Share of the replies with status 5xx, by route and model.",
        {
            "{{route}} {{model}}": "("
            + rate("ganymede_requests_total", "route, model", f'status=~"5..",{WORK}')
            + f" or 0 * {rate('ganymede_requests_total', 'route, model', WORK)}) / "
            + rate("ganymede_requests_total", "route, model", WORK)
        },
        unit="percentunit",
        red_from=0.01,
    ),
    Panel(
        "Time to answer",
        "From the request to the end of its reply, of what models answered with 200: refusals and "
        "304 come at once, and would flatter it. Read off buckets that grow by factors of 2: a "
        "line may be off by as much. Idle: no line.",
        quantiles("ganymede_request_seconds", f'model!="",{MODEL}'),
        unit="s",
    ),
    Panel(
        "99th percentile by route and model",
        "The slowest answer in a hundred.",
        {
            "{{route}} {{model}}": quantile(
                0.99, "ganymede_request_seconds", "route, model", f'model!="",{MODEL}'
            )
        },
        unit="s",
    ),
    Panel(
        "Refused",
        "Requests per second that were refused or expired, by reason. queue_full: more replicas, "
        "or a longer wait (GANYMEDE_QUEUE_S, GANYMEDE_QUEUE_IMAGES) if it beats a refusal.",
        {
            "{{reason}}": rate("ganymede_refusals_total", "reason", INSTANCE),
            "client went away": rate("ganymede_cancellations_total", where=INSTANCE),
        },
        unit="reqps",
    ),
    Panel(
        "Mean time by phase",
        "Where a request's time goes, from its first byte to its last; the four phases add up to "
        "nearly all of it. Much decode: large or slow bodies. Much queue: the "
        "device is full. Much encode: smaller pictures, or a faster format than png.",
        {"{{phase}}": mean("ganymede_phase_seconds", "phase")},
        unit="s",
        stacked=True,
    ),
    Panel(
        "99th percentile by phase",
        "The phase that the slowest requests wait in.",
        {"{{phase}}": quantile(0.99, "ganymede_phase_seconds", "phase")},
        unit="s",
    ),
    Panel(
        "Replies sent again",
        "Requests with a seed, per second: the reply was kept (hit), was being made for another "
        "(shared), or had to be made (miss).",
        {"{{result}}": rate("ganymede_cache_requests_total", "result", INSTANCE)},
        unit="reqps",
        stacked=True,
    ),
)
