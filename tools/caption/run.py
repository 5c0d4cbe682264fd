"""Running a captioner over many clips: clips are prepared ahead on threads while the captioner is kept busy.

Each answer is handed over the moment it is there, so that an interruption costs what is under way and nothing more.
"""

import asyncio
import contextvars
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tools.caption.captioners.captioner import CaptionDraft, Captioner, CaptionRequest, ClipFile, Declined
from trainer_core.errors import LtxError

WATCH_EVERY_S = 0.5
Answer = CaptionDraft | Declined
Finished = Callable[[int, Answer], None]
Item = TypeVar("Item")
Look = TypeVar("Look")
"""What `look` sees of a clip, whoever captions it."""


def run_captioner(
    captioner: Captioner,
    clips: Sequence[ClipFile],
    look: Callable[[ClipFile], Look],
    prepare: Callable[[ClipFile, Look], CaptionRequest],
    finished: Finished,
    still_wanted: Callable[[], None] = lambda: None,
) -> None:
    """Caption `clips`: `look` at each, also while the captioner opens, then `prepare` it for that captioner.

    `finished(index, answer)` is called as answers come, in any order, on a thread of its own. So is `still_wanted`,
    every half second: it ends the run by raising.

    A clip that can't be prepared is Declined. Raises the LtxError with which the captioner gives up, and whatever
    `finished` and `still_wanted` raise. However it ends, every answer that came before was handed to `finished`.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="caption-keeper") as keeper:
        asyncio.run(_run(captioner, clips, look, prepare, finished, still_wanted, keeper))


async def _run(
    captioner: Captioner,
    clips: Sequence[ClipFile],
    look: Callable[[ClipFile], Look],
    prepare: Callable[[ClipFile, Look], CaptionRequest],
    finished: Finished,
    still_wanted: Callable[[], None],
    keeper: ThreadPoolExecutor,
) -> None:
    takers = captioner.concurrency + captioner.waiting
    ready: asyncio.Queue[tuple[int, CaptionRequest] | None] = asyncio.Queue(maxsize=takers * captioner.batch_size)
    waiting = iter(enumerate(clips))
    preparing = min(len(clips), max(2, os.cpu_count() or 1))
    opened = asyncio.Event()
    caller = contextvars.copy_context()  # whoever hears of progress may look there for who asked

    async def open_captioner() -> None:
        await captioner.open()
        opened.set()

    def kept(answers: Sequence[tuple[int, Answer]]) -> Awaitable[object]:
        """Hand answers over at once; waiting for it may be cancelled, the keeping is not."""
        loop = asyncio.get_running_loop()
        handed = [loop.run_in_executor(keeper, caller.run, finished, index, answer) for index, answer in answers]
        return asyncio.shield(asyncio.gather(*handed))

    async def watch() -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            await asyncio.get_running_loop().run_in_executor(keeper, caller.run, still_wanted)

    async def prepare_clips() -> None:
        for index, clip in waiting:
            try:
                looked = await asyncio.to_thread(look, clip)
                await opened.wait()  # what a captioner can take is known then
                request = await asyncio.to_thread(prepare, clip, looked)
            except LtxError as error:
                await kept([(index, Declined("failed", error.message))])
            else:
                await ready.put((index, request))

    async def prepare_all() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(preparing):
                group.create_task(prepare_clips())
        for _ in range(takers):
            await ready.put(None)

    async def ask() -> None:
        while batch := await _take(ready, captioner.batch_size):
            answers = await captioner.caption([request for _, request in batch])
            await kept([(index, answer) for (index, _), answer in zip(batch, answers, strict=True)])
            if len(batch) < captioner.batch_size:
                return

    try:
        async with asyncio.TaskGroup() as outer:
            watching = outer.create_task(watch())
            async with asyncio.TaskGroup() as group:
                group.create_task(open_captioner())
                group.create_task(prepare_all())
                for _ in range(takers):
                    group.create_task(ask())
            watching.cancel()
    except BaseExceptionGroup as errors:
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


def _first(errors: BaseExceptionGroup) -> BaseException:
    """The first of the errors, however deep the groups are nested."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
