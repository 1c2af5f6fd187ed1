"""Uplinks that are modems: what is certain acts at once, all else is a hint, and names that change change nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from failover.config import Metered, Reconfigured
from failover.config.modems import Dialer, Roaming
from failover.core.changeover import LEAVE, NUDGE
from failover.core.slots import LOSSY
from failover.facts import Gateway
from failover.model import Auto, Drain, NoticeKind, Undrain, Use, Verdict
from failover.modem import Deed, ModemState, Registration
from failover.seam import ActOnModem, ModemActed, ModemsTold

from .box import dead, lossy, told
from .garage import NETWORKS, Garage, Unit, deeds, dual, imei, of_modem
from .worlds import V4


def pair(**fields: Any) -> tuple[Garage, Unit, Unit]:
    """Two modems, both well for 100 s."""
    one, other = Unit(imei(1), "wwan0"), Unit(imei(2), "wwan1", sims={1: NETWORKS[2]})
    box = Garage(one, other, uplinks=(of_modem("docomo", 1, **fields), of_modem("au", 2)))
    return box.run(100.0), one, other


def test_a_modem_is_an_uplink_by_its_imei() -> None:
    box, _, _ = pair()
    docomo, au = box.engine.snapshot().uplinks
    assert (docomo.interface, au.interface) == ("wwan0", "wwan1")
    assert (docomo.carrier, au.carrier) == ("NTT DOCOMO", "KDDI")
    assert (box.active(), box.verdict("docomo"), box.verdict("au")) == ("docomo", Verdict.UP, Verdict.UP)


def test_a_bearer_that_is_disconnected_is_left_in_the_same_moment() -> None:
    box, one, _ = pair()
    box.drop(one)
    box.run(100.001)
    assert box.switches(100.0) == ["100 docomo>au(au) link-down"]
    assert box.verdict("docomo") is Verdict.DOWN
    assert "bearer disconnected" in told(box, 100.0)[0]


def test_not_registered_is_no_reason_while_packets_pass_but_one_to_look() -> None:
    """KDDI, 4 July 2022: for hours the state said "no service" while data passed."""
    box, one, _ = pair()
    box.set(one, registration=Registration.SEARCHING, state=ModemState.CONNECTED)
    box.run(130.0)
    assert (box.switches(99.0), box.verdict("docomo")) == ([], Verdict.UP)
    assert 100.0 <= box.probes("docomo", 99.9)[0] < 100.01


@pytest.mark.parametrize("metered", [None, Metered()])
def test_a_hint_has_a_standby_watched_for_half_a_minute(metered: Metered | None) -> None:
    box, _, other = pair()
    docomo, au = box.engine.config.uplinks
    box.tell(Reconfigured(replace(box.engine.config, uplinks=(docomo, replace(au, metered=metered)))))
    box.run(200.0)
    quiet = len(box.probes("au", 150.0, 180.0))
    box.set(other, technology="umts")
    box.run(231.0)
    assert len(box.probes("au", 200.0, 230.0)) >= 28 > 3 * quiet
    box.run(300.0)
    assert len(box.probes("au", 240.0, 270.0)) <= quiet + 1


def test_connected_is_no_proof() -> None:
    """ModemManager notices a silent drop only after 30 s; probes do as in any blackout."""
    box, _, _ = pair()
    box.weather["docomo"] = dead(100.0)
    box.run(104.0)
    away, along = box.switches(99.0)
    assert (away.split()[2], along.split()[2]) == ("doubt", "conviction")
    assert 100.35 <= float(away.split()[0]) < 101.6


def test_a_modem_that_is_gone_is_left_at_once_and_returns_as_itself_by_another_interface() -> None:
    box, one, _ = pair()
    penalty = box.engine.snapshot().uplinks[0].families[V4].penalty.figure
    box.vanish(one)
    box.run(100.001)
    assert box.active() == "au"
    slot = box.engine.snapshot().uplinks[0].slot
    box.run(160.0)
    box.appear(one, "wwan7", 9)
    box.run(161.0)
    box.connect(one)
    box.run(165.0)
    docomo = box.engine.snapshot().uplinks[0]
    assert (docomo.interface, docomo.slot, box.verdict("docomo")) == ("wwan7", slot, Verdict.UP)
    assert docomo.families[V4].penalty.figure > penalty
    box.run(400.0)
    assert box.active() == "docomo"


def test_nothing_changes_without_a_manager_nor_when_it_is_back_and_lists_the_modem_late() -> None:
    box, one, _ = pair()
    box.managed = False
    box.tell_modems()
    box.run(150.0)
    box.managed, one.there = True, False
    box.tell_modems()
    box.run(160.0)
    one.there, one.born = True, 1
    box.tell_modems()
    box.run(200.0)
    assert (box.switches(99.0), box.verdict("docomo"), box.deeds) == ([], Verdict.UP, [])


def test_without_a_manager_ever_an_uplink_is_where_it_was_remembered_or_the_config_says() -> None:
    box, _, _ = pair()
    memory = box.engine.memory(box.now)
    box.restart(memory)
    box.run(130.0)
    assert (box.active(), box.verdict("docomo"), box.verdict("au")) == ("docomo", Verdict.UP, Verdict.UP)
    assert box.switches(100.0) == []
    known = zip(box.engine.config.uplinks, ("wwan0", "wwan1"), strict=True)
    uplinks = tuple(replace(uplink, interface=at) for uplink, at in known)
    box.restart(None, config=replace(box.engine.config, uplinks=uplinks))
    box.run(160.0)
    assert (box.active(), box.verdict("au")) == ("docomo", Verdict.UP)


def test_the_wrong_sim_is_not_used_and_people_are_told() -> None:
    one, other = Unit(imei(1), "wwan0", wrong_iccid="8981100000000000022"), Unit(imei(2), "wwan1")
    box = Garage(one, other, uplinks=(of_modem("docomo", 1, iccid="8981100000000000011"), of_modem("au", 2)))
    box.run(30.0)
    assert (box.active(), box.verdict("docomo")) == ("au", Verdict.ABSENT)
    (warning,) = box.engine.snapshot().warnings
    assert warning == "docomo: slot 1 holds SIM …0022, and the config says …0011"
    assert not box.probes("docomo", 1.0)
    assert 15501 not in {route.table for route in box.facts.routes}
    box.set(one, wrong_iccid="8981100000000000011F")
    box.run(60.0)
    assert (box.verdict("docomo"), box.engine.snapshot().warnings) == (Verdict.UP, ())


@pytest.mark.parametrize(
    ("roaming", "active", "metered"),
    [(Roaming.ALLOW, "docomo", False), (Roaming.LAST, "au", True), (Roaming.DENY, "au", False)],
)
def test_a_foreign_network(roaming: Roaming, active: str, metered: bool) -> None:
    box, one, other = pair(roaming=roaming)
    box.set(one, registration=Registration.ROAMING)
    box.run(200.0)
    view = next(u for u in box.engine.snapshot().uplinks if u.name == "docomo")
    assert (box.active(), view.metered) == (active, metered)
    assert (view.families[V4].verdict is Verdict.ABSENT) is (roaming is Roaming.DENY)
    box.drop(other)
    other.refuses = dict.fromkeys(Deed, "no")
    box.run(201.0)
    assert box.active() == ("au" if roaming is Roaming.DENY else "docomo")
    box.set(one, registration=Registration.HOME)
    box.run(600.0)
    assert box.active() == "docomo"


def test_who_is_left_because_it_roams_is_said_to_and_one_that_is_back_home_just_comes_first() -> None:
    box, one, _ = pair(roaming=Roaming.LAST)
    box.set(one, registration=Registration.ROAMING)
    box.run(200.0)
    box.set(one, registration=Registration.HOME)
    box.run(600.0)
    assert [notice.text for _, notice in box.notices if notice.kind is NoticeKind.SWITCH and notice.fields["from"]] == [
        "ipv4 docomo -> au: config: au comes first now, as docomo roams and comes last for that",
        "ipv4 au -> docomo: config: docomo comes first now",
    ]


def test_a_sim_that_rests_is_cold_and_owes_nothing_for_that() -> None:
    box, _ = dual()
    assert (box.verdict("docomo"), box.verdict("au")) == (Verdict.UP, Verdict.COLD)
    au = box.engine.snapshot().uplinks[1].families[V4]
    assert (au.text, au.penalty.figure) == ("its modem uses the SIM in slot 1", 0.0)
    assert not box.probes("au")


def cold_text(box: Garage, place: int) -> str:
    return box.engine.snapshot().uplinks[place].families[V4].text


def test_a_cold_sim_says_how_it_is_now() -> None:
    box, _ = dual()
    box.ask(Use("au"))
    box.run(101.0)
    assert cold_text(box, 0) == "its modem changes to au"
    box.run(102.5)
    assert cold_text(box, 1) == "its modem connects by the SIM in slot 2"
    box.run(110.0)
    assert cold_text(box, 0) == "its modem uses the SIM in slot 2"


def test_what_went_wrong_is_a_warning_of_that_sim_until_packets_pass() -> None:
    unit = Unit(imei(1), "wwan0", sims=NETWORKS, connected=False, foreign="", refuses={Deed.CONNECT: "no APN"})
    sims = (of_modem(name, slot=slot, connect=Dialer.SELF) for slot, name in ((1, "docomo"), (2, "au")))
    box = Garage(unit, uplinks=tuple(sims))
    box.run(10.0)
    assert box.engine.snapshot().warnings == ("docomo: connect failed: no APN",)
    box.ask(Use("au"))
    box.run(20.0)
    assert box.engine.snapshot().warnings == ("au: connect failed: no APN",)
    unit.refuses = {}
    box.run(60.0)
    assert (box.active(), box.engine.snapshot().warnings) == ("au", ())


def test_a_sim_that_is_connected_in_vain_is_dialled_anew_once_after_four_seconds_of_doubt() -> None:
    box, _ = dual()
    box.weather["au"] = dead(100.0)
    box.ask(Use("au"))
    box.run(180.0)
    assert [deed for _, deed in deeds(box, 100.0)] == ["select-slot", "reconnect"]
    doubted = next(at for at, notice in box.notices if notice.text.startswith("au ipv4 is doubtful"))
    ((again, said),) = [(at, one.text) for at, one in box.notices if "in vain" in one.text]
    assert said == "au: dialled anew: connected in vain"
    assert doubted + NUDGE <= again <= doubted + NUDGE + 1.0


def test_without_another_link_the_other_sim_is_used_when_the_outage_costs_more_than_the_change() -> None:
    box, unit = dual()
    box.weather["docomo"] = dead(100.0)
    box.drop(unit)
    unit.refuses = {Deed.RECONNECT: "no service"}
    box.run(130.0)
    (at, deed), *_ = deeds(box, 100.0)
    assert (deed, 102.9 <= at <= 103.1) == ("select-slot", True)
    assert (box.active(), box.verdict("docomo"), box.verdict("au")) == ("au", Verdict.COLD, Verdict.UP)
    back = next(at for at, notice in box.notices if notice.kind is NoticeKind.SWITCH and notice.fields["to"] == "au")
    assert back - at <= 4.0
    assert box.engine.snapshot().uplinks[1].modem.switch_seconds == pytest.approx(back - at, abs=0.2)  # type: ignore[union-attr]


def test_flows_of_the_sim_that_was_left_are_broken_once_there_is_a_way() -> None:
    box, unit = dual()
    (address,) = (a.address for a in box.facts.addresses if a.address.startswith("10."))
    box.drop(unit)
    unit.refuses = {Deed.RECONNECT: "no service"}
    box.run(130.0)
    assert box.active() == "au"
    assert address in {gone for at, order in box.broken for gone in order.addresses if at > 100.0}


def test_a_warm_link_comes_before_a_cold_one() -> None:
    box, unit = dual("sat")
    box.drop(unit)
    unit.refuses = {Deed.RECONNECT: "no service", Deed.REGISTER: "no network"}
    box.run(100.001)
    assert box.active() == "sat"
    box.run(160.0)
    assert deeds(box, 100.0)[0][1] == "reconnect"
    assert "select-slot" not in [deed for _, deed in deeds(box, 100.0)]


def test_silence_everywhere_is_a_tunnel_for_a_minute() -> None:
    box, _ = dual()
    box.weather["docomo"] = dead(100.0, 123.0)
    box.run(200.0)
    assert deeds(box) == []
    box.weather["docomo"] = dead(200.0)
    box.run(300.0)
    ((at, deed),) = deeds(box)
    assert (deed, 260.0 <= at <= 268.0) == ("select-slot", True)


def test_a_change_that_is_given_up_before_it_began_leaves_nothing_behind() -> None:
    """The config names that SIM no more, while the traffic leaves the other one for its sake."""
    box, _ = dual("depot")
    box.ask(Use("au"))
    box.run(100.0 + LEAVE / 2)
    assert box.verdict("docomo") is Verdict.COLD
    kept = tuple(uplink for uplink in box.engine.config.uplinks if uplink.name != "au")
    box.tell(Reconfigured(replace(box.engine.config, uplinks=kept)))
    box.run(110.0)
    assert (deeds(box), box.verdict("docomo")) == ([], Verdict.UP)


def test_the_only_sim_that_the_config_names_is_used() -> None:
    """Whichever its modem began with, and another time if it comes back with that, but not for ever."""
    unit = Unit(imei(1), "wwan0", sims=NETWORKS)
    box = Garage(unit, uplinks=(of_modem("au", slot=2),))
    box.run(20.0)
    assert (unit.slot, box.active(), [deed for _, deed in deeds(box)]) == (2, "au", ["select-slot"])
    for number in range(1, 60):
        box.set(unit, slot=1, born=unit.born + 1)
        box.run(20.0 + 60.0 * number)
    assert len(deeds(box)) == 2


def test_a_modem_is_one_uplinks_by_one_name() -> None:
    unit = Unit(imei(1), "wwan0", sims=NETWORKS)
    by_device = of_modem("au", slot=2)
    by_device = replace(by_device, modem=replace(by_device.modem, imei="", device="usb1/1-1"))  # type: ignore[type-var]
    unit.device = "/sys/devices/usb1/1-1"
    box = Garage(unit, uplinks=(of_modem("docomo", slot=1), by_device))
    box.run(300.0)
    assert (deeds(box), box.active()) == ([], "docomo")
    mend = "au: its modem is that of docomo, named otherwise there: name both in the same way"
    assert box.engine.snapshot().warnings == (mend,)


def test_at_a_border_nobody_is_moved_with_each_cell() -> None:
    box, one, _ = pair()
    for number in range(100):
        box.set(one, registration=Registration.HOME if number % 2 else Registration.ROAMING)
        box.run(100.0 + number)
    moved = box.switches(100.0)
    assert (len(moved), box.active()) == (1, "au")
    box.run(100.0 + 99.0 + box.engine.config.policy.failback_after + 1.0)
    assert (len(box.switches(100.0)), box.active()) == (2, "docomo")


def test_without_another_link_a_sim_is_used_until_its_modem_is_seen_to_leave() -> None:
    """A manager that hangs leaves the traffic where it is."""
    box, _ = dual()
    box.on_deed = lambda _: None
    box.ask(Use("au"))
    box.run(130.0)
    assert [deed for _, deed in deeds(box)] == ["select-slot"]
    assert (box.active(), box.verdict("docomo"), box.switches(100.0)) == ("docomo", Verdict.UP, [])


def test_a_brownout_that_lasts_is_left_for_the_other_sim_unless_another_link_carries() -> None:
    for others, slots in (((), [2]), (("depot",), [])):
        box, _ = dual(*others)
        box.weather["docomo"] = lossy(0.5, 100.0)
        box.run(100.0 + LOSSY)
        assert deeds(box) == []
        box.run(200.0 + LOSSY)
        assert [order.slot for _, order in box.deeds if order.deed is Deed.SELECT_SLOT] == slots
    assert box.active() == "depot"


def test_brownouts_that_end_are_not_added_up() -> None:
    box, _ = dual()
    for begins in range(100, 1900, 600):
        box.weather["docomo"] = lossy(0.5, begins)
        box.run(begins + 0.6 * LOSSY)
        del box.weather["docomo"]
        box.run(begins + 600.0)
    assert deeds(box) == []


def test_a_reserve_that_is_the_wrong_sim_is_tried_once_and_not_forgotten() -> None:
    unit = Unit(imei(1), "wwan0", sims=NETWORKS)
    uplinks = (of_modem("docomo", slot=1), of_modem("au", slot=2, iccid="8981100000000009999"))
    box = Garage(unit, uplinks=uplinks)
    box.run(100.0)
    box.ask(Use("au"))
    box.run(1800.0)
    assert [deed for _, deed in deeds(box)] == ["select-slot"] * 2
    assert (unit.slot, box.active()) == (1, "docomo")
    assert box.engine.snapshot().warnings == ("au: slot 2 holds SIM …0002, and the config says …9999",)
    assert cold_text(box, 1) == "slot 2 holds SIM …0002, and the config says …9999"
    mended = (of_modem("docomo", slot=1), of_modem("au", slot=2))
    box.tell(Reconfigured(replace(box.engine.config, uplinks=mended)))
    box.run(1900.0)
    assert (unit.slot, box.active(), box.engine.snapshot().warnings) == (2, "au", ())


def test_two_sims_of_which_none_may_be_used_are_not_changed_for_ever() -> None:
    unit = Unit(imei(1), "wwan0", sims=NETWORKS, wrong_iccid="8981100000000000022")
    uplinks = (of_modem("docomo", iccid="8981100000000000033"), of_modem("au", slot=2, iccid="8981100000000000044"))
    box = Garage(unit, uplinks=uplinks)
    box.run(4 * 3600.0)
    assert len(deeds(box)) <= 2
    assert len(box.engine.snapshot().warnings) == 2


@pytest.mark.parametrize(("claimed", "whose"), [
    ("lo", "the machine's own"),
    ("br0", "one of the LAN"),
    ("eth0", "eth0's: name it once"),
    ("wwan1", "au's"),
])  # fmt: skip
def test_no_manager_gives_a_modem_an_interface_that_is_anothers(claimed: str, whose: str) -> None:
    """Of the machine, of the LAN, of another uplink or of another modem."""
    one, other = Unit(imei(1), "wwan0", foreign=""), Unit(imei(2), "wwan1")
    uplinks = (of_modem("au", 2), of_modem("docomo", 1, connect=Dialer.SELF))
    box = Garage(one, other, uplinks=uplinks, others=("eth0",))
    box.tell(Reconfigured(replace(box.engine.config, gateway=Gateway(lan=("br0",)))))
    box.run(50.0)
    one.interface = claimed
    box.tell_modems()
    box.run(100.0)
    docomo = next(view for view in box.engine.snapshot().uplinks if view.name == "docomo")
    assert (docomo.interface, docomo.families[V4].verdict) == ("", Verdict.ABSENT)
    assert box.engine.snapshot().warnings[-1] == f"docomo: its modem claims {claimed}, which is {whose}"


def test_a_bearer_is_believed_on_a_port_of_its_own_modem_alone() -> None:
    one = Unit(imei(1), "wwan0", foreign="")
    box = Garage(one, uplinks=(of_modem("docomo", 1, connect=Dialer.SELF),), others=("spare0",))
    told = replace(one.modem, bearers=tuple(replace(bearer, interface="spare0") for bearer in one.modem.bearers))
    box.tell(ModemsTold((told,), managed=True))
    box.run(50.0)
    assert box.engine.snapshot().uplinks[0].interface == "wwan0"


def test_of_two_modems_that_are_called_alike_none_is_taken() -> None:
    one, twin = Unit(imei(1), "wwan0", pin="4711", lock="sim-pin"), Unit(imei(1), "wwan1", pin="1", lock="sim-pin")
    box = Garage(one, twin, uplinks=(of_modem("docomo", pin="4711", connect=Dialer.SELF),))
    box.run(100.0)
    assert (box.deeds, box.verdict("docomo")) == ([], Verdict.ABSENT)
    (warning,) = box.engine.snapshot().warnings
    assert warning == "docomo: there are several modems with IMEI …0001: name its 'device'"


def test_resets_are_counted_though_the_config_forgets_the_modem_for_a_while() -> None:
    box, *_ = pair()
    whole = box.engine.config
    box.weather["docomo"] = dead(100.0)
    for _ in range(12):
        box.run(box.now + 150.0)
        box.tell(Reconfigured(replace(whole, uplinks=whole.uplinks[1:])))
        box.run(box.now + 1.0)
        box.tell(Reconfigured(whole))
    times = [at for at, deed in deeds(box, 100.0) if deed == "reset"]
    assert times
    assert all(later - earlier >= 600.0 for earlier, later in pairwise(times))


@pytest.mark.parametrize(("known", "shown"), [
    ({"imei": imei(9)}, "IMEI …0009"),
    ({"imei": "", "serial": "AE31F2701234"}, "serial number …1234"),
    ({"imei": "", "device": "usb1/1-9"}, "usb1/1-9"),
])  # fmt: skip
def test_a_modem_that_never_was_is_named_and_not_power_cycled(known: dict[str, str], shown: str) -> None:
    box, _, _ = pair()
    one, other = box.engine.config.uplinks
    typo = replace(one, modem=replace(one.modem, **known))  # type: ignore[type-var]
    box.tell(Reconfigured(replace(box.engine.config, uplinks=(typo, other))))
    box.run(3000.0)
    assert (deeds(box, 100.0), box.active(), box.verdict("docomo")) == ([], "au", Verdict.ABSENT)
    (warning,) = box.engine.snapshot().warnings
    assert warning == f"docomo: there is no modem with {shown}: `failover modems` lists those that are there"


def test_a_modem_that_nobody_has_dialled_yet_is_why_there_is_no_way_out() -> None:
    unit = Unit(imei(1), "wwan0", connected=False)
    box = Garage(unit, uplinks=(of_modem("au"),))
    (uplink,) = box.run(1.0).engine.snapshot().uplinks
    assert uplink.families[V4].text == "its modem is not connected"


def test_a_step_that_a_modem_cannot_take_is_tried_again_after_an_hour() -> None:
    """A unit for its power may have been written, or the manager replaced."""
    box, one, _ = pair()
    one.able -= {Deed.RESET}
    box.weather["docomo"] = dead(100.0)
    box.run(100.0 + 2 * 3600)
    times = [at for at, deed in deeds(box, 100.0) if deed == "reset"]
    assert len(times) == 2
    assert times[1] - times[0] >= 3600.0


def test_it_changes_twice_an_hour_at_most() -> None:
    box, _ = dual()
    box.weather["docomo"] = box.weather["au"] = dead(100.0)
    box.run(100.0 + 4 * 3600)
    times = [at for at, deed in deeds(box) if deed == "select-slot"]
    assert len(times) >= 4
    assert all(later - earlier >= 3599.9 for earlier, later in zip(times, times[2:], strict=False))


def test_it_returns_to_the_preferred_sim_when_that_can_be_undone_and_later_when_it_was_in_vain() -> None:
    box, unit = dual()
    box.weather["docomo"] = dead(100.0, 100.0 + 2 * 3600)
    box.drop(unit)
    unit.refuses = {Deed.RECONNECT: "no service"}
    box.run(100.0 + 5 * 3600)
    times = [at for at, deed in deeds(box) if deed == "select-slot"]
    gaps = [round((later - earlier) / 60) for earlier, later in pairwise(times)]
    assert box.active() == "docomo"
    assert gaps[0] == 60
    assert max(gaps) >= 59


def test_the_operators_word_changes_the_sim_at_once() -> None:
    box, unit = dual()
    box.ask(Use("au"))
    box.run(110.0)
    assert (unit.slot, box.active()) == (2, "au")
    box.ask(Auto())
    box.ask(Drain("au", force=True))
    box.run(120.0)
    assert (unit.slot, box.active()) == (1, "docomo")
    box.ask(Undrain("au"))
    box.run(200.0)
    assert unit.slot == 1


@pytest.mark.parametrize(("unknown", "most"), [(False, 20), (True, 1)])
def test_a_change_of_sim_that_is_refused_is_asked_for_ever_more_slowly(unknown: bool, most: int) -> None:
    box, _ = dual()

    def refuse(order: ActOnModem) -> None:
        box.at(box.now + 0.001, lambda: box.tell(ModemActed(order, "not allowed", unknown=unknown)))

    box.on_deed = refuse
    box.ask(Use("au"))
    box.run(1000.0)
    asked = [at for at, deed in deeds(box, 100.0) if deed == "select-slot"]
    waits = [round(later - sooner) for sooner, later in pairwise(asked)]
    assert 1 <= len(asked) <= most
    assert (waits, box.active()) == (sorted(waits), "docomo")
    assert box.engine.snapshot().warnings == ("au: select-slot failed: not allowed",)


def test_the_traffic_has_left_before_a_sim_is_given_up_of_our_own_will() -> None:
    box, unit = dual("sat")
    box.ask(Use("au"))
    box.run(100.04)
    assert (box.switches(100.0), deeds(box)) == (["100.001 docomo>sat(sat) absent"], [])
    box.run(110.0)
    assert (deeds(box), unit.slot, box.active()) == ([(100.05, "select-slot")], 2, "au")
    assert box.engine.snapshot().uplinks[0].families[V4].penalty.figure == 0.0


def test_what_was_done_to_a_modem_outlives_the_agent() -> None:
    box, unit = dual()
    box.drop(unit)
    unit.refuses = {Deed.RECONNECT: "no service"}
    box.run(140.0)
    memory = box.engine.memory(box.now)
    (past,) = memory.modems
    assert (past.modem, past.interface, past.slot, len(past.switches)) == (imei(1), "wwan0", 2, 1)
    assert past.switch_seconds
    box.restart(memory)
    box.tell_modems()
    box.run(200.0)
    again = box.engine.memory(box.now).modems[0]
    assert again.switches[0] == pytest.approx(past.switches[0] + 60.0, abs=1.0)
    assert (box.active(), again.switch_seconds) == ("au", past.switch_seconds)


@pytest.mark.parametrize("seed", range(1))
def test_a_walk_through_everything_that_modems_do(seed: int) -> None:
    """Nothing raises, no SIM of two is warm at once, one deed at a time for each modem; and in peace all is well."""
    dice = random.Random(seed)
    one, other = Unit(imei(1), "wwan0", sims=NETWORKS), Unit(imei(2), "wwan1")
    uplinks = (of_modem("docomo", slot=1), of_modem("au", slot=2), of_modem("sb", 2, iccid=other.iccid(1)))
    box = Garage(one, other, uplinks=uplinks, others=("eth0",), seed=seed)
    index = 20
    for _ in range(60):
        box.run(box.now + dice.choice((0.0, 0.3, 5.0, 40.0, 300.0)))
        unit = dice.choice((one, other))
        index += 1
        match dice.randrange(11):
            case 0 if unit.connected:
                box.drop(unit)
            case 1 if unit.there and unit.interface in {link.name for link in box.facts.links}:
                box.vanish(unit)
            case 2 if not unit.there and unit.interface not in {link.name for link in box.facts.links}:
                box.appear(unit, f"wwan{index}", index)
            case 3:
                box.set(unit, registration=dice.choice(tuple(Registration)))
            case 4:
                box.set(unit, lock=dice.choice(("", "sim-pin")), technology=dice.choice(("lte", "umts", "5gnr")))
            case 5:
                box.managed = not box.managed
                box.tell_modems()
            case 6:
                for name in ("docomo", "au", "sb", "eth0"):
                    box.weather[name] = dead(dice.choice((0.0, 1e9)))
            case 7:
                box.set(unit, wrong_iccid=dice.choice(("", "8981100000000009999")))
            case 8:
                box.restart(box.engine.memory(box.now) if dice.random() < 0.5 else None)
                box.tell_modems()
            case 9:
                unit.refuses = {deed: "no" for deed in Deed if dice.random() < 0.3}
            case 10:
                box.tell(ModemsTold(tuple(replace(u.modem, bearers=()) for u in (one, other)), managed=True))
        cold = {view.name for view in box.engine.snapshot().uplinks if view.families[V4].verdict is Verdict.COLD}
        assert cold <= {"docomo", "au"}
    box.managed, box.weather = True, {}
    for unit in (one, other):
        unit.refuses, unit.lock, unit.wrong_iccid, unit.registration = {}, "", "", Registration.HOME
        if not unit.there and unit.interface not in {link.name for link in box.facts.links}:
            index += 1
            box.appear(unit, f"wwan{index}", index)
        box.set(unit, there=True)
    box.run(box.now + 7 * 3600)
    verdicts = {view.name: view.families[V4].verdict for view in box.engine.snapshot().uplinks}
    assert verdicts == {"docomo": Verdict.UP, "au": Verdict.COLD, "sb": Verdict.UP, "eth0": Verdict.UP}, box.deeds[-5:]
    assert box.active() == "docomo"
