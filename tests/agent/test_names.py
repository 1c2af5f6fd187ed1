"""Names are asked of the uplink's own DNS targets, over that uplink."""

from __future__ import annotations

import contextlib
from pathlib import Path

from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.places import APP
from failover.lab.world import World
from failover.model import Family
from tests.agent.running import running

RESOLV_CONF = ("9.9.9.9", "2620:fe::fe")
"""The name servers of the van's resolv.conf."""
CONFIG = f"""\
uplinks: [{{name: au, interface: wwan0}}]
probes:
  targets:
    - dns://{APP[Family.IPV4]}/example.com
    - dns://[{APP[Family.IPV6]}]/example.com
    - http://connectivitycheck.gstatic.com/generate_204
"""


def test_a_name_is_resolved_where_only_the_uplinks_dns_target_knows_it(
    world: World, van: Namespace, tmp_path: Path
) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text(CONFIG)
    before = world.servers.ask({})["counts"]["http"]
    with contextlib.ExitStack() as stack:
        for address in RESOLV_CONF:
            stack.enter_context(faults.dead_target(world, address))
        agent = stack.enter_context(running(van, tmp_path, "--config", str(config)))
        agent.ready().all_up()
        assert agent.until(lambda _: world.servers.ask({})["counts"]["http"] >= before + 2), "one in each family"


def test_where_the_uplink_has_none_of_the_family_those_of_the_machine_are_asked(van: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text(CONFIG.replace(f"    - dns://{APP[Family.IPV4]}/example.com\n", ""))
    with running(van, tmp_path, "--config", str(config)) as agent:
        agent.ready().all_up()  # over IPv4 there is nothing to ask but the name
        (uplink,) = agent.status()["uplinks"]
    asked = [target["url"] for target in uplink["families"]["ipv4"]["targets"]]
    assert asked == ["http://connectivitycheck.gstatic.com/generate_204"]
