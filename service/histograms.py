"""Where the buckets of the histograms end.

It imports nothing, so that ``deploy/prometheus/render.py`` runs where Ganymede is not installed.
"""

from __future__ import annotations

# 0.25 ms to 33 s by factors of 2: from a cached reply to the longest default deadline.
SECONDS = tuple(0.00025 * 2**k for k in range(18))
# Measured over predicted, from an eighth to 64 times.
RATIOS = tuple(2.0 ** (k / 2) for k in range(-6, 13))
ROWS = tuple(float(2**k) for k in range(11))
