"""A fresh start, where nobody but main has chosen: the config's first uplink takes all traffic, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failover.config import Config, Reconfigured, Uplink
from failover.model import Auto, Drain, NoticeKind, Undrain, Use

from .box import PINGS, PINGS6, Box, dead
from .worlds import V4, V6

DEPOT_FIRST = Config(uplinks=tuple(Uplink(name, interface=name) for name in ("depot", "au")), targets=(*PINGS, *PINGS6))
AU_FIRST = replace(DEPOT_FIRST, uplinks=DEPOT_FIRST.uplinks[::-1])


def fresh(config: Config = DEPOT_FIRST) -> Box:
    """Main's best default is au's."""
    return Box("au", "depot", config=config, families=(V4, V6))


def test_all_traffic_goes_to_the_first_uplink_of_the_config() -> None:
    box = fresh().run(300)
    switches = box.switches()
    assert [line.split(" ", 1)[1] for line in switches] == ["au>depot(depot) config"] * 2, "one in each family"
    text = next(notice.text for _, notice in box.notices if notice.kind is NoticeKind.SWITCH)
    assert text.endswith(
        "depot comes first in the config, and no agent had chosen what the kernel used; all traffic goes along"
    )


def test_it_waits_for_the_same_proof_as_any_return() -> None:
    box = fresh().run(9)
    assert (box.active(), box.settled()) == ("au", "au")
    assert box.run(11).active() == "depot"


def test_what_was_found_in_our_own_tables_was_chosen() -> None:
    box = fresh().run(5)
    assert (box.active(), box.settled()) == ("au", "au")
    box.restart(box.engine.memory(box.now))
    box.run(300)
    assert (box.active(), box.settled()) == ("depot", "au")


def test_an_agent_that_comes_after_a_drain_has_no_first_turn_to_give() -> None:
    box = fresh().run(60)
    box.ask(Drain("depot"))
    box.run(61)
    box.restart(box.engine.memory(box.now))
    box.run(63)
    box.ask(Undrain("depot"))
    box.run(300)
    assert (box.active(), box.settled()) == ("depot", "au")


@pytest.mark.parametrize("weather", [dead(0, 4), dead(5, 6.5)], ids=["dead at first", "in doubt before its turn"])
def test_what_was_in_doubt_before_its_turn_moves_no_open_flow(weather: object) -> None:
    box = fresh()
    box.weather["depot"] = weather  # type: ignore[assignment]
    box.run(300)
    assert (box.active(), box.settled()) == ("depot", "au")


def test_what_comes_later_moves_no_open_flow() -> None:
    box = Box("au", config=DEPOT_FIRST).run(60)
    box.plug("depot", 7)
    box.run(300)
    assert (box.active(), box.settled()) == ("depot", "au")


@pytest.mark.parametrize("at", [5.0, 100.0])
def test_a_reload_moves_no_open_flow(at: float) -> None:
    box = fresh(AU_FIRST).run(at)
    box.tell(Reconfigured(DEPOT_FIRST))
    box.run(at + 300)
    assert (box.active(), box.settled()) == ("depot", "au")


def test_a_second_turn_is_none() -> None:
    box = fresh().run(60)
    box.weather["depot"] = dead(100, 101)
    box.run(300)
    assert (box.active(), box.settled()) == ("depot", "depot")
    assert [line.split(" ", 1)[1] for line in box.switches(100)] == [
        "depot>au(depot) doubt",
        "au>depot(depot) acquittal",
    ]


def test_the_operators_word_comes_before_it() -> None:
    box = fresh().run(5)
    box.ask(Use("au"))
    assert box.run(300).switches() == []
    box.ask(Auto())
    assert [line.split(" ", 1)[1] for line in box.switches()] == ["au>depot(depot) config"] * 2
