"""From a bundle's graph to an engine: opened, tried, measured on each layout of lanes, chosen."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter

from export.bundle import Bundle
from export.manifest import Graph
from service.canary import check_answer, specimen, warm_sizes
from service.config import ServiceConfig
from service.cost import BUDGET_S, CostTable, measure
from service.engine import Engine, Fitted, Session
from service.lanes import Lanes, candidates, choose
from service.metrics import Metrics
from service.session import OrtSession, Provider, buckets
from service.threads import usable_cores

logger = logging.getLogger(__name__)

MAX_BATCH_ROWS: dict[Provider, int] = {"cpu": 16, "cuda": 64}


class GraphOpener:
    """Opens, tries and measures sessions of one graph.

    Args:
        bundle: that brings the graph.
        graph: one of its entry points.
        config: how to run it.
        provider: the device.
    """

    def __init__(
        self, bundle: Bundle, graph: Graph, config: ServiceConfig, provider: Provider
    ) -> None:
        self._graph, self._path = graph, bundle.file(graph.onnx)
        self._size, self._provider = bundle.manifest.size, provider
        self._specimens = [specimen(graph, *size) for size in warm_sizes(self._size)]
        self._max_batch_rows = config.max_batch_rows
        cores = config.cores or usable_cores()
        self.candidates = (
            candidates(config.lanes, config.threads, cores) if provider == "cpu" else (Lanes(1, 1),)
        )

    async def open(self, lanes: Lanes) -> OrtSession:
        """A new session, which has answered a row of each size.

        Raises:
            GraphMismatch: the graph is not what the manifest says, or answers nonsense.
            RuntimeUnusable: the device stopped working.
        """
        session = await asyncio.to_thread(
            OrtSession,
            self._graph,
            self._path,
            self._size,
            provider=self._provider,
            bucket_rows=buckets(
                self._provider, self._max_batch_rows or MAX_BATCH_ROWS[self._provider]
            ),
            threads=lanes.threads,
            lanes=lanes.count,
        )
        try:
            await self.check(session, 1)
        except BaseException:
            await session.close()
            raise
        return session

    async def check(self, session: Session, rows: int) -> None:
        """Run so many rows of each size, and look at the answer."""
        for row in self._specimens:
            [answer] = await session.run([row.repeat(rows)])
            check_answer(self._graph, self._size, answer[:1])

    async def measure(self, session: OrtSession, lanes: Lanes) -> CostTable:
        """The costs of a run while all lanes are busy, for each size that is warmed.

        As the batcher sees them: with putting together, and with the way to the thread and back.
        """
        found: dict[int, dict[int, float]] = {}
        for row in self._specimens:

            async def run(rows: int) -> float:
                start = perf_counter()
                runs = (session.run([row] * rows) for _ in range(lanes.count))  # noqa: B023
                await asyncio.gather(*runs)
                return perf_counter() - start

            found[row.row_elements] = await measure(
                run,
                session.bucket_rows,
                budget_s=BUDGET_S / len(self._specimens),
                every=self._max_batch_rows is not None,
            )
        return CostTable(found)

    async def fit(self) -> Fitted:
        """The best layout of lanes, open. Raises as ``open`` does."""
        sessions: dict[Lanes, Session] = {}
        costs: dict[Lanes, CostTable] = {}
        kept: set[Lanes | None] = set()
        try:
            for lanes in self.candidates:
                sessions[lanes] = session = await self.open(lanes)
                costs[lanes] = await self.measure(session, lanes)
            layout = choose(costs, self._max_batch_rows)
            kept = {layout.busy, layout.alone}
        finally:
            for lanes in sessions.keys() - kept:
                await sessions.pop(lanes).close()
        logger.info("%s: %s", self._path, layout)
        return Fitted(layout, sessions, {lanes: costs[lanes] for lanes in sessions})


async def open_engine(
    bundle: Bundle, graph: Graph, config: ServiceConfig, provider: Provider, metrics: Metrics
) -> Engine:
    """An engine for one graph of a bundle. Raises as ``GraphOpener.open`` does."""
    opener = GraphOpener(bundle, graph, config, provider)
    return Engine(bundle.manifest.name, opener, await opener.fit(), config, metrics)
