"""Messages from the air to the disk: real ModemManager, its parts put together, and the SIM has room again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from failover.config.modems import Matter, Messages
from failover.export.messages import Kept, read
from failover.inbox import Ends, Inbox
from failover.model import Notice
from failover.modems.room import Modems
from tests.modems.at import AtModem
from tests.modems.manager import MODEM
from tests.modems.mbim import MbimModem
from tests.modems.modem import Modem
from tests.modems.rig import Rig

SUSPENSION = "ご利用料金のお支払いが確認できないため、10/9に利用停止いたします。" * 4
"""In UCS-2, and in parts."""
CODE = "Your verification code is 123456"


class Van:
    """A room of modems and an inbox, as the agent has them."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.notices = list[Notice]()
        self.received = list[Kept]()
        self.said = list[str]()
        ends = Ends(
            notice=self.notices.append,
            received=self.received.append,
            forget=self._forget,
            uplink=lambda _: "au",
            trusted=lambda: True,
            say=lambda _, text: self.said.append(text),
        )
        self.inbox = Inbox(folder, Messages(), ends)
        self.room = Modems(lambda _: None, self.inbox.heard, lambda _, text: self.said.append(text), rig.address)

    def _forget(self, handle: str) -> None:
        self.room.forget(handle)


@pytest.mark.parametrize("number", [1, 2])
def test_a_message_in_parts_is_kept_told_of_and_off_the_sim(
    rig: Rig, mbim: MbimModem, at: AtModem, tmp_path: Path, number: int
) -> None:
    modem = rig.modems[number]
    rig.manager.call(rig.manager.listed(modem.imei), MODEM, "Enable", "b", True)

    async def play() -> None:
        van = Van(rig, tmp_path)
        van.room.begin()
        try:
            modem.deliver("KDDI", SUSPENSION)
            await asyncio.wait_for(gone(van, modem, 1), 30.0)
            modem.deliver("+818011112222", CODE)
            await asyncio.wait_for(gone(van, modem, 2), 30.0)
            assert van.said == []
        finally:
            await van.room.close()
            await van.inbox.close()
        assert [notice.text for notice in van.notices] == ["au: a message from KDDI: suspension, payment"]
        assert [kept.matters for kept in van.received] == [(Matter.SUSPENSION, Matter.PAYMENT), ()]

    asyncio.run(play())
    kept = read(tmp_path)
    assert [(one.number, one.text) for one in kept] == [("KDDI", SUSPENSION), ("+818011112222", CODE)]
    assert modem.sim is not None
    assert {(one.imei, one.iccid) for one in kept} == {(modem.imei, modem.sim.iccid)}
    assert all(one.received_at for one in kept)


async def gone(van: Van, modem: Modem, count: int) -> None:
    """So many have come, and the SIM has none."""
    while len(van.received) < count or modem.messages:
        await asyncio.sleep(0.01)
