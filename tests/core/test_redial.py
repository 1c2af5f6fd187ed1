"""Another apn, user, password or ip in the config: when a connection that stands is made anew, and what is said until
then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from failover.config import Reconfigured
from failover.config.modems import Dialer, Repair, Roaming
from failover.config.rules import Aim, Match, TrafficRule
from failover.facts import Address
from failover.model import Drain, NoticeKind, Use, Verdict
from failover.modem import Deed, Dial

from .box import dead
from .garage import NETWORKS, Garage, Unit, imei, of_modem
from .worlds import V4, V6, way

RECONNECT = [(100.0, "reconnect")]


def pair(connect: Dialer = Dialer.SELF, foreign: str = "") -> tuple[Garage, Unit, Unit]:
    """Two modems that the agent dials, both well for 100 s; `docomo` carries the traffic."""
    one, other = (Unit(imei(n + 1), f"wwan{n}", foreign=foreign, settings=()) for n in range(2))
    box = Garage(one, other, uplinks=(of_modem("docomo", 1, connect=connect), of_modem("au", 2, connect=connect)))
    return box.run(100.0), one, other


def reload(box: Garage, name: str, **fields: Any) -> None:
    """These fields of that uplink's modem, or of what is dialled, are others now."""
    config, asked = box.engine.config, {key: fields.pop(key) for key in list(fields) if hasattr(Dial(), key)}
    uplinks = []
    for uplink in config.uplinks:
        assert uplink.modem
        modem = replace(uplink.modem, dial=replace(uplink.modem.dial, **asked), **fields)
        uplinks.append(replace(uplink, modem=modem) if uplink.name == name else uplink)
    box.tell(Reconfigured(replace(config, uplinks=tuple(uplinks))))


def done(box: Garage, name: str, since: float = 99.0) -> list[tuple[float, str]]:
    return [(round(at, 2), str(deed.deed)) for at, deed in box.deeds if at >= since and deed.uplink == name]


def warnings(box: Garage) -> tuple[str, ...]:
    return box.engine.snapshot().warnings


@pytest.mark.parametrize("asked", [{"apn": "new"}, {"user": "u"}, {"password": "p"}, {"families": (V4,)}])
def test_what_carries_nothing_is_dialled_anew_at_once_and_once(asked: dict[str, Any]) -> None:
    box, _, _ = pair()
    reload(box, "au", **asked)
    box.run(3700.0)
    assert (done(box, "au"), done(box, "docomo"), box.switches(99.0)) == (RECONNECT, [], [])
    assert next(deed for _, deed in box.deeds).dial == replace(Dial(), **asked)
    assert (box.verdict("au"), warnings(box)) == (Verdict.UP, ())
    told = [notice for _, notice in box.notices if "dialled anew" in notice.text]
    assert [(notice.kind, notice.text) for notice in told] == [
        (NoticeKind.MODEM, "au: dialled anew, as the config says now")
    ]


def test_what_carries_traffic_keeps_its_connection_and_says_so_until_another_one_is_used() -> None:
    box, _, _ = pair()
    reload(box, "docomo", apn="new", user="me")
    box.run(3700.0)
    said = (
        "docomo: it carries traffic, and uplinks.docomo.modem.apn, uplinks.docomo.modem.user count from its next "
        "connection: `failover use au --for 1m` has it dialled anew"
    )
    assert (box.deeds, box.switches(99.0), warnings(box)) == ([], [], (said,))
    assert [at for at, notice in box.notices if notice.kind is NoticeKind.WARNING and notice.text == said] == [100.0]
    box.ask(Use("au", 60.0))
    box.run(3710.0)
    assert (done(box, "docomo"), warnings(box)) == ([(3700.0, "reconnect")], ())
    box.run(7500.0)
    assert (len(box.deeds), box.active()) == (1, "docomo")


def test_what_is_put_back_before_it_came_into_force_changes_nothing() -> None:
    box, _, _ = pair()
    reload(box, "docomo", apn="new")
    box.run(200.0)
    reload(box, "docomo", apn="")
    box.run(201.0)
    box.ask(Use("au", 60.0))
    box.run(600.0)
    assert (box.deeds, warnings(box)) == ([], ())


@pytest.mark.parametrize("last", ["newer", ""])
def test_another_reload_while_it_is_dialled_anew_is_obeyed_after_that(last: str) -> None:
    box, _, _ = pair()
    reload(box, "au", apn="new")
    box.run(101.0)
    reload(box, "au", apn=last)
    box.run(1000.0)
    assert [(at, deed.dial.apn) for at, deed in box.deeds] == [(100.0, "new"), (102.0, last)]
    assert (box.verdict("au"), warnings(box)) == (Verdict.UP, ())


@pytest.mark.parametrize("fields", [{"pin": "4711"}, {"roaming": Roaming.DENY}, {"iccid": "89811000000110000001"}])
def test_what_no_connection_is_asked_for_by_leaves_it_alone(fields: dict[str, Any]) -> None:
    box, _, _ = pair()
    reload(box, "au", **fields)
    box.run(300.0)
    assert [deed for _, deed in box.deeds] == []


@pytest.mark.parametrize("connect", [Dialer.AUTO, Dialer.NETWORKMANAGER, Dialer.NONE])
def test_what_others_dial_is_theirs(connect: Dialer) -> None:
    box, _, _ = pair(connect, "" if connect is Dialer.NONE else "NetworkManager")
    for name in ("docomo", "au"):
        reload(box, name, apn="new")
        box.run(box.now + 100.0)
    assert (box.deeds, warnings(box)) == ([], ())


