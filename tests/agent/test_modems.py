"""Modems as uplinks: real agent, real ModemManager, real NetworkManager, real packets over simulated modems."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.model import Family
from tests.agent.modems import Van, all_up, by_name, typical, uplink, van_of, verdict
from tests.allowed import or_skip
from tests.modems.modem import Command, Registration, Technology

V4 = Family.IPV4
TWO = "uplinks:\n" + uplink("au", 1) + uplink("softbank", 2) + "policy: {failback_after: 1s}\n"
DUAL = "uplinks:\n" + uplink("au", 1) + uplink("docomo", 1, 2)
TIMES = 5


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Van]:
    """Two modems."""
    with or_skip(), van_of(2, tmp_path) as made:
        yield made


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Van]:
    """One modem with two SIMs, and nothing else."""
    with or_skip(), van_of(1, tmp_path) as made:
        yield made


def test_a_bearer_that_is_disconnected_is_left_within_100_ms(pair: Van) -> None:
    took = []
    one, other = pair.modems
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        for _ in range(TIMES):
            pair.until(lambda _: pair.uses(one))
            began = time.monotonic()
            one.drop()
            took.append(pair.until(lambda _: pair.uses(other)) - began)
            all_up(agent, "au", "softbank")
        agent.said("au ipv4 is down: bearer disconnected")
    assert typical(took) <= 0.1, took
    print("announced drop, seconds until a new flow leaves by the other modem:", took)


def test_a_modem_that_is_unplugged_is_left_within_100_ms_and_comes_back_as_itself(pair: Van) -> None:
    one, other = pair.modems
    took, returned = [], []
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        slot = by_name(agent.status())["au"]["slot"]
        for number in range(3):
            pair.until(lambda _: pair.uses(one))
            began = time.monotonic()
            one.unplug()
            took.append(pair.until(lambda _: pair.uses(other)) - began)
            one.replug(f"wwan{20 + number}")
            pair.rig.manager.listed(one.imei)
            listed = time.monotonic()
            agent.until(lambda status: verdict(status, "au") == "up")
            returned.append(time.monotonic() - listed)
            view = by_name(agent.status())["au"]
            assert (view["interface"], view["slot"]) == (f"wwan{20 + number}", slot)
    assert typical(took) <= 0.1, took
    assert typical(returned) <= 3.0, returned
    print("unplugged:", took, "up again after ModemManager lists it:", returned)


def test_connected_is_no_proof(pair: Van) -> None:
    """A drop of which nobody hears: ModemManager says connected all the while."""
    one, other = pair.modems
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        agent.hear(3.0)
        began = time.monotonic()
        with one.silent(1):
            took = pair.until(lambda _: pair.uses(other)) - began
            agent.until(lambda status: verdict(status, "au") == "down")
            assert "connected" in json.dumps(by_name(agent.status())["au"].get("modem", "connected"))
        all_up(agent, "au")
    assert took <= 2.0
    print("silent drop, seconds until a new flow leaves by the other modem:", took)


def test_not_registered_is_no_reason_to_leave_while_packets_pass(pair: Van) -> None:
    """KDDI, July 2022."""
    one, _ = pair.modems
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        one.register(Registration.SEARCHING, Technology.LTE)
        assert agent.hear(5.0)
        status = agent.status()
        assert (status["active"]["ipv4"], verdict(status, "au")) == ("au", "up")
        assert one.counts.resets == one.counts.registrations == 0


def test_the_wrong_sim_is_not_used(pair: Van) -> None:
    config = TWO.replace("slot: 1}", "slot: 1, iccid: '8981100000000000011'}", 1)
    with pair.agent(config) as agent:
        all_up(agent.ready(), "softbank")
        agent.said("au: slot 1 holds SIM …")
        status = agent.status()
        assert (status["active"]["ipv4"], verdict(status, "au")) == ("softbank", "absent")
        assert any("and the config says …0011" in warning for warning in status["warnings"])


def test_the_other_sim_is_connected_within_4_s_of_the_decision(single: Van) -> None:
    (modem,) = single.modems
    with single.agent(DUAL) as agent:
        all_up(agent.ready(), "au")
        assert verdict(agent.status(), "docomo") == "cold"
        modem.fail(Command.CONNECT)
        modem.drop()
        agent.said("changes from slot 1 to slot 2")
        decided = time.monotonic()
        modem.obey()
        took = single.until(lambda _: single.uses(modem)) - decided
        assert modem.slot == 2
        all_up(agent, "docomo")
        status = agent.status()
        assert (status["active"]["ipv4"], verdict(status, "au")) == ("docomo", "cold")
    assert took <= 4.0
    print("slot switch, seconds from the decision to a way out:", took)
