"""Virtual modems: what they do by themselves, what is done to them, and how long that takes."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

import pytest

from failover.modem import Deed, ModemState, Registration
from failover.seam import ActOnModem, ModemActed
from failover.sim.modems import Air, Fit, VirtualModem, assemble, choices

AWAY = Air(registered=False)
TWO = {"au": Fit("wwan0", 1), "docomo": Fit("wwan0", 2)}


class Yard:
    """Where one modem is, and what it says and does."""

    def __init__(self, fits: dict[str, Fit] | None = None) -> None:
        self.now = 0.0
        self.plugs: list[tuple[float, bool]] = []
        self.serves: list[tuple[float, str, bool]] = []
        self.answers: list[tuple[float, Deed, str]] = []
        self.cures: list[tuple[float, str, float]] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        fits = fits or {"au": Fit("wwan0")}
        (self.modem,) = assemble(fits, {"au": "44051", "docomo": "44010"}, self, "1")

    def run(self, until: float) -> Yard:
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, action = heappop(self._agenda)
            action()
        self.now = until
        return self

    def order(self, deed: Deed, slot: int = 0) -> None:
        self.modem.act(ActOnModem(self.modem.uplink, self.modem.told().handle, deed, slot=slot))

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        heappush(self._agenda, (self.now + seconds, next(self._number), action))

    def plugged(self, _: VirtualModem, *, there: bool) -> None:
        self.plugs.append((round(self.now, 2), there))

    def served(self, _: VirtualModem, uplink: str, *, up: bool) -> None:
        self.serves.append((round(self.now, 2), uplink, up))

    def tell(self) -> None: ...

    def acted(self, event: ModemActed) -> None:
        self.answers.append((round(self.now, 2), event.order.deed, event.error))

    def cured(self, uplink: str, until: float) -> None:
        self.cures.append((round(self.now, 2), uplink, until))


def test_it_begins_connected_as_what_a_config_names() -> None:
    told = Yard().modem.told()
    assert (told.state, told.registration, told.operator_code) == (ModemState.CONNECTED, Registration.HOME, "44051")
    assert told.bearer is not None
    assert told.bearer.interface == "wwan0"
    assert choices(TWO)["docomo"].imei == choices(TWO)["au"].imei == told.imei
    assert choices(TWO)["docomo"].slot == 2


def test_a_reset_takes_its_time_and_it_comes_back_by_another_name_and_is_dialled() -> None:
    yard = Yard()
    before = yard.modem.told().handle
    yard.order(Deed.RESET)
    yard.run(60.0)
    assert yard.plugs == [(0.45, False), (4.8, True)]
    assert yard.serves == [(0.45, "au", False), (6.8, "au", True)]
    assert yard.answers == [(0.45, Deed.RESET, "")]
    assert yard.modem.told().handle != before


def test_nobody_dials_it_where_the_scenario_says_so_until_it_is_reconnected() -> None:
    yard = Yard({"au": Fit("wwan0", dials=False)})
    yard.order(Deed.RESET)
    yard.run(100.0)
    assert not yard.modem.connected
    yard.order(Deed.RECONNECT)
    yard.run(102.0)
    assert yard.modem.connected


def test_another_slot_is_another_uplink_by_the_same_interface() -> None:
    yard = Yard(TWO)
    yard.order(Deed.SELECT_SLOT, slot=2)
    yard.run(10.0)
    assert yard.plugs == []
    assert yard.serves == [(0.45, "au", False), (3.84, "docomo", True)]
    assert (yard.modem.told().slot, yard.modem.told().operator_code) == (2, "44010")


def test_without_a_network_it_searches_and_is_dialled_when_there_is_one_again() -> None:
    yard = Yard()
    yard.modem.breathe("au", AWAY)
    told = yard.modem.told()
    assert (told.state, told.registration, told.bearers) == (ModemState.SEARCHING, Registration.SEARCHING, ())
    yard.run(100.0).modem.breathe("au", Air())
    yard.run(110.0)
    assert yard.serves == [(0.0, "au", False), (102.0, "au", True)]


def test_what_it_says_need_not_be_true() -> None:
    yard = Yard()
    yard.modem.breathe("au", Air(registration=Registration.SEARCHING))
    told = yard.modem.told()
    assert (told.registration, told.state, yard.serves) == (Registration.SEARCHING, ModemState.CONNECTED, [])


def test_the_air_of_a_sim_that_rests_is_met_when_it_is_chosen() -> None:
    yard = Yard(TWO)
    yard.modem.breathe("docomo", AWAY)
    assert yard.modem.connected
    yard.order(Deed.SELECT_SLOT, slot=2)
    assert not yard.run(60.0).modem.connected


def test_a_modem_that_is_rejected_tries_five_times_and_then_seldom() -> None:
    yard = Yard()
    yard.modem.breathe("au", AWAY)
    yard.modem.dice = Random(0)
    tries: list[float] = []
    yard.modem.dice.random = lambda: tries.append(yard.now) or 0.99  # type: ignore[method-assign, func-returns-value]
    yard.modem.breathe("au", Air(attaches=0.5))
    yard.run(800.0)
    assert tries == [1.0, 11.0, 21.0, 31.0, 41.0, 761.0, 771.0, 781.0, 791.0]
    assert yard.modem.told().registration is Registration.DENIED
    yard.order(Deed.REGISTER)
    yard.modem.dice.random = lambda: 0.4  # type: ignore[method-assign]
    yard.run(803.0)
    assert yard.answers == [(803.0, Deed.REGISTER, "")]


@pytest.mark.parametrize(
    ("cure", "deed", "helps"),
    [
        (Deed.RESET, Deed.RECONNECT, False),
        (Deed.RESET, Deed.REGISTER, False),
        (Deed.RESET, Deed.RESET, True),
        (Deed.RECONNECT, Deed.RECONNECT, True),
        (Deed.REGISTER, Deed.RESET, True),
    ],
)
def test_what_is_ill_is_cured_by_its_cure_and_by_harder_ones(cure: Deed, deed: Deed, helps: bool) -> None:
    yard = Yard()
    yard.modem.breathe("au", Air(technology="umts", cure=cure, ends=900.0))
    yard.order(deed)
    yard.run(60.0)
    assert (yard.modem.told().technologies == ("lte",)) is helps
    assert [(uplink, until) for _, uplink, until in yard.cures] == ([("au", 900.0)] if helps else [])


@pytest.mark.parametrize(
    ("deed", "prepare", "error"),
    [
        (Deed.RECONNECT, {"air": AWAY}, "no service"),
        (Deed.REGISTER, {"air": AWAY}, "no network"),
        (Deed.POWER_CYCLE, {}, "unsupported"),
        (Deed.RESET, {"there": False}, "no such modem"),
    ],
)
def test_what_cannot_be_done_is_answered(deed: Deed, prepare: dict[str, Any], error: str) -> None:
    yard = Yard()
    yard.modem.there = prepare.get("there", True)
    yard.modem.breathe("au", prepare.get("air", Air()))
    yard.order(deed)
    yard.run(10.0)
    ((_, _, told),) = yard.answers
    assert told == error
