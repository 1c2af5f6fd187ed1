"""The world: the ground (ground.py), its processes, and what can go wrong in it (faults.py).

    with World(seed=1) as world:
        agent = world.van.popen(["failover", "run"])
        with faults.blackout(world, "au") as moment: ...
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from itertools import product
from typing import Any

from failover.lab import lan as lans
from failover.lab.control import Helper
from failover.lab.ground import Ground, lay
from failover.lab.lane import Shape
from failover.lab.namespaces import LabError, Namespace, gain_privileges
from failover.lab.places import CARRIERS, LAN
from failover.lab.reach import udp_echo
from failover.model import FAMILIES

READY_SECONDS = 5.0


class World:
    """Everything, while entered. Same seed, same losses."""

    def __init__(
        self, seed: int = 1, delay: float = 0.015, rp_filter: int = 1, lan: lans.Lan | None = None
    ) -> None:
        """Delay: seconds per direction of every carrier's link. rp_filter: the van's (1 = strict). lan: what is behind
        the van."""
        self._seed = seed
        self.shape_of_health = asdict(Shape(delay=delay))
        self._rp_filter = rp_filter
        self._lan = lan
        self.clients: tuple[Namespace, ...] = ()
        """Behind the van, in order."""
        self._stack = ExitStack()

    def __enter__(self) -> World:
        gain_privileges()
        try:
            self._build()
        except OSError as error:
            self._stack.close()
            raise LabError(f"this machine cannot build the lab: {error}", "see failover/lab/README.md") from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def _build(self) -> None:
        self.ground: Ground = lay(self._stack)
        if self._lan is not None:
            self.clients = lans.lay(self._stack, self.van, self._lan)
        self._start()
        self._wait_until_whole()
        for name in [carrier.interface for carrier in CARRIERS] + ([LAN] if self.clients else []):
            self.van.sysctl(f"ipv4/conf/{name}/rp_filter", self._rp_filter)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def van(self) -> Namespace:
        """Where the agent and its user live."""
        return self.ground.van

    def shape(self, *changes: dict[str, Any]) -> float:
        """Change the link (see Link.handle), all at one monotonic moment, which is returned."""
        return float(self.link.ask({"set": list(changes)})["at"])

    def chatter(self, name: str, per_second: float = 5.0) -> Helper:
        """Start that carrier's router broadcasting so often; until the helper, which gets ready, is closed."""
        carrier = next(carrier for carrier in CARRIERS if carrier.name == name)
        access = self.ground.access(name)
        arguments = (access.name, access.mac.hex(), carrier.gateway, carrier.networks[1], str(per_second))
        return self._helper(access.namespace, "chatter", *arguments)

    def _start(self) -> None:
        """Start the processes, all at once; ready when all have said so."""
        ground = self.ground
        self.link = self._helper(ground.between, "link", str(self._seed))
        self.servers = self._helper(ground.internet, "servers", "internet")
        helpers = [self.link, self.servers, self._helper(ground.walled, "servers", "walled")]
        for carrier in CARRIERS:
            if carrier.advertised:
                helpers.append(self.chatter(carrier.name))
        for helper in helpers:
            helper.ready()
        self.shape({"shape": self.shape_of_health})

    def _helper(self, namespace: Namespace, module: str, *arguments: str) -> Helper:
        helper = Helper(namespace, f"failover.lab.{module}", *arguments)
        self._stack.callback(helper.close)
        return helper

    def _wait_until_whole(self) -> None:
        """Every family of every carrier carries an echo, and of every client where the lab is its gateway; LabError
        when one does not within READY_SECONDS."""
        deadline = time.monotonic() + READY_SECONDS
        patience = 0.1 + 4 * self.shape_of_health["delay"]
        ways = [(self.van, carrier.interface, carrier.name) for carrier in CARRIERS]
        if self._lan is not None and self._lan.gateway:
            ways += [(client, lans.CLIENT_INTERFACE, client.name) for client in self.clients]
        for (namespace, interface, name), family in product(ways, FAMILIES):
            while udp_echo(namespace, family, interface, timeout=patience) is None:
                if time.monotonic() > deadline:
                    raise LabError(f"the lab's {name} does not carry {family}")
