"""That somebody in ModemManager's place is as strange as asked."""

from __future__ import annotations

import time

import pytest
from dbus_fast import Variant

from failover.lab.namespaces import Namespace
from tests.modems.fake import NEVER, Call, Fake, Refusal, Reply, modem
from tests.modems.manager import BEARER, MODEM, MODEM_MANAGER, ROOT, SIGNAL, SIMPLE, CallError
from tests.modems.rig import Rig

PATH, BEARER_PATH = f"{ROOT}/Modem/0", f"{ROOT}/Bearer/0"
SECONDS, PER_SECOND = 0.5, 4000


def test_it_tells_errs_and_is_silent_and_changes_as_asked(van: Namespace, rig: Rig, fake: Fake) -> None:
    manager = rig.manager
    assert list(manager.objects()) == [PATH]
    assert manager.get(PATH, SIGNAL, "Nr5g") == {"rsrp": -85.0, "rsrq": -11.0, "snr": 12.5}
    assert manager.get(BEARER_PATH, BEARER, "Ip4Config")["address"] == "10.64.1.2"
    fake.calls()
    fake.answer("Connect", Reply("o", (BEARER_PATH,)))
    assert manager.connect(PATH) == BEARER_PATH
    assert fake.calls() == [Call(PATH, SIMPLE, "Connect", [{"apn": "internet"}])]
    fake.answer("Connect", Refusal(text="busy"))
    with pytest.raises(CallError, match="busy"):
        manager.connect(PATH)
    fake.answer("Connect", NEVER)
    manager.start(PATH, SIMPLE, "Connect", "a{sv}", {})
    fake.change(PATH, MODEM, State=Variant("s", "eleven"))
    assert manager.becomes(PATH, MODEM, "State", lambda state: state == "eleven")
    fake.add(f"{ROOT}/Modem/1", modem(1, "356938035640029"))
    manager.listed("356938035640029")
    fake.remove(PATH)
    manager.gone(PATH)


def test_it_hangs_vanishes_and_comes_back(rig: Rig, fake: Fake) -> None:
    fake.hang()
    rig.manager.start(PATH, SIMPLE, "Connect", "a{sv}", {})
    fake.go_on()
    fake.vanish()
    rig.manager.await_no_owner(MODEM_MANAGER)
    fake.come_back()
    rig.manager.await_owner(MODEM_MANAGER)
    assert list(rig.manager.objects()) == [PATH]


def test_it_floods(rig: Rig, fake: Fake) -> None:
    began = time.monotonic()
    assert fake.flood(PATH, SECONDS, PER_SECOND) == SECONDS * PER_SECOND
    assert time.monotonic() - began >= SECONDS
