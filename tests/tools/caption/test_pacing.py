import asyncio

import pytest

from tools.endpoint import pacing
from tools.endpoint.pacing import RequestPace


def test_too_many_halves_the_limit_once_for_all_that_were_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def complain() -> list[int]:
        pace = RequestPace(8)
        limits = []
        for attempt in range(3):
            await asyncio.gather(*(pace.complained(attempt, 0.01) for _ in range(4)))
            limits.append(pace.limit)
            await asyncio.sleep(0.02)
        return limits

    assert asyncio.run(complain()) == [4, 2, 1]


def test_good_answers_let_requests_in_again() -> None:
    async def recover() -> int:
        pace = RequestPace(4)
        await pace.complained(0, 0.0)
        for _ in range(2 * pacing.EASE_AFTER):
            await pace.went_well()
        return pace.limit

    assert asyncio.run(recover()) == 4


def test_never_more_under_way_than_the_limit_and_all_wait_out_a_pause() -> None:
    async def crowd() -> tuple[int, float]:
        pace, at_once, most = RequestPace(3), 0, 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        pace.pause(0, 0.05)

        async def ask() -> float:
            nonlocal at_once, most
            async with pace.turn():
                began_at = loop.time() - began
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0)
                at_once -= 1
            return began_at

        times = await asyncio.gather(*(ask() for _ in range(9)))
        return most, min(times)

    most, earliest = asyncio.run(crowd())
    assert most <= 3
    assert earliest >= 0.05


@pytest.mark.parametrize("retry_after_s", [-5.0, 1e9])
def test_a_senseless_retry_after_neither_breaks_nor_blocks(retry_after_s: float) -> None:
    async def wait() -> float:
        pace = RequestPace(1)
        pace.pause(0, retry_after_s)
        return pace._resume_at - asyncio.get_running_loop().time()

    assert asyncio.run(wait()) <= pacing.LONGEST_WAIT_S
