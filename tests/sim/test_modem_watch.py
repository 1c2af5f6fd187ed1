"""What must hold of deeds, caught in the act: an agent that does one deed too many is planted, and the run ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from failover.config import Config
from failover.core.engine import Engine, Event
from failover.model import Verdict
from failover.modem import Deed
from failover.picture import Snapshot
from failover.seam import ActOnModem, Effect
from failover.sim.invariants import InvariantError
from failover.sim.script import Actor, Phase, Script, Van
from failover.sim.stage import play_script

DARK = Phase(until=7000, changes={"loss": (1.0, 1.0)})


def script(van: Van, *phases: Phase) -> Script:
    return Script("t", (Actor("au", phases=phases), Actor("docomo")), 8000.0, van=van, requests_every=60.0)


def breach(brain: type[Engine], van: Van = Van.MODEMS) -> str:
    """What ends the run."""
    with pytest.raises(InvariantError) as caught:
        play_script(script(van), Config(), None, 1, brain)
    return str(caught.value)


def orders(times: Sequence[float], deed: Deed, uplink: str = "docomo", **fields: int) -> type[Engine]:
    """An engine that gives these orders besides, so many seconds after it began."""

    class Orders(Engine):
        _begun = 0.0
        _left = tuple(times)

        def handle(self, now: float, event: Event) -> list[Effect]:
            self._begun = self._begun or now
            if self._left and now >= self._begun + self._left[0]:
                self._left = self._left[1:]
                return [*super().handle(now, event), ActOnModem(uplink, "/modem", deed, **fields)]  # type: ignore[arg-type]
            return super().handle(now, event)

    return Orders


@pytest.mark.parametrize("deed", [Deed.RECONNECT, Deed.REGISTER, Deed.RESET, Deed.POWER_CYCLE])
def test_what_carries_the_traffic_is_not_repaired(deed: Deed) -> None:
    assert "a repair of what carries the traffic" in breach(orders([150.0], deed, "au"))


def test_one_deed_at_a_time() -> None:
    assert "two orders to one modem at a time" in breach(orders([150.0, 150.0], Deed.REGISTER))


def test_resets_lie_apart() -> None:
    told = breach(orders([150.0, 700.0], Deed.RESET))
    assert re.search(r"5\d\d\.?\d* s after the one before, and 600 s are to lie between", told)


def test_resets_are_few_in_a_day() -> None:
    assert "7 in 86400 s, and 6 are allowed" in breach(orders([150.0 + 700 * i for i in range(7)], Deed.RESET))


def test_changes_of_sims_are_few_in_an_hour() -> None:
    told = breach(orders([150.0, 400.0, 700.0], Deed.SELECT_SLOT, slot=1), Van.SIMS)
    assert "3 in 3600 s, and 2 are allowed" in told


def test_an_order_is_for_a_modem() -> None:
    assert "an order to what is no modem" in breach(orders([150.0], Deed.RESET, "eth0"))


def test_two_sims_of_one_modem_are_not_warm_at_once() -> None:
    class Seer(Engine):
        def snapshot(self) -> Snapshot:
            told = super().snapshot()
            warm = [
                replace(u, families={f: replace(v, verdict=Verdict.UP) for f, v in u.families.items()})
                for u in told.uplinks
            ]
            return replace(told, uplinks=tuple(warm))

    assert re.search(r"two SIMs of wwan0 are warm at once: au, docomo", breach(Seer, Van.SIMS))


@pytest.mark.parametrize("van", Van)
def test_a_sound_agent_breaks_nothing_in_any_van(van: Van) -> None:
    assert play_script(script(van, DARK), Config(), None, 1).last is not None
