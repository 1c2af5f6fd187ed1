"""Messages from the SIM to the disk, over full, frozen and broken disks, and over restarts."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from failover.config.modem_values import parse_pattern
from failover.config.modems import Matter, Messages
from failover.export.messages import NAME, Kept, append, read
from failover.inbox import SEE, WAITING_MAX, Ends, Inbox
from failover.model import ControlError, Notice
from failover.modem import Message
from tests.export.disks import NEEDS_ROOT, among_own_mounts, frozen, mount_ext4, mount_memory

PATIENCE = 20.0
BILL = "料金未納のため、10月9日にご利用を停止します"
CODE = "認証コード 123456"


def message(number: int, text: str = BILL) -> Message:
    return Message(
        f"/SMS/{number}", "356938035640011", "8981200000000000022", "+818011112222", text, f"2026-10-01T12:00:{number}"
    )


@dataclass
class Agent:
    """What the agent would hear, and do."""

    folder: Path
    wanted: Messages = field(default_factory=Messages)
    trusted: bool = True
    notices: list[Notice] = field(default_factory=list)
    received: list[Kept] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def live(self, body: Callable[[Inbox], Any]) -> None:
        """One run of it."""

        async def run() -> None:
            ends = Ends(
                self.notices.append,
                self.received.append,
                self.forgotten.append,
                lambda one: "au" if one.imei else "",
                lambda: self.trusted,
                lambda kind, text: self.said.append(text),
            )
            inbox = Inbox(self.folder, self.wanted, ends, retry=0.01)
            try:
                await body(inbox)
            finally:
                await inbox.close()
                await asyncio.sleep(0)

        asyncio.run(run())

    def hear(self, *messages: Message) -> None:
        """A run in which these come, and are taken off the SIM."""

        async def run(inbox: Inbox) -> None:
            before = len(self.forgotten)
            for one in messages:
                inbox.heard(one)
            await until(lambda: len(self.forgotten) - before == len(messages))

        self.live(run)


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_a_message_is_kept_told_of_and_taken_off_the_sim(agent: Agent) -> None:
    async def run(inbox: Inbox) -> None:
        inbox.heard(message(1))
        inbox.heard(message(2, CODE))
        await until(lambda: len(agent.forgotten) == 2)
        assert [kept.text for kept in await inbox.recent(50)] == [BILL, CODE]
        assert [kept.text for kept in await inbox.recent(1)] == [CODE]

    agent.live(run)
    assert agent.forgotten == ["/SMS/1", "/SMS/2"]
    assert [(kept.number, kept.text, kept.matters, kept.uplink) for kept in read(agent.folder)] == [
        ("+818011112222", BILL, (Matter.SUSPENSION, Matter.PAYMENT), "au"),
        ("+818011112222", CODE, (), "au"),
    ]
    assert agent.received == read(agent.folder)
    (notice,) = agent.notices
    assert notice.text == "au: a message from …2222: suspension, payment"
    assert notice.fields == {"uplink": "au", "sender": "…2222", "matters": "suspension, payment"}
    assert agent.said == []


def test_it_is_on_disk_and_listed_before_it_is_taken_off_the_sim(agent: Agent) -> None:
    there: list[int] = []
    listed: list[int] = []

    async def run(inbox: Inbox) -> None:
        def look() -> None:
            there.append(len(read(agent.folder)))
            listed.append(len(inbox._keeper.shown or ()))

        agent.forgotten = Watched(look)
        inbox._keeper._ends = replace(inbox._keeper._ends, forget=agent.forgotten.append)  # at once, in the thread
        for number in range(3):
            inbox.heard(message(number))
        await until(lambda: len(agent.forgotten) == 3)

    agent.live(run)
    assert all(count > place for place, count in enumerate(there))
    assert all(count > place for place, count in enumerate(listed))


class Watched(list[str]):
    """A list that tells when something is put into it."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def append(self, one: str) -> None:
        self._tell()
        super().append(one)


def test_a_message_that_is_read_twice_is_kept_once(agent: Agent) -> None:
    """The agent ended after the disk had it, and before the SIM had let go of it; it has another handle by then."""
    agent.hear(message(1))
    agent.hear(replace(message(1), handle="/SMS/9"), message(2))
    assert agent.forgotten == ["/SMS/1", "/SMS/9", "/SMS/2"]
    assert [kept.received_at for kept in read(agent.folder)] == [message(1).received_at, message(2).received_at]
    assert len(agent.notices) == len(agent.received) == 2


def test_the_text_can_be_left_out(agent: Agent) -> None:
    agent.hear(message(1))
    agent.wanted = Messages(text=False)
    agent.hear(message(2))
    assert [(kept.text, kept.matters) for kept in read(agent.folder)] == [
        (None, (Matter.SUSPENSION, Matter.PAYMENT))
    ] * 2
    assert BILL.encode() not in (agent.folder / NAME).read_bytes()


def test_nothing_is_kept_nor_deleted_where_nothing_is_to_be_kept(agent: Agent) -> None:
    agent.hear(message(1))
    agent.wanted = Messages(keep=0.0)

    async def run(inbox: Inbox) -> None:
        for number in (2, 3, 3):
            inbox.heard(message(number))
        await until(lambda: len(agent.notices) == 3 and not (agent.folder / NAME).exists())
        assert await inbox.recent(50) == ()

    agent.live(run)
    assert agent.forgotten == ["/SMS/1"]
    assert not (agent.folder / NAME).exists()


