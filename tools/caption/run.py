"""Running a captioner over many clips: clips are prepared ahead on threads while the captioner is kept busy.

Each answer is handed over the moment it is there, so that an interruption costs what is under way and nothing more.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from tools.caption.captioner import CaptionDraft, Captioner, CaptionRequest, ClipFile, Declined
from trainer_core.errors import LtxError

Answer = CaptionDraft | Declined
Finished = Callable[[int, Answer], None]
Item = TypeVar("Item")


def run_captioner(
    captioner: Captioner,
    clips: Sequence[ClipFile],
    prepare: Callable[[ClipFile], CaptionRequest],
    finished: Finished,
) -> None:
    """Caption `clips`; `finished(index, answer)` is called on this thread as answers come, in any order.

    A clip that can't be prepared is Declined. Raises the LtxError with which the captioner gives up.
    """
    asyncio.run(_run(captioner, clips, prepare, finished))


async def _run(
    captioner: Captioner,
    clips: Sequence[ClipFile],
    prepare: Callable[[ClipFile], CaptionRequest],
    finished: Finished,
) -> None:
    ready: asyncio.Queue[tuple[int, CaptionRequest] | None] = asyncio.Queue(
        maxsize=2 * captioner.concurrency * captioner.batch_size
    )
    waiting = iter(enumerate(clips))
    preparing = min(len(clips), max(2, os.cpu_count() or 1))

    async def prepare_clips() -> None:
        for index, clip in waiting:
            try:
                request = await asyncio.to_thread(prepare, clip)
            except LtxError as error:
                finished(index, Declined("failed", error.message))
            else:
                await ready.put((index, request))

    async def prepare_all() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(preparing):
                group.create_task(prepare_clips())
        for _ in range(captioner.concurrency):
            await ready.put(None)

    async def ask() -> None:
        while batch := await _take(ready, captioner.batch_size):
            answers = await captioner.caption([request for _, request in batch])
            for (index, _), answer in zip(batch, answers, strict=True):
                finished(index, answer)
            if len(batch) < captioner.batch_size:
                return

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(prepare_all())
            for _ in range(captioner.concurrency):
                group.create_task(ask())
    except* LtxError as errors:
        raise _first(errors) from None
    finally:
        await captioner.close()


async def _take(ready: "asyncio.Queue[Item | None]", most: int) -> list[Item]:
    """Take a whole batch; a shorter one, or none, means that nothing more comes."""
    batch: list[Item] = []
    while len(batch) < most:
        item = await ready.get()
        if item is None:
            break
        batch.append(item)
    return batch


def _first(errors: BaseExceptionGroup[LtxError]) -> LtxError:
    """The first of the errors, however deep the groups are nested."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, LtxError)
    return error
