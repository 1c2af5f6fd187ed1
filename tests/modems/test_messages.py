"""SMS that arrive on real modems, and those that no carrier would send."""

from __future__ import annotations

import asyncio

import pytest
from dbus_fast import Variant

from failover.modem import Deed
from failover.modems.messages import TEXT
from failover.modems.values import ITEMS
from tests.modems.at import AtModem
from tests.modems.fake import Fake, Properties, Refusal, Reply
from tests.modems.listener import Listener, listening
from tests.modems.manager import MESSAGING, MODEM_MANAGER, ROOT, SMS
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig

NOTICE = "ご利用料金のお支払いが確認できないため、10/9に利用停止いたします。" * 4
IMEI, PATH = "356938035640011", f"{ROOT}/Modem/0"
STORED, RECEIVING, RECEIVED = 1, 2, 3


# --- real modems -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_a_message_in_parts_is_read_whole_kept_and_deleted(rig: Rig, mbim: MbimModem, at: AtModem, number: int) -> None:
    real = rig.modems[number]

    async def play() -> None:
        async with listening(rig) as listener:
            modem = await listener.modem(real.imei)
            assert (await listener.act(modem, Deed.ENABLE)).error == ""
            real.deliver("+818011112222", NOTICE)
            await listener.until(lambda: listener.messages, "a message")
            (message,) = listener.messages
            assert (message.number, message.text) == ("+818011112222", NOTICE)
            assert modem.sim is not None
            assert (message.imei, message.iccid) == (modem.imei, modem.sim.iccid)
            assert message.received_at.startswith("2026-10-01T09:30:00")
            assert NOTICE not in repr(message)
            real.deliver("KDDI", "Data cap\r\nreached")
            await listener.until(lambda: len(listener.messages) == 2, "another")
            assert listener.messages[1].text == "Data cap reached"
            async with listening(rig) as late:  # what is there when it begins
                await late.until(lambda: len(late.messages) == 2, "both")
                assert {one.text for one in late.messages} == {one.text for one in listener.messages}
            for one in listener.messages:
                listener.room.forget(one.handle)
            path = modem.handle
            await asyncio.to_thread(rig.manager.becomes, path, MESSAGING, "Messages", lambda left: not left)
            assert real.messages == {}
            assert len(listener.messages) == 2

    asyncio.run(play())


# --- somebody else in ModemManager's place ---------------------------------------------------------------------------


def sms(state: int = RECEIVED, /, **properties: Variant) -> dict[str, Properties]:
    own = {
        "State": Variant("u", state),
        "Number": Variant("s", "au"),
        "Text": Variant("s", "hello"),
        "Timestamp": Variant("s", "2026-10-01T09:30:00+09"),
    }
    return {SMS: own | properties}


def handle(number: int) -> str:
    return f"{ROOT}/SMS/{number}"


def listed(fake: Fake, *numbers: int) -> None:
    """The modem keeps these."""
    fake.change(PATH, MESSAGING, Messages=Variant("ao", [handle(number) for number in numbers]))


async def marked(listener: Listener, fake: Fake) -> str:
    """All that was sent before is read: this one, of which that is the text, comes after it."""
    number = 99 + len(listener.messages)
    text = f"message {number}"
    fake.add(handle(number), sms(Text=Variant("s", text)))
    await asyncio.to_thread(listed, fake, *range(20), number)
    await listener.until(lambda: any(one.text == text for one in listener.messages), text)
    return text


def test_a_message_is_told_when_it_is_whole_and_once(rig: Rig, fake: Fake) -> None:
    fake.add(handle(0), sms(RECEIVING, Text=Variant("s", "half")))
    fake.add(handle(1), sms(STORED, Text=Variant("s", "a draft")))
    listed(fake, 0, 1)

    async def play() -> None:
        async with listening(rig) as listener:
            told = [await marked(listener, fake)]
            assert [one.text for one in listener.messages] == told
            whole = {"State": Variant("u", RECEIVED), "Text": Variant("s", "half and half")}
            await asyncio.to_thread(fake.change, handle(0), SMS, **whole)
            await listener.until(lambda: len(listener.messages) == 2, "it")
            assert listener.messages[1].text == "half and half"
            listed(fake, 0, 1, 99)
            fake.emit(PATH, MESSAGING, "Added", "ob", handle(0), True)
            told += ["half and half", await marked(listener, fake)]
            assert [one.text for one in listener.messages] == told

    asyncio.run(play())


def test_of_more_messages_than_a_list_may_have_the_first_are_told_and_then_the_next(rig: Rig, fake: Fake) -> None:
    many = ITEMS + 30
    fake.answer("GetAll", Reply("a{sv}", (sms()[SMS],)))
    listed(fake, *range(many))

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.until(lambda: len(listener.messages) == ITEMS, "the first")
            assert [one.handle for one in listener.messages] == [handle(number) for number in range(ITEMS)]
            await asyncio.to_thread(listed, fake, *range(ITEMS - 10, many))  # as they are deleted
            await listener.until(lambda: len(listener.messages) == many, "the next")
            assert {one.handle for one in listener.messages} == {handle(number) for number in range(many)}

    asyncio.run(play())


STRANGE: list[tuple[dict[str, Variant], str, str, str]] = [
    ({"Text": Variant("s", "a\u202eb\x1b[1m\n\n c")}, "au", "a?b?[1m c", "2026-10-01T09:30:00+09"),
    ({"Text": Variant("as", ["data"])}, "au", "", "2026-10-01T09:30:00+09"),
    ({"Text": Variant("s", "x" * 15000)}, "au", "x" * (TEXT - 1) + "…", "2026-10-01T09:30:00+09"),
    ({"Number": Variant("s", "9" * 900)}, "9" * 63 + "…", "hello", "2026-10-01T09:30:00+09"),
    ({"Timestamp": Variant("u", 7)}, "au", "hello", ""),
]


@pytest.mark.parametrize(("properties", "number", "text", "at"), STRANGE)
def test_what_comes_from_the_air_is_bounded_and_clean(
    rig: Rig, fake: Fake, properties: dict[str, Variant], number: str, text: str, at: str
) -> None:
    fake.add(handle(0), sms(**properties))
    listed(fake, 0)

    async def play() -> None:
        async with listening(rig) as listener:
            await listener.until(lambda: listener.messages, "a message")
            (message,) = listener.messages
            assert (message.number, message.text, message.received_at) == (number, text, at)

    asyncio.run(play())


def test_what_cannot_be_read_or_deleted_holds_up_nothing(rig: Rig, fake: Fake) -> None:
    fake.answer("Delete", Refusal(f"{MODEM_MANAGER}.Error.Core.Unauthorized", "not you"))
    fake.add(handle(0), {SMS: {"State": Variant("s", "received")}})
    listed(fake, 0)

    async def play() -> None:
        async with listening(rig) as listener:
            await marked(listener, fake)
            assert len(listener.messages) == 1
            for _ in range(3):
                listener.room.forget(listener.messages[0].handle)
            listener.room.forget("/unknown")
            await listener.until(lambda: listener.said, "a complaint")
            fake.answer("Delete", Reply())
            listener.room.forget(listener.messages[0].handle)
            while listener.room.warnings:  # until it is deleted
                await marked(listener, fake)
            (said,) = listener.said
            assert said.startswith("an SMS is not deleted: not you; polkit must allow")
            assert f"{MODEM_MANAGER}.Messaging" in said

    asyncio.run(play())
