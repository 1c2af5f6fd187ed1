"""Which name servers the box asks, and over which uplink: those of the uplink that new flows leave by.

Pure. An uplink's own servers (as the config says, its bearer was given, or its network tells) are targets of its probes
too, so that it is known which of them died before anybody waits for it: then public ones are asked over that uplink
instead, until one of its own answers again. How the box's resolver is told of all this is the names room's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from failover import config as will
from failover.config import Config
from failover.core.lane import Lane
from failover.core.names import ASK_AGAIN
from failover.core.record import LONG_STREAK, SILENT_STREAK
from failover.core.uplinks import Tie, Uplink
from failover.core.verdicts import LOST
from failover.model import FAMILIES, RECEIVING, Decision, Family, Notice, NoticeKind, ProbeKind, Target, Verdict
from failover.resolvers import Resolvers, Way
from failover.seam import AskNames, FollowNames, NamesTold

PROBED, PROBED_METERED = 2, 1
"""Servers of an uplink's own that are probed in each family: every other one costs as much again."""
DNS_PORT: Final = 53
NAME: Final = "example.com"
"""Asked for where the uplink's dns targets name nothing else."""
ASK_LATER: Final = (2.0, 10.0)
"""Seconds after a change at which networks are asked once more: a lease's address is there before its servers."""
LINK_LOCAL: Final = "fe80:"
"""What is reached over one link alone is not probed."""

Lanes = Mapping[Family, Sequence[Lane]]


@dataclass(slots=True)
class _Own:
    """What is known of one uplink's own servers."""

    servers: tuple[str, ...] = ()
    """Best first."""
    targets: tuple[Target, ...] = ()
    """Those of them that are probed, and how."""
    missed: dict[str, int] = field(default_factory=dict)
    """Questions in a row that each has not answered while others did."""
    streaks: dict[str, int] = field(default_factory=dict)
    """The same as it was seen last, whatever became of others."""
    silent: frozenset[str] = frozenset()
    """Those that are dead by that."""

    def watch(self, now: float, lane: Lane) -> None:
        """What this lane's probes of them came to. One that misses a question is asked again soon."""
        record, receives = lane.health.record, lane.verdict in RECEIVING
        dead_after = LONG_STREAK if record.lossy else SILENT_STREAK
        for target in self.targets:
            if target.family is not lane.family or target.url not in record.targets:
                continue
            streak, host = record.targets[target.url].streak, target.host
            if not streak:
                self.missed.pop(host, None)
            elif receives and streak > self.streaks.get(host, 0):
                self.missed[host] = self.missed.get(host, 0) + 1
            self.streaks[host] = streak
            missed = self.missed.get(host, 0)
            if receives and 0 < missed < dead_after:
                lane.schedule.others_within(now, ASK_AGAIN, web=False)
            if not missed or missed >= dead_after:
                self.silent = self.silent | {host} if missed else self.silent - {host}

    def asked(self, public: tuple[str, ...]) -> tuple[str, ...]:
        """Whom to ask over this uplink; empty: nobody knows."""
        left = tuple(server for server in self.servers if server not in self.silent)
        proven = any(target.host in left for target in self.targets)
        spare = public if not self.servers or (self.silent and not proven) else ()
        return tuple(dict.fromkeys((*left, *spare))) or self.servers


