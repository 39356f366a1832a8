"""The end of models that were replaced: they answer who still comes, then they are closed."""

from __future__ import annotations

import asyncio

from service.folders import Identity
from service.memory import give_back_memory
from service.model import Model

# A model that was replaced still takes the requests that had found it; they need milliseconds.
LINGER_S = 5.0
# Of one version that is opened anew over and over: how many end at once, each still in memory.
ENDING_MODELS = 2


class Retirement:
    """Models that serve no more, until their last request has its answer."""

    def __init__(self) -> None:
        self._ending: dict[asyncio.Task[None], Model] = {}

    @property
    def models(self) -> list[Model]:
        """Those that are not closed yet."""
        return list(self._ending.values())

    def retire(self, model: Model) -> None:
        """Close a model once nobody can come any more that had found it before."""
        task = asyncio.create_task(self._end(model))
        self._ending[task] = model
        task.add_done_callback(self._ending.pop)

    async def room_for(self, identity: Identity, timeout_s: float) -> None:
        """Wait until so few of a version are ending that memory can take one more.

        A model that does not end, for a run of it does not, is waited for no longer than this.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while len(ending := self._tasks(identity)) >= ENDING_MODELS:
                    await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            return

    def cancel(self) -> list[asyncio.Task[None]]:
        """Wait for nothing any more; whoever calls this closes ``models``."""
        tasks = list(self._ending)
        for task in tasks:
            task.cancel()
        return tasks

    def _tasks(self, identity: Identity) -> list[asyncio.Task[None]]:
        return [
            task
            for task, model in self._ending.items()
            if (model.manifest.name, model.manifest.version) == identity
        ]

    async def _end(self, model: Model) -> None:
        await asyncio.sleep(LINGER_S)
        await model.close()
        await asyncio.to_thread(give_back_memory)
