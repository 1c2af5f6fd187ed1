"""Modems as uplinks: real agent, real ModemManager, real NetworkManager, real packets over simulated modems."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from failover.model import Family
from tests.agent.modems import DUAL, TWO, Van, all_up, by_name, uplink, van_of, verdict
from tests.agent.running import PATIENCE, command
from tests.allowed import or_skip

pytestmark = pytest.mark.timeout(240)
V4 = Family.IPV4
THREE = DUAL + uplink("softbank", 2)
TIMES = 10
"""The machine may be busy: what is promised must be kept once in so many."""
APART = 0.005
"""Seconds between two questions."""


def test_a_bearer_that_is_disconnected_is_left_within_100_ms(pair: Van) -> None:
    took: list[float] = []
    one, other = pair.modems
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        while min(took, default=1.0) > 0.1 and len(took) < TIMES:
            pair.until_used(one)
            before, began = len(agent.lines), time.monotonic()
            one.drop()
            took.append(pair.until_used(other) - began)
            agent.said("switch: ipv4 au -> softbank", before)  # without the address a flow leaves it sooner
            all_up(agent, "au", "softbank")
        box = pair.rig.box
        assert box.network_manager is not None
        with box.hanging(box.network_manager):  # it may be the first to take the address away
            one.drop()
            agent.said("au ipv4 is down: bearer disconnected")
    assert min(took) <= 0.1, took
    print("announced drop, seconds until a new flow leaves by the other modem:", took)


def test_a_modem_that_is_unplugged_is_left_within_100_ms_and_comes_back_as_itself(pair: Van) -> None:
    one, other = pair.modems
    took, returned = list[float](), list[float]()
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        slot = by_name(agent.status())["au"]["slot"]
        while (min(took, default=1.0) > 0.1 or min(returned) > 3.0) and len(took) < TIMES:
            number = len(took)
            pair.until_used(one)
            began = time.monotonic()
            one.unplug()
            took.append(pair.until_used(other) - began)
            one.replug(f"wwan{20 + number}")
            pair.rig.manager.listed(one.imei)
            listed = time.monotonic()
            agent.until(lambda status: verdict(status, "au") == "up")
            returned.append(time.monotonic() - listed)
            view = by_name(agent.status())["au"]
            assert (view["interface"], view["slot"]) == (f"wwan{20 + number}", slot)
    assert min(took) <= 0.1, took
    assert min(returned) <= 3.0, returned
    print("unplugged:", took, "up again after ModemManager lists it:", returned)


def test_connected_is_no_proof(pair: Van) -> None:
    """A drop of which nobody hears: ModemManager says connected all the while."""
    one, other = pair.modems
    took: list[float] = []
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        while min(took, default=9.0) > 2.0 and len(took) < TIMES:
            pair.until_used(one)
            agent.hear(3.0)
            began = time.monotonic()
            with one.silent(1):
                took.append(pair.until_used(other) - began)
                agent.until(lambda status: verdict(status, "au") == "down")
                assert by_name(agent.status())["au"]["modem"]["state"] == "connected"
            all_up(agent, "au", "softbank")
    assert min(took) <= 2.0, took
    print("silent drop, seconds until a new flow leaves by the other modem:", took)


def test_the_other_sim_is_connected_within_4_s_of_the_decision(tmp_path: Path) -> None:
    took: list[float] = []
    while min(took, default=9.0) > 4.0 and len(took) < 2:  # the machine may be busy
        with or_skip(), van_of(1, tmp_path) as van, van.agent(DUAL) as agent:
            all_up(agent.ready(), "au")
            assert verdict(agent.status(), "docomo") == "cold"
            took.append(van.changes(agent))
            all_up(agent, "docomo")
            status = agent.status()
            assert (status["active"]["ipv4"], verdict(status, "au"), van.modems[0].slot) == ("docomo", "cold", 2)
    assert min(took) <= 4.0, took
    print("slot switch, seconds from the decision to a way out:", took)


def test_a_warm_link_carries_the_traffic_while_a_sim_is_changed(pair: Van) -> None:
    """Of our own will: not one question is without its answer."""
    one, other = pair.modems
    with pair.agent(THREE) as agent:
        all_up(agent.ready(), "au", "softbank")
        pair.until_used(one)
        assert command(pair.rig.inside, "use", "docomo", "--socket", str(agent.socket))[0] == 0
        lost, asked, ways = 0, 0, set()
        began = time.monotonic()
        while not (one.slot == 2 and pair.uses(one)):
            assert time.monotonic() < began + PATIENCE
            ways.add(pair.source())
            assert agent.hear(APART)
            asked += 1
            lost += not pair.answered()
        assert lost == 0
        assert other.bearer is not None
        assert other.bearer.address[V4] in ways
        agent.until(lambda status: status["active"]["ipv4"] == "docomo")
    print(f"{asked} questions while the SIM was changed, {lost} without an answer")
