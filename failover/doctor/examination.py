"""The table of checks, and how they are made: one after the other, each kept from breaking the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Generic, TypeVar

from failover.doctor import (
    fate,
    gateway,
    keeping,
    machine,
    marks,
    modems,
    names,
    offload,
    places,
    probing,
    rivals,
    routing,
    rules,
)
from failover.doctor.case import Case, Ground
from failover.doctor.finding import Finding, Remark, Remarks, failure, note, ok, warning
from failover.model import FailoverError, KernelError

REMARKS_MAX: Final = 20
"""Of one check; how many more there are is said."""


Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """`fine` is what it comes to when there is nothing to remark."""

    name: str
    look: Callable[[Subject], Remarks]
    fine: str = ""


OF_THE_CASE: Final[tuple[Check[Case], ...]] = (
    Check("config", machine.config),
    Check("capabilities", machine.capabilities, fine="routes may be changed and probes sent"),
    Check("open files", machine.open_files, fine="enough may be open"),
    Check("clock", machine.clock, fine="something keeps the wall clock right"),
    Check("kernel features", machine.features, fine="tables, marks and rules as the agent lays them"),
    Check("agent", places.agent),
    Check("state directory", keeping.state_directory),
    Check("socket directory", keeping.socket_directory),
    Check("metrics", places.metrics),
    Check("names", names.resolver),
    Check("modems", modems.there, fine="those that the config names are there, with their SIMs"),
    Check("modem permissions", modems.permissions, fine="nothing keeps the agent from what it does to modems"),
    Check("modem power", modems.power, fine="nothing is missing"),
    Check("secrets", modems.secrets, fine="nobody reads any who should not"),
    Check("other daemons", rivals.processes, fine="none that moves routes is known to run"),
    Check("marks of the firewall", marks.firewall, fine="nobody sets bits of our mask"),
    Check("connection tracking", gateway.tracking, fine="there is room for new flows"),
    Check("flow offload", offload.flows, fine="no flow passes by the counters"),
)
OF_THE_GROUND: Final[tuple[Check[Ground], ...]] = (
    Check("uplinks", routing.uplinks),
    Check("targets", routing.targets, fine="every default route has targets of its family"),
    Check("shared fate", fate.shared, fine="nothing is known that would bring two uplinks down together"),
    Check("addresses", routing.addresses, fine="no address is on two uplinks"),
    Check("subnets", routing.subnets, fine="no uplink's subnet is somebody else's too"),
    Check("ipv6", routing.ipv6, fine="nothing keeps IPv6 off the uplinks"),
    Check("sysctls", routing.sysctls, fine="as the agent wants them, or for it to set"),
    Check("rules before ours", rules.before, fine="none that keeps traffic from ours"),
    Check("rules after ours", rules.after, fine="all have their say"),
    Check("our tables and prefs", rules.among, fine="nobody else is in them"),
    Check("marks of rules", marks.rules, fine="no rule of others uses bits of our mask"),
    Check("other routing", rivals.routing, fine="no traces of another failover daemon"),
    Check("gateway", gateway.lan, fine="its LAN is there"),
    Check("probes", probing.probes),
)


def examine(config_path: Path | None, socket: Path, state: Path) -> Iterator[Finding]:
    """Every check in turn, each as soon as it was made; a config_path of None is the default place. Raises nothing that
    a check runs into."""
    case = Case.of(config_path, socket, state)
    for check in OF_THE_CASE:
        yield from made(check, case)
    try:
        ground = Ground.of(case)
    except KernelError as error:
        unread = failure(f"{error}; nothing more can be checked", error.hint or "is this a Linux kernel of its own?")
        yield Finding.of("kernel", unread)
        return
    for look_around in OF_THE_GROUND:
        yield from made(look_around, ground)


def made(check: Check[Subject], subject: Subject) -> Iterator[Finding]:
    """What a check says; that it broke, where it did."""
    remarks = list(islice(_guarded(check, subject), REMARKS_MAX + 1))
    for remark in remarks[:REMARKS_MAX] or [ok(check.fine)]:
        yield Finding.of(check.name, remark)
    if len(remarks) > REMARKS_MAX:
        yield Finding.of(check.name, note(f"there are more than {REMARKS_MAX} of these; the others are not listed"))


def _guarded(check: Check[Subject], subject: Subject) -> Iterator[Remark]:
    try:
        yield from check.look(subject)
    except FailoverError as error:
        yield warning(f"could not be made: {error}", error.hint)
    except Exception as error:  # one check that breaks must not keep the others from being made
        yield warning(f"this check broke: {type(error).__name__}: {error}", "that is a bug; please report it")
