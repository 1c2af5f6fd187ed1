"""What is told of a modem's repair: the step that comes next and when, why nothing is done, and what helped."""

from __future__ import annotations

import pytest

from failover.config.modems import Dialer, Repair, Roaming, Rung
from failover.model import NoticeKind, Use
from failover.modem import Deed, IpMethod, IpSettings, Registration
from failover.picture import ModemView

from .box import dead
from .garage import NETWORKS, Garage, Unit, deeds, dual, imei, of_modem
from .worlds import V4


def view(box: Garage, name: str = "docomo") -> ModemView:
    found = next(uplink.modem for uplink in box.engine.snapshot().uplinks if uplink.name == name)
    assert found is not None
    return found


def ill(repair: Repair | None = None, *, network: int = 2, connect: Dialer = Dialer.AUTO) -> Garage:
    """Nothing passes by `docomo` from 100 s on, and nothing helps; `au` is well, on that network."""
    units = Unit(imei(1), "wwan0"), Unit(imei(2), "wwan1", sims={1: NETWORKS[network]})
    box = Garage(*units, uplinks=(of_modem("docomo", 1, connect=connect), of_modem("au", 2)), repair=repair)
    box.weather["docomo"] = dead(100.0)
    box.run(100.0)
    return box


def told(box: Garage, since: float = 0.0) -> list[tuple[object, object, bool]]:
    """Uplink, step, and whether that helped, of each notice of repair."""
    fields = [notice.fields for at, notice in box.notices if notice.kind is NoticeKind.MODEM and at >= since]
    return [(one["uplink"], one["step"], "helped" in one) for one in fields if "step" in one and "error" not in one]


def test_the_step_that_is_told_is_the_one_that_comes_and_when() -> None:
    box = ill()
    box.run(103.0)
    for _ in range(3):
        coming = view(box)
        assert coming.step_next
        assert coming.step_due is not None
        box.run(coming.step_due - 0.001)
        before = len(told(box))
        box.run(coming.step_due + 0.001)
        assert told(box)[before:] == [("docomo", coming.step_next, False)]
        assert view(box).step == coming.step_next
        box.run(box.now + 8.0)
    assert view(box).obstacle == ""


def test_nothing_is_to_come_while_all_is_well() -> None:
    well = view(ill())
    assert (well.step, well.step_next, well.step_due, well.obstacle, well.refused) == ("", "", None, "", "")


def test_a_storm_is_told_and_waited_out() -> None:
    box = ill(network=1)
    box.weather["au"] = dead(100.0)
    box.run(400.0)
    assert (view(box).obstacle, view(box).step_next) == ("another uplink on its network is lost too", "")
    assert deeds(box) == []


def test_resets_that_are_used_up_are_told() -> None:
    box = ill(Repair(steps=(Rung.RESET,), resets_per_day=1))
    box.run(300.0)
    assert [deed for _, deed in deeds(box)] == ["reset"]
    assert view(box).obstacle == "no step is left that it may take now, after 1 of 1 resets in 24 h"


def test_a_config_that_forbids_repair_is_named() -> None:
    for box, why in (
        (ill(Repair(steps=())), "the config names no steps of repair"),
        (ill(connect=Dialer.NONE), "the config leaves it alone (connect: none)"),
    ):
        box.run(200.0)
        assert (view(box).obstacle, view(box).step_next) == (why, "")


def test_a_sim_that_must_not_be_used_is_told() -> None:
    box = ill()
    box.set(box.units["wwan0"], failure="sim-missing")
    box.run(100.1)
    assert view(box).refused == "there is no SIM in slot 1"


def test_no_step_opens_a_locked_sim() -> None:
    box = ill()
    box.set(box.units["wwan0"], lock="sim-pin", connected=False)
    box.run(1000.0)
    assert deeds(box) == []
    mend = "its SIM is locked: give its 'pin' in the config, or switch the PIN off"
    assert (view(box).obstacle, view(box).step_next) == (mend, "")


def test_no_step_helps_a_modem_that_nobody_dials_or_whose_bearer_nobody_serves() -> None:
    unit = Unit(imei(1), "wwan0", connected=False, foreign="")
    box = Garage(unit, uplinks=(of_modem("docomo", connect=Dialer.NETWORKMANAGER),), others=("lan",))
    box.run(1000.0)
    assert deeds(box) == []
    assert view(box).obstacle.startswith("NetworkManager, which is to dial it, does not manage it")
    assert box.engine.snapshot().warnings == (f"docomo: {view(box).obstacle}",)
    leased = (IpSettings(V4, IpMethod.DHCP),)
    unit = Unit(imei(1), "wwan0", connected=False, foreign="", served=True, settings=leased)
    box = Garage(unit, uplinks=(of_modem("docomo", connect=Dialer.SELF),), others=("lan",))
    box.run(1000.0)
    assert deeds(box) == []
    assert view(box).obstacle.startswith("its bearer wants dhcp")


def test_a_locked_sim_makes_room_for_the_other_one() -> None:
    box, unit = dual()
    box.set(unit, lock="sim-puk", connected=False)
    box.run(130.0)
    assert {deed for _, deed in deeds(box)} == {"select-slot"}


@pytest.mark.parametrize(("roaming", "consequence"), [
    (Roaming.LAST, "which counts as metered and comes last"),
    (Roaming.ALLOW, "as the config allows"),
    (Roaming.DENY, "and the config denies that"),
])  # fmt: skip
def test_a_border_is_told_once_each_time_it_is_crossed(roaming: Roaming, consequence: str) -> None:
    unit = Unit(imei(1), "wwan0")
    box = Garage(unit, uplinks=(of_modem("au", roaming=roaming),))
    box.run(10.0)
    for registration in (Registration.ROAMING, Registration.SEARCHING, Registration.ROAMING, Registration.HOME):
        box.set(unit, registration=registration)
        box.run(box.now + 1.0)
    said = [(one.text, one.fields["roaming"]) for _, one in box.notices if "roaming" in one.fields]
    assert said == [(f"au: it roams in NTT DOCOMO, {consequence}", True), ("au: it roams no more", False)]


def test_another_sim_is_what_helped_and_no_step_before_it() -> None:
    box, unit = dual()
    box.weather["docomo"] = dead(100.0)
    box.drop(unit)
    unit.refuses = {Deed.RECONNECT: "no service"}
    box.run(101.0)
    assert view(box).slot_due is not None
    assert view(box, "au").slot_due is None, "what is done is done for the SIM in use"
    box.run(130.0)
    assert told(box, 100.0) == [("au", "slot", False), ("au", "slot", True)]


def test_a_sim_that_the_operator_chose_is_no_repair() -> None:
    box, _ = dual()
    box.ask(Use("au"))
    box.run(130.0)
    assert [deed for _, deed in deeds(box)] == ["select-slot"]
    assert told(box) == []
