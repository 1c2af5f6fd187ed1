"""The agent with the real ModemManager and NetworkManager: what it does when things go wrong, and what not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from failover.model import Family
from tests.agent.modems import DUAL, TWO, Van, all_up, by_name, uplink, van_of, verdict
from tests.agent.running import command
from tests.allowed import or_skip
from tests.modems.carriers import AU, sim_of
from tests.modems.modem import Command, Registration, Technology

V4 = Family.IPV4
AFTER_A_KILL = 60.0
"""Seconds in which a manager that was killed starts again, and what it left half done is tried again."""


def test_not_registered_is_no_reason_to_leave_while_packets_pass(pair: Van) -> None:
    """KDDI, July 2022."""
    one, _ = pair.modems
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        one.register(Registration.SEARCHING, Technology.LTE)
        assert agent.hear(5.0)
        agent.until(lambda status: (status["active"]["ipv4"], verdict(status, "au")) == ("au", "up"))
        assert not [line for line in agent.lines if "au ipv4 is" in line and ("down" in line or "absent" in line)]
        assert one.counts.resets == one.counts.registrations == 0


def test_the_wrong_sim_is_not_used(pair: Van) -> None:
    config = TWO.replace("slot: 1}", "slot: 1, iccid: '8981100000000000011'}", 1)
    with pair.agent(config) as agent:
        all_up(agent.ready(), "softbank")
        agent.said("au: slot 1 holds SIM …")
        status = agent.status()
        assert (status["active"]["ipv4"], verdict(status, "au")) == ("softbank", "absent")
        assert any("and the config says …0011" in warning for warning in status["warnings"])


@pytest.mark.parametrize("victim", ["ModemManager", "NetworkManager", "agent"])
def test_who_is_killed_while_a_sim_is_changed_leaves_nothing_undone(single: Van, tmp_path: Path, victim: str) -> None:
    (modem,) = single.modems
    box = single.rig.box
    with single.agent(DUAL) as agent:
        all_up(agent.ready(), "au")
        assert command(single.rig.inside, "use", "docomo", "--socket", str(agent.socket))[0] == 0
        agent.said("changes from slot 1 to slot 2")
        match victim:
            case "ModemManager":
                box.kill_modem_manager()
                single.rig.start()
            case "NetworkManager":
                box.kill_network_manager()
                box.start_network_manager()
            case _:
                agent.kill()
        if victim != "agent":
            agent.until(lambda status: verdict(status, "docomo") == "up", AFTER_A_KILL)
            assert agent.status()["active"]["ipv4"] == "docomo"
            assert single.uses(modem)
            return
    with single.agent(DUAL) as agent:
        all_up(agent.ready(), "docomo")
        assert (modem.slot, single.uses(modem)) == (2, True)


def test_without_modemmanager_all_goes_on_and_when_it_comes_it_is_heard(pair: Van) -> None:
    one, _ = pair.modems
    box = pair.rig.box
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        pair.until_used(one)
        assert box.modem_manager is not None
        with box.hanging(box.modem_manager):
            assert agent.hear(6.0)
            agent.until(lambda status: (status["active"]["ipv4"], verdict(status, "au")) == ("au", "up"))
            assert not [line for line in agent.lines if "au ipv4 is" in line and ("down" in line or "absent" in line)]
        agent.until(lambda status: by_name(status)["au"]["modem"]["listed"])
        one.drop()
        agent.said("switch: ipv4 au -> softbank")  # NetworkManager may be the first to take the address away
        all_up(agent, "au", "softbank")


@pytest.mark.timeout(240)
def test_each_step_of_the_ladder_ends_the_fault_that_it_is_for(tmp_path: Path) -> None:
    """Three blackouts, each of which ends by one step alone, while a fourth modem carries the traffic."""
    steps = {Command.CONNECT: "reconnect", Command.REGISTER: "register", Command.RESET: "reset"}
    config = "uplinks:\n" + "".join(uplink(f"m{number}", number) for number in (4, 1, 2, 3))
    with or_skip(), van_of(4, tmp_path) as van, van.agent(config) as agent:
        all_up(agent.ready(), "m1", "m2", "m3", "m4")
        for modem, cure in zip(van.modems, steps, strict=False):
            modem.black_out(cure)
        for number, step in enumerate(steps.values(), 1):
            agent.said(f"m{number}: packets pass again after {step}", seconds=180.0)
        assert agent.status()["active"]["ipv4"] == "m4"
        assert [modem.counts.resets for modem in van.modems] == [0, 0, 1, 0]
        assert van.modems[0].counts.registrations == 0


def test_a_message_is_read_kept_and_told_of(pair: Van) -> None:
    one, _ = pair.modems
    with pair.agent(TWO) as agent:
        all_up(agent.ready(), "au", "softbank")
        one.deliver("157", "料金未納のため10/9にご利用を停止します。至急お支払いください。" * 3)
        agent.said("modem: au: a message from ")
        code, out, _ = command(pair.rig.inside, "sms", "--json", "--socket", str(agent.socket))
        (message,) = json.loads(out)
        assert (code, message["uplink"], message["matters"][0]) == (0, "au", "suspension")
        assert message["text"].count("ご利用を停止します") == 3


def test_a_reserve_that_is_the_wrong_sim_is_tried_once(single: Van) -> None:
    (modem,) = single.modems
    with single.agent("uplinks:\n" + uplink("au", 1) + uplink("docomo", 1, 2, iccid="'8981100000000000011'")) as agent:
        all_up(agent.ready(), "au")
        assert command(single.rig.inside, "use", "docomo", "--socket", str(agent.socket))[0] == 0
        agent.said("changes from slot 1 to slot 2")
        agent.said("changes from slot 2 to slot 1")
        all_up(agent, "au")
        assert agent.hear(3.0)
        assert (modem.slot, modem.counts.switches) == (1, 2)
        assert any("and the config says …0011" in warning for warning in agent.status()["warnings"])


def test_a_pin_in_the_config_is_sent_once_though_networkmanager_dials(tmp_path: Path) -> None:
    sims = (sim_of(AU, 1, pin="4711"), None)
    with or_skip(), van_of(1, tmp_path, sims) as van:
        (modem,) = van.modems
        with van.agent("uplinks:\n" + uplink("au", 1, pin="'4711'")) as agent:
            all_up(agent.ready(), "au")
            assert modem.counts.pins == ["4711"]
            assert "4711" not in json.dumps(agent.status()) + "".join(agent.lines)
