"""From a bundle's graph to an engine: opened, tried, measured on each layout of lanes, chosen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set
from time import perf_counter
from typing import get_args

from export.bundle import Bundle
from export.manifest import FixedSize, Graph
from service.canary import check_answer, specimen, warm_sizes
from service.config import CudnnSearch, ServiceConfig
from service.cost import BUDGET_S, CostTable, measure
from service.engine import Engine
from service.fitted import Fitted, Session
from service.lanes import Lanes, candidates, choose, gpu_candidates
from service.metrics import Metrics
from service.session import Gpu, OrtSession, Provider, SpreadSession, buckets, used_gpus
from service.threads import usable_cores

logger = logging.getLogger(__name__)

MAX_BATCH_ROWS: dict[Provider, int] = {"cpu": 16, "cuda": 64, "tensorrt": 64}

Opened = OrtSession | SpreadSession


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
        self._size, self._provider, self._config = bundle.manifest.size, provider, config
        self._specimens = [specimen(graph, *size) for size in warm_sizes(self._size)]
        self._max_batch_rows = config.max_batch_rows
        # Engines are told apart by the graph's file name, not by its weights: each has a folder.
        cache = config.tensorrt_cache
        self._engines = cache / bundle.digest / self._path.stem if cache else None
        if provider == "cpu":
            self.candidates = candidates(
                config.lanes, config.threads, config.cores or usable_cores()
            )
        else:
            self.candidates = self._on_gpus()

    def _on_gpus(self) -> tuple[Lanes, ...]:
        config, is_cuda = self._config, self._provider == "cuda"
        searches = (config.cudnn_search,) if config.cudnn_search else get_args(CudnnSearch)
        # What is captured has one shape: a free size would need a graph for each.
        graphs = config.cuda_graphs and is_cuda and isinstance(self._size, FixedSize)
        return gpu_candidates(len(used_gpus(config.gpus)), searches if is_cuda else (), graphs)

    async def open(self, lanes: Lanes) -> Opened:
        """A new session, which has answered a row of each size.

        Raises:
            GraphMismatch: the graph is not what the manifest says, or answers nonsense.
            RuntimeUnusable: the device stopped working.
        """
        made: list[OrtSession] = []
        try:
            for place in self._places(lanes):
                made.append(await asyncio.to_thread(self._open, lanes, place))
                for rows in self._first_rows(lanes, made[-1]):
                    await self.check(made[-1], rows)
        except BaseException:
            await asyncio.gather(*(session.close() for session in made))
            raise
        return made[0] if len(made) == 1 else SpreadSession(made)

    def _places(self, lanes: Lanes) -> list[Gpu | None]:
        """One on the CPU, whose lanes share a session; each GPU has a session of its own."""
        if self._provider == "cpu":
            return [None]
        return [
            Gpu(
                index=index,
                cudnn_search=lanes.cudnn_search or "heuristic",
                cuda_graphs=lanes.cuda_graphs,
                memory_bytes=self._config.gpu_memory_bytes,
                engines=self._engines,
                fp16=self._config.tensorrt_fp16,
            )
            for index in used_gpus(self._config.gpus)
        ]

    def _open(self, lanes: Lanes, gpu: Gpu | None) -> OrtSession:
        rows = self._max_batch_rows or MAX_BATCH_ROWS[self._provider]
        return OrtSession(
            self._graph,
            self._path,
            self._size,
            provider=self._provider,
            bucket_rows=buckets(self._provider, rows),
            threads=lanes.threads,
            lanes=lanes.count if gpu is None else 1,
            gpu=gpu,
        )

    def _first_rows(self, lanes: Lanes, session: OrtSession) -> tuple[int, ...]:
        """The sizes that are run before anything else, one at a time."""
        if lanes.cuda_graphs:
            return session.bucket_rows  # what another GPU does meanwhile would spoil a capture
        if self._provider == "tensorrt":
            return 1, session.bucket_rows[-1]  # an engine is built for the range that it has seen
        return (1,)

    async def check(self, session: Session, rows: int) -> None:
        """Run so many rows of each size, on each device, and look at the answers."""
        members = session.members if isinstance(session, SpreadSession) else (session,)
        for member in members:
            for row in self._specimens:
                [answer] = await member.run([row.repeat(rows)])
                check_answer(self._graph, self._size, answer[:1])

    async def measure(self, session: Opened, lanes: Lanes) -> CostTable:
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
                # The first run of a size is slow on a GPU: none is left for a request.
                every=self._max_batch_rows is not None or self._provider != "cpu",
            )
        return CostTable(found)

    async def fit(self) -> Fitted:
        """The best layout of lanes, open; one that loses is closed at once, for its memory.

        One that fails where an earlier one did not is left out: it takes more memory, say, or its
        kernels cannot be captured. Raises as ``open`` does.
        """
        sessions: dict[Lanes, Session] = {}
        costs: dict[Lanes, CostTable] = {}
        try:
            for lanes in self.candidates:
                try:
                    sessions[lanes] = session = await self.open(lanes)
                    costs[lanes] = await self.measure(session, lanes)
                except Exception as error:
                    if not costs:
                        raise
                    logger.warning("%s: %s is left out: %s", self._path, lanes, error)
                measured = {each: costs[each] for each in sessions if each in costs}
                layout = choose(measured, self._max_batch_rows)
                await _close_others(sessions, {layout.busy, layout.alone})
        except BaseException:
            await _close_others(sessions, set())
            raise
        logger.info("%s: %s", self._path, layout)
        return Fitted(layout, sessions, costs)


async def _close_others(sessions: dict[Lanes, Session], kept: Set[Lanes | None]) -> None:
    for lanes in sessions.keys() - kept:
        await sessions.pop(lanes).close()


async def open_engine(
    bundle: Bundle, graph: Graph, config: ServiceConfig, provider: Provider, metrics: Metrics
) -> Engine:
    """An engine for one graph of a bundle. Raises as ``GraphOpener.open`` does."""
    opener = GraphOpener(bundle, graph, config, provider)
    return Engine(bundle.manifest.name, opener, await opener.fit(), config, metrics)
