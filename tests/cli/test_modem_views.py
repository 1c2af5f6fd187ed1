"""The modems in `status` and `explain`, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.cli.screen import Screen
from failover.cli.views import explain_lines, status_lines
from failover.cli.watching import _essence
from failover.export import explain, modem_status
from failover.export.status import document
from failover.model import Verdict
from failover.modem import ModemState, Registration
from failover.picture import ModemView, Shared, Sharing, UplinkView
from tests.cli.conftest import ABOUT, EXPLANATION, UNIX
from tests.export.pictures import MODEM, NOW, VIEW, mobile, snapshot

pytestmark = pytest.mark.usefixtures("utc")

REST = ModemView(2, MODEM, listed=True)
BROKEN = replace(VIEW, step="register", step_next="reset", step_due=NOW + 12.5, resets=(NOW - 60,))
LOCKED = replace(VIEW, modem=replace(MODEM, state=ModemState.LOCKED, lock="sim-pin", registration=Registration.ROAMING))
STILL = replace(LOCKED, obstacle="it is the only link")


def shown(*views: ModemView, width: int | None = None) -> list[str]:
    """The table of modems."""
    lines = list(status_lines(document(mobile(*views), NOW), None, UNIX, Screen(width)))
    return lines[lines.index("") + 1 :]


def test_a_row_for_each_modem() -> None:
    assert shown(VIEW, REST) == [
        "modem   slot  state        network    signal   repair",
        "au      1     connected    KDDI 5gnr  -97 dBm",
        "docomo  2     uses slot 1  -          -",
    ]


def test_what_is_amiss_and_why_nothing_is_done() -> None:
    assert shown(STILL, ModemView(2, None))[1:] == [
        "au      1     locked (sim-pin)  KDDI 5gnr, roaming  -97 dBm  nothing: it is the only link",
        "docomo  2     not there         -                   -",
    ]


def test_a_change_of_sim_that_is_due_is_named() -> None:
    """docomo works, au does not."""
    fates = (Shared(name, Sharing.MODEM, "a modem") for name in ("docomo", "au"))
    due = replace(VIEW, slot_due=NOW + 3540)
    both = mobile(due, replace(due, slot=1))
    au, docomo = (replace(one, fate=(fate,)) for one, fate in zip(both.uplinks, fates, strict=True))

    def told(*uplinks: UplinkView) -> list[str]:
        lines = list(status_lines(document(replace(both, uplinks=uplinks), NOW), None, UNIX, Screen(None)))
        return [line.rpartition("dBm")[2].strip() for line in lines[lines.index("") + 2 :]]

    down = {one: replace(view, verdict=Verdict.DOWN) for one, view in au.families.items()}
    assert told(replace(au, families=down), docomo) == ["another SIM in 59 min", "returns to au in 59 min"]
    assert told(docomo, replace(au, families=down)) == ["another SIM in 59 min"] * 2, "it is the preferred one"
    assert told(replace(au, drained=True), docomo)[1] == "another SIM in 59 min"
    assert told(docomo) == ["returns to au in 59 min"], "asked of that one alone"


def test_a_narrow_terminal_has_the_repair_below() -> None:
    assert shown(replace(BROKEN, slot_due=NOW + 20), REST, width=44) == [
        "modem   state        network    signal",
        "au      connected    KDDI 5gnr  -97 dBm",
        "     after register: reset in 12 s; another",
        "     SIM in 20 s; 1 reset in 24 h",
        "docomo  uses slot 1  -          -",
    ]


def test_without_modems_there_is_no_table_of_them() -> None:
    assert "" not in status_lines(document(snapshot(), NOW), None, UNIX, Screen(None))


def test_of_one_uplink_that_modem_alone() -> None:
    lines = list(status_lines(document(mobile(VIEW, REST), NOW), "docomo", UNIX, Screen(None)))
    assert [line.split()[0] for line in lines[lines.index("") + 1 :]] == ["modem", "docomo"]


def test_explain_says_what_comes_next_or_why_nothing_does() -> None:
    two = mobile(BROKEN, replace(STILL, slot_due=NOW + 3))
    told = {**explain.document([EXPLANATION], NOW), "modems": modem_status.repairs(two, NOW)}
    assert list(explain_lines(told, UNIX, Screen(None)))[-3:] == [
        "",
        "modem of au: register was tried; reset not before 14:13:33; 1 reset in 24 h",
        "modem of docomo: nothing is done: it is the only link; another SIM not before 14:13:23",
    ]


def test_a_step_of_repair_is_news_to_a_watcher_and_a_signal_is_not() -> None:
    def essence(view: ModemView) -> object:
        return _essence({**ABOUT, **document(mobile(view), NOW)})

    weaker = replace(VIEW, modem=replace(MODEM, signal=replace(MODEM.signal, rsrp=-101.0)))
    assert essence(weaker) == essence(VIEW)
    assert essence(replace(VIEW, step="reset")) != essence(VIEW)
    assert essence(replace(VIEW, listed=False)) != essence(VIEW)