def test_a_new_will_is_obeyed_at_once(agent: Agent) -> None:
    async def run(inbox: Inbox) -> None:
        inbox.heard(message(1))
        await until(lambda: agent.forgotten)
        inbox.follow(Messages(patterns=MappingProxyType({Matter.CAP: ("123456",)})))
        inbox.heard(message(2, CODE))
        await until(lambda: len(agent.notices) == 2)
        inbox.follow(Messages(text=False))
        await until(lambda: read(agent.folder)[0].text is None)

    agent.live(run)
    assert agent.notices[1].text == "au: a message from …2222: cap"


def test_what_was_kept_for_long_enough_goes(agent: Agent) -> None:
    agent.hear(message(1), message(2))
    first, second = read(agent.folder)
    (agent.folder / NAME).unlink()
    append(agent.folder, [replace(first, unix=first.unix - 90 * 86400.0), second])

    async def run(inbox: Inbox) -> None:
        await inbox.recent(1)
        await until(lambda: len(read(agent.folder)) == 1)

    agent.live(run)
    assert read(agent.folder) == [second]


def test_age_is_not_told_by_a_clock_that_nobody_set(agent: Agent) -> None:
    """A box without a battery starts in 1970: what comes then is not 56 years old when the clock is set, and what is
    there is not young."""
    agent.trusted = False
    agent.hear(message(1))
    (kept,) = read(agent.folder)
    (agent.folder / NAME).unlink()
    append(agent.folder, [replace(kept, unix=5.0)])

    async def run(inbox: Inbox) -> None:
        await inbox.recent(1)

    agent.live(run)
    assert read(agent.folder)[0].unix == 5.0
    agent.trusted = True

    async def later(inbox: Inbox) -> None:
        await inbox.recent(1)
        await until(lambda: read(agent.folder)[0].trusted)

    agent.live(later)
    assert read(agent.folder)[0].unix == pytest.approx(time.time(), abs=60)


@NEEDS_ROOT
def test_what_a_full_disk_does_not_take_stays_on_the_sim(agent: Agent) -> None:
    def body() -> None:
        mount_memory(agent.folder, 64 << 10)
        ballast = agent.folder / "ballast"
        ballast.write_bytes(b"x" * (64 << 10))

        async def run(inbox: Inbox) -> None:
            inbox.heard(message(1))
            await until(lambda: agent.said)
            assert agent.forgotten == []
            assert len(agent.notices) == 1
            assert [kept.text for kept in await inbox.recent(9)] == [BILL]
            ballast.unlink()
            await until(lambda: agent.forgotten == ["/SMS/1"] and len(agent.said) == 2)

        agent.live(run)
        assert [kept.text for kept in read(agent.folder)] == [BILL]
        assert len(agent.notices) == 1

    among_own_mounts(body)
    assert agent.said == [
        f"messages.jsonl: No space left on device; messages stay on their SIMs meanwhile; {SEE}",
        "messages.jsonl is written to again; no message is lost",
    ]


@NEEDS_ROOT
def test_a_frozen_disk_holds_nobody_up(agent: Agent, tmp_path: Path) -> None:
    place, image = tmp_path / "disk", tmp_path / "image"
    place.mkdir()
    agent.folder = place

    def body() -> None:
        mount_ext4(place, image)

        async def run(inbox: Inbox) -> None:
            inbox.heard(message(1))
            await until(lambda: agent.forgotten)
            with frozen(place):
                began = time.monotonic()
                for number in range(2, WAITING_MAX + 9):
                    inbox.heard(message(number))
                assert len(await inbox.recent(50)) == 1
                await until(lambda: agent.said)
                assert time.monotonic() - began < PATIENCE / 4
            await until(lambda: len(agent.forgotten) > 250)

        agent.live(run)

    among_own_mounts(body)
    assert agent.said == [f"{WAITING_MAX} messages wait to be kept; more stay on their SIMs"]


def test_what_is_no_file_is_said_and_the_events_come_all_the_same(agent: Agent) -> None:
    os.mkfifo(agent.folder / NAME)

    async def run(inbox: Inbox) -> None:
        inbox.heard(message(1))
        await until(lambda: agent.notices and agent.said)
        with pytest.raises(ControlError, match=r"messages.jsonl cannot be read: Not a regular file") as refused:
            await inbox.recent(1)
        (warning,) = inbox.warnings
        assert warning.startswith("messages are not kept, and stay on their SIMs: messages.jsonl: Not a regular file")
        assert refused.value.hint == SEE
        (agent.folder / NAME).unlink()
        await until(lambda: agent.forgotten and not inbox.warnings)

    agent.live(run)
    assert len(agent.notices) == 1
    assert stat.S_IMODE((agent.folder / NAME).stat().st_mode) == 0o600


def test_hostile_texts_do_not_hold_the_loop_up(agent: Agent) -> None:
    """Worst patterns of the config on worst texts; the loop's own lateness is measured."""
    worst = tuple(parse_pattern(f"[a-d]{{1,30}}[a-d]{{0,30}}{end}") for end in "!%#")
    agent.wanted = Messages(patterns=MappingProxyType(dict.fromkeys(Matter, worst)))
    late = [0.0]

    async def run(inbox: Inbox) -> None:
        loop = asyncio.get_running_loop()
        for number in range(5):
            inbox.heard(message(number, "abcd" * 250))
        while len(agent.received) < 5 or len(late) < 10:
            due = loop.time() + 0.001
            await asyncio.sleep(0.001)
            late.append(loop.time() - due)

    agent.live(run)
    assert sorted(late)[-3] < 0.05, sorted(late)[-5:]


def test_the_thread_begins_with_the_first_message(agent: Agent) -> None:
    async def run(inbox: Inbox) -> None:
        assert not [one for one in threading.enumerate() if one.name == "inbox"]
        inbox.heard(message(1))
        assert [one for one in threading.enumerate() if one.name == "inbox"]

    agent.live(run)
