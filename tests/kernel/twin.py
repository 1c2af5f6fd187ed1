"""A real kernel in a namespace with the world-side words of the virtual one, so that one step list plays on both."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

from failover.facts import TABLE_MAIN, Facts, Operation, OperationResult, Route, Rule
from failover.kernel.kernel import Kernel
from failover.kernel.ledger import Ledger
from failover.kernel.netlink import Netlink, RequestError
from failover.kernel.routes import RTM_DELROUTE, RTM_NEWROUTE, encode, encode_deletion
from failover.kernel.rules import RTM_NEWRULE
from failover.kernel.rules import encode as encode_rule
from failover.kernel.wire import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from failover.lab.namespaces import Namespace
from failover.lab.wire import End, cable
from failover.model import FAMILIES, Family
from failover.sim.matching import USER

SETTLES = 20.0
"""Seconds within which the kernel tells of a carrier (it may hold that back for one)."""
INTERNET = {Family.IPV4: "203.0.113.1", Family.IPV6: "2001:db8:ffff::1"}
LAN = {Family.IPV4: "192.168.50.9", Family.IPV6: "fd00:50::9"}


class RealKernel:
    """Interfaces get the indexes 2, 3, ... in order, as the virtual kernel gives them; lan0 has the index 99."""

    def __init__(self, state: Path) -> None:
        """`state` is where the state file goes."""
        self.van, self.far = Namespace("van"), Namespace("far")
        self._indexes: dict[str, int] = {}
        self._last_index = 1
        for key in ("all", "default"):
            self.van.sysctl(f"ipv4/conf/{key}/rp_filter", 0)
            self.van.sysctl(f"ipv6/conf/{key}/accept_ra", 0)
            self.van.sysctl(f"ipv6/conf/{key}/accept_dad", 0)
            self.van.sysctl(f"ipv6/conf/{key}/forwarding", 1)
        self.van.sysctl("ipv4/ip_forward", 1)
        with self.van.entered():
            self.kernel = Kernel(Ledger(state))
            self._netlink = Netlink()
        self._connect("lan0", 99)
        self.van.rtnl.add_address(99, "192.168.50.1/24")
        self.van.rtnl.add_address(99, "fd00:50::1/64")

    def close(self) -> None:
        self._netlink.close()
        self.kernel.close()
        self.van.close()
        self.far.close()

    def _connect(self, name: str, index: int) -> None:
        end, other = End(self.van, name, index), End(self.far, name, 100 + index)
        cable(end, other)
        end.up()
        other.up()

    # --- what the agent sees and does --------------------------------------------------------------------------------

    def facts(self) -> Facts:
        with self.van.entered():
            return self.kernel.read()

    def apply(self, operations: Iterable[Operation]) -> tuple[OperationResult, ...]:
        with self.van.entered():
            return self.kernel.apply(tuple(operations))

    def lookup(
        self,
        family: Family,
        source: str | None = None,
        mark: int = 0,
        iif_lo: bool = True,
        oif: str | None = None,
    ) -> str | None:
        words = ["route", "get", INTERNET[family], "mark", hex(mark)]
        words += ["from", source] if source else []
        words += ["uid", str(USER)] if iif_lo else ["from", LAN[family], "iif", "lan0"]
        words += ["oif", oif] if oif else []
        done = self._ip(family, *words)
        said = done.stdout.split()
        return said[said.index("dev") + 1] if done.returncode == 0 else None

    # --- the world ---------------------------------------------------------------------------------------------------

    def add_link(self, name: str) -> int:
        self._last_index += 1
        self._indexes[name] = self._last_index
        self._connect(name, self._last_index)
        return self._last_index

    def remove_link(self, name: str) -> None:
        assert self._ip(None, "link", "del", name).returncode == 0

    def set_up(self, name: str, up: bool) -> None:
        _set(End(self.van, name, self._indexes[name]), up)

    def set_carrier(self, name: str, plugged: bool) -> None:
        _set(End(self.far, name, 100 + self._indexes[name]), plugged)

    def set_sysctl(self, path: str, value: str) -> None:
        with self.van.entered():
            Path("/proc/sys", path).write_text(value)

    def add_address(self, name: str, interface: str) -> None:
        self.van.rtnl.add_address(self._indexes[name], interface)

    def remove_address(self, name: str, address: str) -> None:
        self.van.rtnl.remove_address(self._indexes[name], f"{address}/{64 if ':' in address else 24}")

    def add_route(self, route: Route) -> str | None:
        return self._request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, encode(route))

    def replace_route(self, route: Route) -> str | None:
        return self._request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, encode(route))

    def advertise(self, route: Route) -> None:
        """A router advertisement (RFC 4861 section 4.2) from the far end of the route's device."""
        assert route.interface is not None
        name = next(name for name, index in self._indexes.items() if index == route.interface)
        self.van.sysctl(f"ipv6/conf/{name}/accept_ra", 2)
        self.far.rtnl.add_address(100 + route.interface, f"{route.gateway}/64")
        body = struct.pack("!BBHBBHII", 134, 0, 0, 0, 0, int(route.expires or 0), 0, 0)
        with self.far.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            raw.bind((route.gateway, 0, 0, 100 + route.interface))
            raw.sendto(body, ("ff02::1", 0, 0, 100 + route.interface))

    def delete_route(self, route: Route) -> str | None:
        return self._request(RTM_DELROUTE, 0, encode_deletion(route))

    def withdraw_default(self, name: str, family: Family) -> None:
        for route in self.facts().routes:
            if route.interface == self._indexes[name] and route.table == TABLE_MAIN and route.family is family:
                assert self.delete_route(route) is None

    def flush_routes(self, name: str) -> None:
        for family in FAMILIES:
            self._ip(family, "route", "flush", "table", "all", "exact", "default", "dev", name)

    def add_rule(self, rule: Rule) -> str | None:
        return self._request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, encode_rule(rule))

    def delete_rule(self, like: Rule) -> str | None:
        """By the words of `ip rule del`, which asks for no more than is named."""
        named = (
            ("pref", like.priority or None),
            ("table", like.table or None),
            ("fwmark", like.fwmark),
            ("suppress_prefixlength", like.suppress_prefix_length),
        )
        words = [str(word) for selector in named if selector[1] is not None for word in selector]
        return self._ip(like.family, "rule", "del", *words).stderr.strip() or None

    # --- by which means ----------------------------------------------------------------------------------------------

    def _request(self, kind: int, flags: int, body: bytes) -> str | None:
        try:
            self._netlink.request(kind, flags, body)
        except RequestError as error:
            return error.words
        return None

    def _ip(self, family: Family | None, *words: str) -> subprocess.CompletedProcess[str]:
        options = {None: [], Family.IPV4: ["-4"], Family.IPV6: ["-6"]}[family]
        with self.van.entered():
            return subprocess.run(["ip", *options, *words], capture_output=True, text=True, check=False)


def _set(end: End, up: bool) -> None:
    if up:
        end.up()
    else:
        end.down()
