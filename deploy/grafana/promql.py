"""What the panels' queries are made of: sums, means, shares and quantiles of series."""

from __future__ import annotations

WINDOW = "[$__rate_interval]"
INSTANCE = 'instance=~"$instance"'
MODEL = f'model=~"$model",{INSTANCE}'
# Scrapes and health checks come every few seconds: they are no one's work.
WORK = f'route!~"/metrics|(/v2)?/health/.*|/v2/models/.*/ready",{MODEL}'


def rate(series: str, by: str = "", where: str = MODEL) -> str:
    """The increase of a counter per second, summed."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({series}{{{where}}}{WINDOW}))"


def mean(histogram: str, by: str, where: str = MODEL) -> str:
    """The mean of what a histogram saw."""
    return f"{rate(f'{histogram}_sum', by, where)} / {rate(f'{histogram}_count', by, where)}"


def share(series: str, of: str, by: str) -> str:
    """One counter's share in the sum of it and another."""
    return f"{rate(series, by)} / ({rate(series, by)} + {rate(of, by)})"


def quantile(q: float, histogram: str, by: str = "", where: str = MODEL) -> str:
    """A quantile of what a histogram saw; as exact as its buckets, which grow by factors of 2."""
    kept = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', kept, where)})"


def quantiles(histogram: str, where: str = MODEL) -> dict[str, str]:
    """The median and the two that users feel."""
    return {f"p{q * 100:.0f}": quantile(q, histogram, where=where) for q in (0.5, 0.9, 0.99)}


def burn(ratio: str, objective: str) -> dict[str, str]:
    """How many times faster than allowed an error budget is used up, over several windows."""
    budget = f'job:ganymede_error_budget:ratio{{objective="{objective}"}}'
    return {
        window: f"{ratio}:ratio_rate{window} / on (job) {budget}"
        for window in ("5m", "1h", "6h", "3d")
    }
