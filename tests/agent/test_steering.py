"""The operator's rules in a running agent, with the sockets of a user."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from failover.export.client import call
from failover.facts import Facts, RuleAction
from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.places import APP, CARRIERS, ECHO_PORT
from failover.lab.world import World
from failover.model import FAMILIES, Family
from tests.agent.running import Agent, running, watching

AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
USER = 1000
LISTED = ", ".join(f"{{name: {carrier.name}, interface: {carrier.interface}}}" for carrier in CARRIERS)
CONFIG = f"uplinks: [{LISTED}]\nrules: [{{name: video, uid: {USER}, protocol: udp, port: {ECHO_PORT}, only: docomo}}]\n"
AIM = 15563
"""Where all but the box's own diverted flows of the first aim go."""


def source(van: Namespace, family: Family, uid: int) -> str | None:
    """The carrier whose address a new flow has, once it was answered; None when the kernel refuses it."""
    with van.socket(AF[family], socket.SOCK_DGRAM) as made:
        os.fchown(made.fileno(), uid, -1)
        made.settimeout(20)
        try:
            made.connect((APP[family], ECHO_PORT))
        except OSError:
            return None
        made.send(b"?")
        assert made.recv(100)
        held = made.getsockname()[0]
    return next((carrier.name for carrier in CARRIERS if carrier.address[family] == held), held)


def explained(agent: Agent, family: Family, uid: int) -> tuple[str | None, str | None, bool]:
    """Uplink, rule, and whether it is refused, as the agent tells it of the same flow."""
    to = f"[{APP[family]}]:{ECHO_PORT}" if family is Family.IPV6 else f"{APP[family]}:{ECHO_PORT}"
    found = call(agent.socket, "explain", {"to": to, "protocol": "udp", "uid": uid})["explain"]
    return found["uplink"], found["rule"], found["refused"]


def led(found: Facts) -> list[RuleAction]:
    """What becomes of the rule's traffic in each family."""
    return [rule.action for rule in found.rules if rule.priority == AIM]


def refused(found: Facts) -> bool:
    return led(found) == [RuleAction.UNREACHABLE] * len(FAMILIES)


@pytest.mark.parametrize("fault", [faults.link_down, faults.blackout])
def test_a_rule_holds_while_its_uplink_does_and_refuses_when_it_is_lost(
    world: World, van: Namespace, tmp_path: Path, fault: Callable[[World, str], faults.Fault]
) -> None:
    path = tmp_path / "failover.yaml"
    path.write_text(CONFIG)
    with running(van, tmp_path, "--config", str(path)) as agent, watching(van) as wait:
        agent.ready().all_up()
        for family in FAMILIES:
            assert (source(van, family, USER), source(van, family, USER + 1)) == ("docomo", "au")
            assert explained(agent, family, USER) == ("docomo", "video", False)
            assert explained(agent, family, USER + 1) == ("au", None, False)
        with fault(world, "docomo"):
            wait(refused)
            assert agent.said("failover: uplink: rule video ipv6: refused: ")
            for family in FAMILIES:
                assert (source(van, family, USER), source(van, family, USER + 1)) == (None, "au")
                assert explained(agent, family, USER) == (None, "video", True)
        wait(lambda found: led(found) == [RuleAction.LOOKUP] * len(FAMILIES))
        for family in FAMILIES:
            assert source(van, family, USER) == "docomo"
        path.write_text(CONFIG.split("\n")[0])
        told = str(call(agent.socket, "reload", {})["text"])
        assert "rules: none, were video" in told
        wait(lambda found: not led(found))
        assert source(van, Family.IPV6, USER) == "au"
