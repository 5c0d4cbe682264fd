"""Pacing of requests to an endpoint: as many at once as it takes, fewer after "too many"; all wait together."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
EASE_AFTER = 10
"""So many answers in a row without a complaint, and one more request is let in again."""


class RequestPace:
    """A limit on requests under way: halved when the server complains, raised by one after EASE_AFTER good answers."""

    def __init__(self, concurrency: int) -> None:
        self.most = concurrency
        self.limit = concurrency
        self.under_way = 0
        self._good = 0
        self._resume_at = 0.0
        self._free = asyncio.Condition()
        self._jitter = random.Random(id(self))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until a request may go out, and count it until it is answered."""
        async with self._free:
            await self._free.wait_for(lambda: self.under_way < self.limit)
            self.under_way += 1
        try:
            while (wait_s := self._resume_at - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(wait_s)
            yield
        finally:
            async with self._free:
                self.under_way -= 1
                self._free.notify_all()

    async def complained(self, attempt: int, retry_after_s: float | None) -> None:
        """Halve the limit and let nobody ask before the server said so, or an exponential wait with jitter is over.

        Answers to requests that were under way together count as one complaint.
        """
        self._good = 0
        if self._resume_at <= asyncio.get_running_loop().time():
            self.limit = max(1, self.limit // 2)
        self.pause(attempt, retry_after_s)

    def pause(self, attempt: int, retry_after_s: float | None = None) -> None:
        """Let nobody ask for a while; `attempt` counts from 0."""
        wait_s = (
            retry_after_s if retry_after_s is not None else FIRST_WAIT_S * 2**attempt * self._jitter.uniform(0.75, 1.25)
        )
        until = asyncio.get_running_loop().time() + min(max(wait_s, 0.0), LONGEST_WAIT_S)
        self._resume_at = max(self._resume_at, until)

    async def went_well(self) -> None:
        """Count a good answer."""
        self._good += 1
        if self._good >= EASE_AFTER and self.limit < self.most:
            self._good = 0
            async with self._free:
                self.limit += 1
                self._free.notify_all()
