"""The load's own clock and tasks, which hold with the oldest Python too."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from lab.clients.traffic import Traffic, within


def test_what_takes_too_long_is_ended() -> None:
    """By a TimeoutError in the block, which goes on after it."""

    async def late() -> str:
        try:
            async with within(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            await asyncio.sleep(0)
            return "ended"
        return "never ended"

    assert asyncio.run(late()) == "ended"


def test_what_is_quick_enough_is_left_alone() -> None:
    """Nothing reaches it afterwards, and its own errors are what they are."""

    async def quick() -> None:
        async with within(0.01):
            pass
        await asyncio.sleep(0.05)
        with pytest.raises(ConnectionResetError):
            async with within(30):
                raise ConnectionResetError

    asyncio.run(quick())


def test_who_is_cancelled_from_outside_is_cancelled() -> None:
    """That is no timeout."""

    async def cancelled() -> None:
        async def waits() -> None:
            async with within(30):
                await asyncio.sleep(30)

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_a_client_that_breaks_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load of which a part is missing counts too little: the error is told, and nothing goes on beside it."""

    def breaks(traffic: Traffic, client: int) -> Coroutine[Any, Any, None]:
        async def soon() -> None:
            await asyncio.sleep(0.01)
            raise ZeroDivisionError(f"client {client}")

        return soon()

    monkeypatch.setattr(Traffic, "_stay_connected", breaks)

    async def run() -> None:
        await Traffic("127.0.0.1", 1, rate=0, keep_alive=2, lane=0, keep=False).run()

    with pytest.raises(ZeroDivisionError, match="client"):
        asyncio.run(asyncio.wait_for(run(), 20))
