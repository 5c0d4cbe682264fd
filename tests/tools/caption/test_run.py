"""Running a captioner: answers are kept on a thread of their own, and none that came is lost, whatever ends the run."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.caption.captioners.captioner import (
    CaptionDraft,
    CaptionRequest,
    CaptionSource,
    ClipFile,
    Declined,
    Instruction,
    PictureBudget,
)
from tools.caption.run import run_captioner
from tools.project import ToolStopped
from trainer_core.errors import DataError, ExternalError

CLIPS = [ClipFile(Path(f"{number}.mp4"), f"{number}.mp4", "video") for number in range(12)]


class Batches:
    """Captions batches of four at once; after `gives_up_after` of them it gives up."""

    source: CaptionSource = "local"
    model = "x"
    batch_size = 4
    concurrency = 1
    waiting = 1
    sees = hears = False
    budget = PictureBudget()

    def __init__(self, gives_up_after: int = 99) -> None:
        self.gives_up_after = gives_up_after
        self.batches = 0
        self.opened = self.closed = False

    async def open(self) -> None:
        self.opened = True

    async def caption(self, requests: Sequence[CaptionRequest]) -> list[CaptionDraft | Declined]:
        assert self.opened
        self.batches += 1
        if self.batches > self.gives_up_after:
            raise ExternalError("gone", "")
        await asyncio.sleep(0)
        return [CaptionDraft(request.clip.name, "local", False) for request in requests]

    async def close(self) -> None:
        self.closed = True


def prepared(clip: ClipFile, looked: int) -> CaptionRequest:
    if clip.name == f"{looked}.mp4":
        return CaptionRequest(clip, Instruction("", "ltx", "1"))
    raise DataError(f"{clip.name} has no look of its own", "")


def look(clip: ClipFile) -> int:
    return int(clip.path.stem)


def test_every_answer_is_kept_on_one_thread_that_is_not_the_loop_s() -> None:
    kept: dict[int, str] = {}
    threads = set()

    def finished(index: int, answer: CaptionDraft | Declined) -> None:
        threads.add(threading.get_ident())
        assert isinstance(answer, CaptionDraft)
        kept[index] = answer.caption

    captioner = Batches()
    run_captioner(captioner, CLIPS, look, prepared, finished)
    assert kept == {number: f"{number}.mp4" for number in range(12)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    assert captioner.closed


def test_answers_that_came_before_the_captioner_gave_up_are_kept_however_slow_the_keeping_is() -> None:
    kept = []
    gave_up = threading.Event()

    class GivesUp(Batches):
        async def caption(self, requests: Sequence[CaptionRequest]) -> list[CaptionDraft | Declined]:
            try:
                return await super().caption(requests)
            except ExternalError:
                gave_up.set()
                raise

    def finished(index: int, answer: CaptionDraft | Declined) -> None:
        assert gave_up.wait(30)  # all of them are still to be kept when the run is over
        kept.append(index)

    with pytest.raises(ExternalError, match="gone"):
        run_captioner(GivesUp(gives_up_after=1), CLIPS, look, prepared, finished)
    assert len(kept) == 4


@pytest.mark.parametrize("ending", [ExternalError("the disk is full", ""), ZeroDivisionError()])
def test_what_the_keeping_raises_ends_the_run_as_it_is(ending: Exception) -> None:
    kept = []

    def finished(index: int, answer: CaptionDraft | Declined) -> None:
        kept.append(index)
        if len(kept) == 2:
            raise ending

    with pytest.raises(type(ending)):
        run_captioner(Batches(), CLIPS, look, prepared, finished)
    assert len(kept) >= 4  # the rest of the batch that was handed over


def test_a_clip_that_can_t_be_prepared_is_declined_and_the_others_go_on() -> None:
    answers: dict[int, CaptionDraft | Declined] = {}
    run_captioner(Batches(), CLIPS, lambda clip: 3, prepared, answers.__setitem__)
    assert len(answers) == 12
    assert [index for index, answer in answers.items() if isinstance(answer, CaptionDraft)] == [3]


def test_a_run_that_is_not_wanted_any_more_ends_without_waiting_for_its_answers() -> None:
    kept = []

    class Slow(Batches):
        async def caption(self, requests: Sequence[CaptionRequest]) -> list[CaptionDraft | Declined]:
            if self.batches:
                await asyncio.sleep(600)
            return await super().caption(requests)

    def still_wanted() -> None:
        if kept:
            raise ToolStopped

    with pytest.raises(ToolStopped):
        run_captioner(Slow(), CLIPS, look, prepared, lambda index, answer: kept.append(index), still_wanted)
    assert len(kept) == 4
