"""Names resolved over the probe's own uplink, and what an honest address for a name looks like.

What may not be here: the system's resolver, which follows the active uplink and would ask on the wrong one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from failover.model import Family, Outcome, is_private
from failover.probes import dns
from failover.probes.attempt import Ask, UnansweredError, patience

SERVERS_MAX: Final = 3
SERVER_PATIENCE: Final = 2.0
"""Seconds that each server gets."""
RESOLV_CONF: Final = Path("/etc/resolv.conf")
_LOCAL_DOMAINS: Final = (
    "local",
    "localhost",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "home.arpa",
    "test",
)
"""RFC 6762 (with appendix G), RFC 6761, RFC 8375 and ICANN's `internal`: names that may well be private."""


async def resolve(ask: Ask, name: str) -> str:
    """An address of the name in the probe's family. Raises UnansweredError (`name`; `portal` for a private address)."""
    failures = []
    for server in _servers(ask):
        try:
            async with patience(ask.loop, SERVER_PATIENCE):
                reply, _ = await dns.exchange(ask, server, dns.PORT, name)
        except TimeoutError:
            failures.append(f"{server} is silent")
        except UnansweredError as ended:
            failures.append(f"{server}: {ended}")
        else:
            if reply.addresses:
                return _honest(name, reply.addresses)
            if reply.rcode in ("NXDOMAIN", "NOERROR"):
                said = reply.rcode if reply.rcode == "NXDOMAIN" else f"no address in {ask.send.family}"
                raise UnansweredError(Outcome.NAME, f"{name}: {said}, says {server}")
            failures.append(f"{server}: {reply.rcode}")
    raise UnansweredError(Outcome.NAME, f"{name}: {', '.join(failures) or f'no name server in {ask.send.family}'}")


def _honest(name: str, addresses: Sequence[str]) -> str:
    private = [address for address in addresses if is_private(address)]
    if private and is_public(name):
        raise UnansweredError(Outcome.PORTAL, f"{name} is said to be at {private[0]}")
    return addresses[0]


def is_public(name: str) -> bool:
    """A name of the public DNS: it has a dot, and no domain that is kept for private use."""
    plain = name.lower().rstrip(".")
    return "." in plain and not any(plain.endswith(f".{domain}") for domain in _LOCAL_DOMAINS)


def _servers(ask: Ask) -> Sequence[str]:
    """Those named for the uplink, else the system's; only of the probe's family, but for servers on this box."""
    named = ask.resolvers(ask.send.uplink, ask.send.family) or read_resolv_conf(_resolv_conf())
    return [server for server in named if _suits(server, ask.send.family)][:SERVERS_MAX]


def _suits(server: str, family: Family) -> bool:
    ip = ipaddress.ip_address(server)
    return ip.is_loopback or ip.version == (4 if family is Family.IPV4 else 6)


def _resolv_conf() -> str:
    try:
        return RESOLV_CONF.read_text(errors="replace")
    except OSError:
        return ""


def read_resolv_conf(text: str) -> list[str]:
    """The name servers of a resolv.conf (resolv.conf(5)); what is no address is left out, and so are scoped ones."""
    servers = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                servers.append(str(ipaddress.ip_address(words[1])))
            except ValueError:
                continue
    return [server for server in servers if "%" not in server]