def test_a_connection_that_was_found_is_dialled_anew_after_a_change() -> None:
    box, _, _ = pair(Dialer.AUTO)
    box.restart(box.engine.memory(box.now))
    box.tell_modems()
    box.run(150.0)
    assert box.deeds == []
    reload(box, "au", apn="new")
    box.run(300.0)
    assert done(box, "au") == [(150.0, "reconnect")]


def test_what_changes_while_it_is_dialled_is_not_missed() -> None:
    box, _, other = pair()
    box.drop(other)
    box.run(100.5)
    reload(box, "au", apn="new")
    box.run(300.0)
    assert [(at, deed.deed, deed.dial.apn) for at, deed in box.deeds] == [
        (100.0, Deed.CONNECT, ""),
        (101.0, Deed.RECONNECT, "new"),
    ]


def test_what_changes_while_it_is_dialled_is_not_missed_under_another_name() -> None:
    box, _, other = pair()
    box.drop(other)
    box.run(100.5)
    docomo, au = box.engine.config.uplinks
    assert au.modem
    kddi = replace(au, name="kddi", modem=replace(au.modem, dial=Dial("new")))
    box.tell(Reconfigured(replace(box.engine.config, uplinks=(docomo, kddi))))
    box.run(300.0)
    assert [(at, deed.deed, deed.dial.apn) for at, deed in box.deeds] == [
        (100.0, Deed.CONNECT, ""),
        (101.0, Deed.RECONNECT, "new"),
    ]


def test_what_the_config_leaves_alone_is_warned_of_no_more() -> None:
    box, _, other = pair()
    box.set(other, connected=False, lock="sim-pin")
    reload(box, "docomo", apn="new")
    box.run(110.0)
    assert len(warnings(box)) == 2
    for name in ("docomo", "au"):
        reload(box, name, connect=Dialer.NONE)
        box.run(box.now + 10.0)
    assert warnings(box) == ()


@pytest.mark.parametrize("unfit", ["down", "drained", "without IPv6"])
def test_no_uplink_is_advised_that_could_not_take_the_traffic(unfit: str) -> None:
    box, _, _ = pair()
    if unfit == "down":
        box.weather["au"] = dead(100.0, 1000.0)
    elif unfit == "drained":
        box.ask(Drain("au"))
    else:
        index = next(link.index for link in box.facts.links if link.name == "wwan0")
        routes = (*box.facts.routes, way(index, V6, "fe80::1"))
        addresses = (*box.facts.addresses, Address(index, V6, "2001:db8::2", 64))
        box.facts = replace(box.facts, addresses=addresses, routes=routes)
        box.stir()
    box.run(110.0)
    reload(box, "docomo", apn="new")
    box.run(111.0)
    (warning,) = [text for text in warnings(box) if "apn" in text]
    assert warning.partition("`")[2] == "mmcli -m 0 --simple-disconnect` has it dialled anew"


def test_what_cannot_be_dialled_anew_is_tried_once_and_said() -> None:
    box, _, other = pair()
    other.refuses = {Deed.RECONNECT: "not allowed"}
    reload(box, "au", apn="new")
    box.run(1000.0)
    assert done(box, "au") == RECONNECT
    assert warnings(box) == (
        "au: uplinks.au.modem.apn counts from its next connection: "
        "`mmcli -m 0 --simple-disconnect` has it dialled anew",
    )
    other.refuses = {}
    box.drop(other)
    box.run(1100.0)
    assert (done(box, "au", 999.0), warnings(box)) == ([(1000.0, "connect")], ())


def test_the_only_link_is_dialled_anew_when_nothing_passes_there_any_more() -> None:
    """As with an apn that was wrong."""
    unit = Unit(imei(1), "wwan0", foreign="")
    box = Garage(unit, uplinks=(of_modem("docomo", connect=Dialer.SELF),), repair=Repair(steps=()))
    box.weather["docomo"] = dead(50.0, 320.0)
    box.run(60.0)
    reload(box, "docomo", apn="new")
    box.run(61.0)
    (warning,) = warnings(box)
    assert (box.deeds, warning.partition("`")[2]) == ([], "mmcli -m 0 --simple-disconnect` has it dialled anew")
    box.run(300.0)
    reload(box, "docomo", apn="newer")
    box.run(1000.0)
    found = [(at, deed.deed, deed.dial.apn) for at, deed in box.deeds]
    assert found == [(120.0, Deed.RECONNECT, "new"), (300.0, Deed.RECONNECT, "newer")]
    assert (box.verdict("docomo"), warnings(box)) == (Verdict.UP, ())


def test_a_rule_s_traffic_is_traffic() -> None:
    box, _, _ = pair()
    rule = TrafficRule("telemetry", Match(uids=((1000, 1000),)), Aim(only=frozenset(("au",))))
    box.tell(Reconfigured(replace(box.engine.config, rules=(rule,))))
    box.run(110.0)
    reload(box, "au", apn="new")
    box.run(300.0)
    assert box.deeds == []
    assert warnings(box) == (
        "au: it carries traffic, and uplinks.au.modem.apn counts from its next connection: "
        "`mmcli -m 0 --simple-disconnect` has it dialled anew",
    )


def test_the_sim_in_reserve_is_dialled_as_the_config_says_when_its_turn_comes() -> None:
    unit = Unit(imei(1), "wwan0", sims=NETWORKS, foreign="")
    seats = (of_modem("docomo", slot=1, connect=Dialer.SELF), of_modem("au", slot=2, connect=Dialer.SELF))
    box = Garage(unit, uplinks=seats).run(100.0)
    reload(box, "au", apn="new")
    box.run(200.0)
    assert (box.deeds, warnings(box)) == ([], ())
    box.ask(Use("au"))
    box.run(300.0)
    assert [(deed.deed, deed.dial.apn) for _, deed in box.deeds] == [(Deed.SELECT_SLOT, ""), (Deed.CONNECT, "new")]
