"""Models that change in every worker at once: what ``control`` does for one process, for several.

The supervisor decides, with the ``LocalControl`` of a ``Fleet`` in the place of a repository; it
keeps what is wanted, and asks the workers to follow. A worker's ``FleetControl`` passes on what it
is asked for. Between them go, through ``messages``::

    worker asks      desired    what to start with; from then on it is asked to follow
                     change     to make it, everywhere
    supervisor asks  present    what there is
                     converge   to make it so
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from service.desired import Change, Desired, Failed, Present
from service.errors import NotReady
from service.messages import Messages

if TYPE_CHECKING:  # a supervisor imports nothing heavy
    from service.repository import Repository

RETRY_AFTER_S = 1.0

_CHANGE: TypeAdapter[Change] = TypeAdapter(Change)
_PRESENT = TypeAdapter(dict[str, Present])
_FAILED = TypeAdapter(tuple[Failed, ...])


class Fleet:
    """Every worker's repository as one.

    Args:
        members: the workers that have been told what is wanted, at present.
    """

    def __init__(self, members: Callable[[], Iterable[Messages]]) -> None:
        self._members = members
        self.desired = Desired()

    async def start(self, desired: Desired) -> None:
        """Want this from now on; workers that start are told."""
        self.desired = desired

    async def present(self) -> dict[str, Present]:
        """What there is of each model: served is what every worker serves.

        Raises:
            NotReady: there is no worker to ask.
        """
        told = [_PRESENT.validate_json(each) for each in await self._ask("present")]
        names = sorted({name for each in told for name in each})
        return {name: _join([each.get(name, Present()) for each in told]) for name in names}

    async def converge(self, desired: Desired) -> tuple[Failed, ...]:
        """Make it so in every worker; what fails in any of them.

        Raises:
            NotReady: there is no worker to ask.
        """
        self.desired = desired  # first: who starts meanwhile starts with it
        wanted = desired.model_dump_json()
        told = [_FAILED.validate_json(each) for each in await self._ask("converge", wanted)]
        return tuple(dict.fromkeys(failed for each in told for failed in each))

    async def _ask(self, name: str, value: object = None) -> list[Any]:
        """The answers of all; one that ends meanwhile is replaced, and the replacement is told."""
        questions = (member.ask(name, value) for member in self._members())
        answers = await asyncio.gather(*questions, return_exceptions=True)
        told = [each for each in answers if not isinstance(each, ConnectionResetError | NotReady)]
        for answer in told:
            if isinstance(answer, BaseException):
                raise answer
        if not told:
            raise NotReady("no worker is ready to change", retry_after_s=RETRY_AFTER_S)
        return told


class FleetControl:
    """The ``Control`` of one of several workers.

    Args:
        repository: its models.
        messages: to the supervisor.
    """

    def __init__(self, repository: Repository, messages: Messages) -> None:
        self._repository, self._messages = repository, messages
        self._started = asyncio.Event()

    async def start(self) -> None:
        """Load the models as they are wanted at present."""
        desired = Desired.model_validate_json(await self._messages.ask("desired"))
        await self._repository.start(desired)
        self._started.set()

    async def change(self, change: Change) -> Desired:
        """As ``Control`` says."""
        try:
            desired = await self._messages.ask("change", change.model_dump_json())
        except ConnectionResetError:
            raise NotReady("the service is shutting down", retry_after_s=RETRY_AFTER_S) from None
        return Desired.model_validate_json(desired)

    async def answer(self, name: str, value: Any) -> Any:  # noqa: ANN401
        """What the supervisor asks; answered once the models were loaded."""
        await self._started.wait()
        if name == "present":
            return _PRESENT.dump_json(await self._repository.present()).decode()
        assert name == "converge"
        desired = Desired.model_validate_json(value)
        return _FAILED.dump_json(await self._repository.converge(desired)).decode()


def read_change(text: str) -> Change:
    """The change that a worker asks for."""
    return _CHANGE.validate_json(text)


def _join(told: list[Present]) -> Present:
    """What there is of one model, from what each worker tells of it."""
    return Present(
        found=frozenset().union(*(each.found for each in told)),
        serving=frozenset.intersection(*(each.serving for each in told)),
        failed={version: why for each in told for version, why in each.failed.items()},
    )