class Naming:
    """`told` what networks tell, `follow` new facts, `due` in each turn. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.wished: tuple[Resolvers, ...] = ()
        """What is wanted of the box's resolver."""
        self.warnings: tuple[str, ...] = ()
        """Of the uplinks whose own servers do not answer."""
        self._told: Mapping[str, tuple[str, ...]] = {}
        """By interface. Empty: nobody has told anything yet, or wants to be told."""
        self._own: dict[str, _Own] = {}
        """By interface."""
        self._ground: object = None
        """What a network's servers hang on, as far as the kernel and the config show it."""
        self._present: tuple[str, ...] = ()
        self._ask_at: tuple[float, ...] = ()
        self._again = False
        """What was wished is to be wished once more."""

    def told(self, event: NamesTold) -> bool:
        """What the networks tell; whether that is news. In any case what is wished is wished again, as somebody else
        may have changed it."""
        news, self._told, self._again = event.servers != self._told, event.servers, True
        return news

    def targets(self, config: Config, ties: Mapping[str, Tie]) -> dict[str, tuple[Target, ...]]:
        """What is to be probed besides, by interface: the own servers of each uplink whose network was asked. `ties`:
        what their modems are to uplinks, by name; a bearer that we serve tells its servers to us alone."""
        if config.dns.way is Way.NONE or not self._told:
            self._told, self.wished, self.warnings = {}, (), ()
        before, self._own = self._own, {}
        at = {uplink.name: uplink.interface for uplink in config.uplinks}
        at |= {name: tie.interface for name, tie in ties.items()}
        said = {at[uplink.name]: uplink for uplink in config.uplinks}
        for interface, told in self._told.items():
            uplink = said.get(interface) or will.Uplink(interface, interface)
            given = _given(ties[uplink.name]) if uplink.name in ties else ()
            servers = (given or told) if uplink.dns is None else uplink.dns
            targets = tuple(_targets(servers, config.targets_of(uplink), PROBED_METERED if uplink.metered else PROBED))
            known = before.get(interface)
            same = known is not None and known.servers == servers
            self._own[interface] = replace(known, targets=targets) if known and same else _Own(servers, targets)
        return {interface: own.targets for interface, own in self._own.items()}

    def follow(self, now: float, uplinks: Iterable[Uplink], config: Config) -> list[AskNames]:
        """New facts, or another config: networks are asked, and soon again where anything changed."""
        if config.dns.way is Way.NONE:
            self._ground, self._ask_at = None, ()
            return []
        present = [uplink for uplink in uplinks if uplink.index is not None]
        ground = config.dns, [(uplink.interface, uplink.index, uplink.paths) for uplink in present]
        if ground != self._ground:
            self._ground, self._ask_at = ground, tuple(now + later for later in ASK_LATER)
        self._present = tuple(uplink.interface for uplink in present)
        return [AskNames(self._present)]

    def deadline(self) -> float:
        """When networks are to be asked again; inf: not before news."""
        return self._ask_at[0] if self._ask_at else inf

    def due(
        self, now: float, touched: Iterable[Lane], lanes: Lanes, decisions: Mapping[Family, Decision], config: Config
    ) -> list[AskNames | FollowNames | Notice]:
        """What to ask and to wish now, and of which uplink the own servers answer again."""
        effects: list[AskNames | FollowNames | Notice] = []
        if now >= self.deadline():
            self._ask_at = tuple(at for at in self._ask_at if at > now)
            effects.append(AskNames(self._present))
        for lane in touched:
            effects += self._watched(now, lane)
        if self._told:
            effects += self._wishes(lanes, decisions, config)
        return effects

    # --- inside ------------------------------------------------------------------------------------------------------

    def _watched(self, now: float, lane: Lane) -> Iterator[Notice]:
        own = self._own.get(lane.uplink.interface)
        if own is None or not own.targets:
            return
        before = own.silent
        own.watch(now, lane)
        if before and not own.silent:
            name = lane.uplink.name
            yield Notice(NoticeKind.UPLINK, f"{name}: its own name servers answer again", {"uplink": name})

    def _wishes(self, lanes: Lanes, decisions: Mapping[Family, Decision], config: Config) -> Iterator[FollowNames]:
        """Where new flows have no way at all, names are left as they are."""
        public = config.dns.servers
        names = {lane.uplink.interface: lane.uplink.name for rivals in lanes.values() for lane in rivals}
        known = {at: own for at, own in self._own.items() if at in names}
        self.warnings = tuple(_warning(names[at], own, public) for at, own in known.items() if own.silent)
        wished = tuple(
            Resolvers(at, own.asked(public), tuple(f for f, then in decisions.items() if then.active == names[at]))
            for at, own in known.items()
        )
        if (wished != self.wished or self._again) and any(one.families for one in wished):
            self.wished, self._again = wished, False
            yield FollowNames(tuple(replace(one, lost=_lost(one, lanes)) for one in wished))


def _given(tie: Tie) -> tuple[str, ...]:
    """By the network, with its modem's bearer."""
    return tuple(dict.fromkeys(server for settings in tie.settings or () for server in settings.dns))


def _targets(servers: Sequence[str], common: Iterable[Target], probed: int) -> Iterator[Target]:
    """The first of each family, asked for what the dns targets of that uplink are asked for."""
    name = next((target.path for target in common if target.kind is ProbeKind.DNS), NAME)
    for family in FAMILIES:
        own = [server for server in servers if Family.of(server) is family and not server.startswith(LINK_LOCAL)]
        for server in own[:probed]:
            host = f"[{server}]" if family is Family.IPV6 else server
            yield Target(ProbeKind.DNS, server, DNS_PORT, name, family=family, url=f"dns://{host}/{name}")


def _lost(wished: Resolvers, lanes: Lanes) -> bool:
    """Whether questions under way to these servers will not be answered."""
    families = {Family.of(server) for server in wished.servers} or set(FAMILIES)
    asked = (lane for family in families for lane in lanes[family] if lane.uplink.interface == wished.interface)
    return all(lane.verdict in LOST or lane.verdict is Verdict.DOUBTFUL for lane in asked)


def _warning(name: str, own: _Own, public: tuple[str, ...]) -> str:
    silent = [server for server in own.servers if server in own.silent]
    others = [server for server in own.asked(public) if server not in own.silent]
    instead = f"{', '.join(others)} asked instead" if others else "name public ones in dns.servers of the config"
    return f"{name}: name servers {', '.join(silent)} of its own do not answer: {instead}"
