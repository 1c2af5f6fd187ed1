"""Who dials a modem, when, and what becomes of its PIN."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from failover.config.modems import Dialer, Roaming
from failover.config.modems import Modem as Choice
from failover.core.dialler import GRACE, REMINDED, RETRY, RETRY_MAX, SEEN, Dialler, dial
from failover.model import Family
from failover.modem import Bearer, Deed, Dial, IpMethod, IpSettings, Modem, ModemState

SELF = Choice(imei="356938035640011", connect=Dialer.SELF, pin="4711")
AUTO = replace(SELF, connect=Dialer.AUTO)
MODEM = Modem("/modem/0", state=ModemState.REGISTERED)
LOCKED = replace(MODEM, state=ModemState.LOCKED, lock="sim-pin", pin_tries=3)


def due(
    dialler: Dialler,
    now: float,
    modem: Modem | None,
    choice: Choice = SELF,
    *,
    urgent: bool = False,
    spare: bool = False,
) -> Deed | None:
    return dialler.due(now, choice, modem, urgent=urgent, spare=spare)


def of_bearer(method: IpMethod) -> Modem:
    settings = IpSettings(Family.IPV4, method, "10.0.0.2", 30, "10.0.0.1")
    return replace(MODEM, state=ModemState.CONNECTED, bearers=(Bearer("/bearer/0", True, "wwan0", (settings,)),))


def test_what_is_ours_is_dialled_at_once_and_ever_more_slowly() -> None:
    dialler = Dialler(lambda: 0.0)
    now, waits = 100.0, []
    for _ in range(8):
        assert due(dialler, now, MODEM) is Deed.CONNECT
        dialler.acted(now, Deed.CONNECT, SELF, failed=True)
        assert due(dialler, now, MODEM) is None
        waits.append(dialler.deadline - now)
        now = dialler.deadline
    assert waits == [RETRY, 4.0, 8.0, 16.0, 32.0, RETRY_MAX, RETRY_MAX, RETRY_MAX]
    assert due(dialler, now, of_bearer(IpMethod.STATIC)) is None
    assert due(dialler, now, MODEM) is Deed.CONNECT


def test_a_connection_that_does_not_last_is_a_failure() -> None:
    dialler, now, dials = Dialler(lambda: 0.0), 0.0, 0
    while now < 3600.0:
        assert due(dialler, now, MODEM) is Deed.CONNECT
        dialler.acted(now + 0.1, Deed.CONNECT, SELF, failed=False)
        assert due(dialler, now + 0.1, of_bearer(IpMethod.STATIC)) is None
        dials += 1
        now += 0.6
        now = max(now, dialler.deadline) if due(dialler, now, MODEM) is None else now
    assert dials <= 70
    assert due(dialler, now, of_bearer(IpMethod.STATIC)) is None
    assert due(dialler, now + 61.0, MODEM) is Deed.CONNECT


def test_others_have_ten_seconds_to_take_it() -> None:
    dialler = Dialler(lambda: 0.0)
    assert due(dialler, 100.0, MODEM, AUTO) is None
    assert dialler.deadline == 100.0 + GRACE
    assert due(dialler, 100.0 + GRACE, MODEM, AUTO) is Deed.CONNECT
    assert due(dialler, 111.0, of_bearer(IpMethod.STATIC), AUTO) is None
    assert due(dialler, 112.0, MODEM, AUTO) is Deed.CONNECT, "nobody took it before"
    assert due(dialler, 113.0, replace(MODEM, foreign="NetworkManager"), AUTO) is None
    assert dialler.deadline == inf


def test_who_knows_by_what_it_was_connected_has_it_dialled_anew_where_that_is_another_one_now() -> None:
    there, mended = of_bearer(IpMethod.STATIC), replace(SELF, dial=Dial("internet"))
    dialler = Dialler(lambda: 0.0)
    assert due(dialler, 0.0, there, spare=True) is None
    assert due(dialler, 1.0, there, mended) is None
    assert dialler.outdated == ["apn"]
    assert due(dialler, 2.0, there, mended, spare=True) is Deed.RECONNECT
    other = Dialler(lambda: 0.0)
    assert due(other, 0.0, there, spare=True) is None
    assert due(other, 1.0, MODEM, spare=True) is Deed.CONNECT
    assert due(other, 2.0, there, mended, spare=True) is None, "nobody knows who connected it meanwhile"
    dialler.connected(SELF.dial)
    assert due(dialler, 3.0, replace(there, foreign="NetworkManager"), SELF, spare=True) is None
    assert due(dialler, 4.0, there, mended, spare=True) is None, "it was another's meanwhile"


@pytest.mark.parametrize("connect", [Dialer.NETWORKMANAGER, Dialer.NONE])
def test_what_is_not_ours_is_left_alone(connect: Dialer) -> None:
    dialler = Dialler(lambda: 0.0)
    assert [due(dialler, at, MODEM, replace(SELF, connect=connect)) for at in (0.0, 500.0)] == [None, None]


def test_who_dials_is_reminded_of_a_sim_that_was_just_chosen() -> None:
    dialler, foreign = Dialler(lambda: 0.0), replace(MODEM, state=ModemState.DISABLED, foreign="NetworkManager")
    assert due(dialler, 100.0, foreign, AUTO, urgent=True) is None
    assert dialler.deadline == 100.0 + REMINDED
    assert due(dialler, 100.9, replace(foreign, state=ModemState.CONNECTING), AUTO, urgent=True) is None
    assert due(dialler, 101.5, foreign, AUTO, urgent=True) is None, "it was busy just now"
    assert due(dialler, 102.5, foreign, AUTO, urgent=True) is Deed.RECONNECT
    assert due(dialler, 102.5, foreign, AUTO) is None, "not urgent: that is the ladder's"
    dialler.acted(103.0, Deed.RECONNECT, AUTO, failed=True)
    assert due(dialler, 103.1, foreign, AUTO, urgent=True) is None
    assert due(dialler, 103.0 + RETRY, foreign, AUTO, urgent=True) is Deed.RECONNECT


def test_a_pin_is_tried_once_and_with_all_tries_left() -> None:
    dialler = Dialler(lambda: 0.0)
    assert due(dialler, 0.0, LOCKED) is Deed.UNLOCK
    dialler.acted(0.0, Deed.UNLOCK, SELF, failed=True)
    assert due(dialler, 900.0, replace(LOCKED, pin_tries=2)) is None
    assert "wrong" in dialler.trouble
    mended = replace(SELF, pin="1234")
    assert due(dialler, 900.0, replace(LOCKED, pin_tries=2), mended) is Deed.UNLOCK
    dialler.acted(900.0, Deed.UNLOCK, mended, failed=True)
    assert due(dialler, 901.0, replace(LOCKED, pin_tries=1), replace(SELF, pin="9999")) is None
    assert due(Dialler(lambda: 0.0), 0.0, replace(LOCKED, pin_tries=2)) is None, "after a restart nobody knows which"


def test_what_was_tried_is_known_to_whoever_comes_after_and_the_other_slot_has_tries_of_its_own() -> None:
    pins = set[tuple[str, int, str]]()
    assert due(Dialler(lambda: 0.0, pins), 0.0, LOCKED) is Deed.UNLOCK
    assert due(Dialler(lambda: 0.0, pins), 9.0, LOCKED) is None, "the answer was not even waited for"
    assert due(Dialler(lambda: 0.0, pins), 9.0, replace(LOCKED, pin_tries=2), replace(SELF, slot=2)) is None
    assert due(Dialler(lambda: 0.0, pins), 9.0, LOCKED, replace(SELF, slot=2)) is Deed.UNLOCK
    expected = replace(SELF, iccid="8981100000000000018", slot=1)
    assert due(Dialler(lambda: 0.0), 0.0, LOCKED, expected) is None, "whose PIN that would be is not known"


def test_a_pin_is_sent_once_whatever_the_modem_tells_yet_and_whoever_dials() -> None:
    dialler = Dialler(lambda: 0.0)
    assert due(dialler, 0.0, LOCKED) is Deed.UNLOCK
    dialler.acted(0.5, Deed.UNLOCK, SELF, failed=False)
    assert due(dialler, 0.5, LOCKED) is None, "it has not told yet"
    assert due(dialler, 0.6, MODEM) is Deed.CONNECT
    for choice in (AUTO, replace(SELF, connect=Dialer.NETWORKMANAGER)):
        other, foreign = Dialler(lambda: 0.0), replace(LOCKED, foreign="NetworkManager")
        assert due(other, 0.0, foreign, choice) is None, "NetworkManager may have it"
        assert other.deadline == SEEN
        assert due(other, SEEN, foreign, choice) is Deed.UNLOCK
    assert due(Dialler(lambda: 0.0), 99.0, LOCKED, replace(SELF, connect=Dialer.NONE)) is None


@pytest.mark.parametrize(
    ("modem", "choice", "trouble"),
    [
        (replace(LOCKED, lock="sim-puk"), SELF, "asks for sim-puk"),
        (LOCKED, replace(SELF, pin=""), "give its 'pin'"),
        (replace(LOCKED, pin_tries=None), SELF, "does not tell how many tries"),
        (replace(LOCKED, pin_tries=1), SELF, "1 of 3 tries"),
        (of_bearer(IpMethod.DHCP), SELF, "connect: networkmanager"),
    ],
)
def test_why_it_is_not_connected_and_the_mend(modem: Modem, choice: Choice, trouble: str) -> None:
    dialler = Dialler(lambda: 0.0)
    assert due(dialler, 0.0, modem, choice) is None
    assert trouble in dialler.trouble
    assert SELF.pin not in dialler.trouble


def test_roaming_that_is_denied_is_denied_by_the_modem_too() -> None:
    assert [dial(replace(SELF, roaming=one)).roaming for one in Roaming] == [one is not Roaming.DENY for one in Roaming]
