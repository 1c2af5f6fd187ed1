"""One ModemManager for all tests of the room: an MBIM modem with two slots as number 1, an AT modem as number 2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from failover.lab.namespaces import Namespace
from tests.agent.modems import pair as pair
from tests.agent.modems import single as single
from tests.allowed import or_skip
from tests.modems.at import AtModem
from tests.modems.box import require
from tests.modems.fake import Fake, bearer, modem
from tests.modems.manager import MODEM_MANAGER, ROOT
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig, rigged


@pytest.fixture(scope="package")
def van() -> Iterator[Namespace]:
    require()
    with or_skip(), Namespace("van") as made:
        yield made


@pytest.fixture(scope="package")
def rig(van: Namespace) -> Iterator[Rig]:
    with rigged(van, start=False) as made:
        made.mbim(1)
        made.at(2)
        made.start()
        yield made


@pytest.fixture
def mbim(rig: Rig) -> Iterator[MbimModem]:
    """It obeys, and has no bearer, before and after."""
    modem = rig.modems[1]
    assert isinstance(modem, MbimModem)
    yield modem
    rig.calm(modem)


@pytest.fixture
def at(rig: Rig) -> Iterator[AtModem]:
    """As `mbim`."""
    modem = rig.modems[2]
    assert isinstance(modem, AtModem)
    yield modem
    rig.calm(modem)


@pytest.fixture
def fake(rig: Rig) -> Iterator[Fake]:
    """In ModemManager's place, with one modem that is connected; the real one is back afterwards."""
    rig.box.kill_modem_manager()
    with Fake(rig.address, {f"{ROOT}/Modem/0": modem(), f"{ROOT}/Bearer/0": bearer()}) as made:
        yield made
    rig.manager.await_no_owner(MODEM_MANAGER)
    rig.start()
