"""The newest wish, one at a time, and each complaint once; whatever the other side does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from failover.model import FAMILIES
from failover.names import following
from failover.names.backend import NamesError
from failover.names.following import Following, Heard
from failover.resolvers import Resolvers

ONE, TWO, THREE = ((Resolvers(name, (), FAMILIES),) for name in ("up1", "up2", "up3"))
Said = list[tuple[str, str]]


class Slow:
    """A way that is done when the test lets it be, or fails."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Sequence[object]] = asyncio.Queue()
        self.outcomes: asyncio.Queue[tuple[str, ...] | NamesError] = asyncio.Queue()
        self.at_work = self.closed = 0

    async def told(self, interfaces: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        outcome = await self._outcome(interfaces)
        return dict.fromkeys(interfaces, outcome)

    async def follow(self, wanted: Sequence[Resolvers]) -> tuple[str, ...]:
        return await self._outcome(wanted)

    async def _outcome(self, asked: Sequence[object]) -> tuple[str, ...]:
        self.at_work += 1
        assert self.at_work == 1
        self.begun.put_nowait(asked)
        try:
            outcome = await self.outcomes.get()
        finally:
            self.at_work -= 1
        if isinstance(outcome, NamesError):
            raise outcome
        return outcome

    async def restore(self) -> tuple[str, ...]:
        return ()

    async def close(self) -> None:
        self.closed += 1


def made(backend: Slow, heard: Heard = lambda told: None) -> tuple[Following, Said]:
    said: Said = []
    return Following(backend, lambda kind, text: said.append((kind, text)), heard), said


def test_the_newest_wish_follows_the_one_at_work_and_those_between_are_forgotten() -> None:
    async def play() -> None:
        slow = Slow()
        names, said = made(slow)
        names.follow(ONE)
        assert await slow.begun.get() == ONE
        names.follow(TWO)
        names.follow(THREE)
        slow.outcomes.put_nowait(("one is set",))
        assert await slow.begun.get() == THREE
        slow.outcomes.put_nowait(())
        await names.settled()
        assert slow.begun.empty()
        assert said == [("kernel", "one is set")]
        names.follow(TWO)
        assert await slow.begun.get() == TWO
        await names.close()

    asyncio.run(play())


def test_a_complaint_is_said_once_until_it_is_another_or_over() -> None:
    async def play() -> None:
        slow = Slow()
        names, said = made(slow)
        outcomes = (NamesError("no", "do"), NamesError("no", "do"), NamesError("nay"), (), NamesError("nay"))
        for outcome in outcomes:
            names.follow(ONE)
            slow.outcomes.put_nowait(outcome)
            await names.settled()
        await names.close()
        prefix = "names may not follow the uplink: "
        assert [text.removeprefix(prefix) for _, text in said] == ["no; do", "nay", "nay"]
        assert {kind for kind, _ in said} == {"warning"}

    asyncio.run(play())


def test_a_wish_goes_before_a_question_and_complaints_of_both_are_kept_apart() -> None:
    async def play() -> None:
        slow = Slow()
        answers: list[Mapping[str, tuple[str, ...]]] = []
        names, said = made(slow, answers.append)
        for _ in range(2):
            names.ask(("up2",))
            names.ask(("up1",))
            names.follow(ONE)
            assert await slow.begun.get() == ONE
            slow.outcomes.put_nowait(())
            assert await slow.begun.get() == ("up1",)
            slow.outcomes.put_nowait(NamesError("no", "do"))
            await names.settled()
        names.ask(("up1",))
        slow.outcomes.put_nowait(("192.0.2.1",))
        await names.settled()
        await names.close()
        assert said == [("warning", "the uplinks' name servers are not known: no; do")]
        assert answers == [{"up1": ("192.0.2.1",)}]

    asyncio.run(play())


def test_one_that_never_ends_is_left_and_the_next_wish_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SECONDS", 0.1)

    async def play() -> None:
        slow = Slow()
        names, said = made(slow)
        names.follow(ONE)
        await names.settled()
        assert said == [("warning", "names may not follow the uplink: not done after 0.1 s")]
        assert slow.closed == 1
        names.follow(TWO)
        slow.outcomes.put_nowait(("two is set",))
        await names.settled()
        assert said[1:] == [("kernel", "two is set")]
        await names.close()

    asyncio.run(play())


def test_at_the_end_nothing_more_is_begun() -> None:
    async def play() -> None:
        slow = Slow()
        names, said = made(slow)
        names.follow(ONE)
        await slow.begun.get()
        names.follow(TWO)
        await names.close()
        await names.settled()
        assert (slow.closed, slow.at_work, slow.begun.empty(), said) == (1, 0, True, [])

    asyncio.run(play())
