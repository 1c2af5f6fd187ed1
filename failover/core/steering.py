"""The operator's rules for certain traffic: which uplink each has now, and the policy rules that send it there.

Pure. Nothing is judged here: each aim is put to the common policy with the uplinks that it allows, in its order of
preference, and so doubts, convicts, waits and returns as all other traffic does.

In the kernel a rule is one pref that matches, each kernel rule of it a jump to its aim's place; there, its open flows
stay on their uplink, and all else goes where the aim leads now. A change is thus one kernel rule per aim and family,
however many networks and ports are named. All of it stands behind the copies of foreign rules: what a tunnel or its
kill switch takes never comes here. `from <address>` stands behind it as well, and within: IPv6 answers a refusal by
choosing a source address and asking again, and would slip out by the rule of that address.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import inf
from typing import Final, TypeVar

from failover.config import Config
from failover.config.rules import AIMS_MAX, PROTOCOLS, RULES_MAX, Aim, Match, TrafficRule, aims
from failover.core.candidate import Candidate
from failover.core.policy import Will, decide, next_due
from failover.core.uplinks import Uplink
from failover.core.verdicts import LOST
from failover.facts import PROTOCOL, TABLE_UPLINK, Facts, Rule, RuleAction
from failover.model import Decision, Family, Notice, NoticeKind, Verdict

PREFS_MATCH: Final = range(15548, 15548 + RULES_MAX)
PREF_UNMATCHED: Final = 15560
PREFS_AIM: Final = range(15561, 15561 + 4 * AIMS_MAX, 4)
"""The first of each aim's four: open flows, then new flows of the box where they go another way than all else, then
all else, then in IPv6 what refuses the rest."""
PREF_SOURCE_LATE: Final = 15585
"""`from <address>` of open flows that may stay, and of what no rule matches."""
PREF_SOURCE_LATE_FLOOR: Final = 15586
PREF_ACTIVE: Final = 15587
FRA_GOTO: Final = 4
"""linux/fib_rules.h, in `Rule.extra`."""
FRA_UID_RANGE: Final = 20
FRA_IP_PROTO: Final = 22
FRA_DPORT_RANGE: Final = 24
FRA_DSCP: Final = 25

NOTHING: Final = "no uplink that it allows is up"

T = TypeVar("T")
Key = tuple[Family, Aim]


@dataclass(frozen=True, slots=True)
class Course:
    """Where an aim leads in one family. None: nowhere, it is refused."""

    new: str | None = None
    """Uplink of new flows of the box."""
    settled: str | None = None
    """Uplink of everything else."""
    common: bool = False
    """What is preferred is not up, nor is anything else: as all other traffic goes."""


@dataclass(frozen=True, slots=True)
class Steered:
    """All that is to be said to the kernel of the operator's rules."""

    rules: tuple[TrafficRule, ...] = ()
    courses: Mapping[Key, Course] = field(default_factory=dict)


class Steering:
    """The decision in force for each aim and family; made anew by `decide`."""

    def __init__(self) -> None:
        self.by_key: dict[Key, Decision] = {}
        self.steered = Steered()
        self.due = inf
        """Monotonic time at which a return falls due by time alone."""
        self._dues: dict[Key, float] = {}
        self._ranks: dict[Key, tuple[str, ...]] = {}
        """The allowed uplinks in order of preference."""

    def rename(self, names: Mapping[str, str]) -> None:
        """Uplinks have other names now: old -> new."""
        if names:
            self.by_key = {key: _renamed(then, names) for key, then in self.by_key.items()}

    def waits(self, family: Family, name: str, shaky: Collection[str]) -> bool:
        """Whether an answer of this uplink may move anything: what is to return there, or what hangs on shaky ones."""
        keys = (key for key in self.by_key if key[0] is family and name in self._ranks.get(key, ()))
        return any(self._ahead(key, name) or self.by_key[key].active in shaky for key in keys)

    def _ahead(self, key: Key, name: str) -> bool:
        ranks, active = self._ranks[key], self.by_key[key].active
        return active in ranks and ranks.index(name) < ranks.index(active)

    def decide(
        self,
        now: float,
        config: Config,
        candidates: Mapping[Family, Sequence[Candidate]],
        uplinks: Sequence[Uplink],
        will: Will,
        facts: Facts,
    ) -> list[Notice]:
        """Policy for every aim in the families of `candidates`; what is said of those that lead elsewhere now."""
        wanted, metered = aims(config.rules), {uplink.name for uplink in uplinks if uplink.metered}
        self.by_key = {key: then for key, then in self.by_key.items() if key[1] in wanted}
        before = self.steered
        courses = {key: course for key, course in before.courses.items() if key in self.by_key}
        for (place, aim), family in product(zip(PREFS_AIM, wanted, strict=False), candidates):
            listed = _listed(aim, candidates[family], metered)
            key = family, aim
            former = None if before.rules else _found(now, family, place, uplinks, facts)
            held = self.by_key.get(key) or former or _first(now, family, listed)
            then = decide(now, held, listed, will, moves_flows=config.policy.failback_moves_flows)
            self.by_key[key], courses[key] = then, _course(aim, then, listed)
            self._ranks[key] = tuple(candidate.name for candidate in listed)
            self._dues[key] = next_due(now, then, listed, will)
        self._dues = {key: due for key, due in self._dues.items() if key in self.by_key}
        self.due = min(self._dues.values(), default=inf)
        self.steered = Steered(config.rules, courses)
        return [*self._news(before)]

    def _news(self, before: Steered) -> Iterator[Notice]:
        for rule in self.steered.rules:
            for family in rule.match.families:
                course, was = (one.courses.get((family, rule.aim)) for one in (self.steered, before))
                if course is not None and course != was:
                    fields = {"rule": rule.name, "family": str(family), "uplink": course.new, "settled": course.settled}
                    text = f"rule {rule.name} {family}: {told(course)}: {_why(course, self.by_key[family, rule.aim])}"
                    yield Notice(NoticeKind.UPLINK, text, fields)


def told(course: Course) -> str:
    """Where it leads, for people."""
    if course.common:
        return "as all other traffic"
    if course.new is None:
        return "refused"
    return f"by {course.new}" + (f", forwarded by {course.settled}" if course.settled != course.new else "")


def _why(course: Course, then: Decision) -> str:
    """The decision says why it leads somewhere, not why it does not."""
    if course.common:
        return "no uplink is up"
    return then.text if course.new is not None else NOTHING


def _listed(aim: Aim, candidates: Sequence[Candidate], metered: Collection[str]) -> list[Candidate]:
    """The allowed ones, in the aim's order of preference."""
    allowed = [c for c in candidates if aim.allows(c.name, metered=c.name in metered)]
    allowed.sort(key=lambda c: (c.name not in aim.prefer, c.preference))
    last = {c.name for c in allowed if c.foreign} - {*aim.prefer}
    return [replace(c, preference=rank, foreign=c.name in last) for rank, c in enumerate(allowed)]


def _renamed(then: Decision, names: Mapping[str, str]) -> Decision:
    active, settled = (names.get(name or "", name) for name in (then.active, then.settled))
    return replace(then, active=active, settled=settled)


def _found(now: float, family: Family, place: int, uplinks: Sequence[Uplink], facts: Facts) -> Decision | None:
    """What a former agent's rules in this place do, if there are any."""
    names = {TABLE_UPLINK + uplink.slot: uplink.name for uplink in uplinks}
    ours = [rule for rule in facts.rules if rule.family is family and rule.protocol == PROTOCOL]
    ends = [rule for rule in ours if rule.priority in (place + 1, place + 2) and rule.action is RuleAction.LOOKUP]
    led = {rule.priority - place: names.get(rule.table) for rule in ends}
    if 2 not in led:
        return None
    return Decision(family, led.get(1, led[2]), led[2], text="found in the kernel", at=now, since=now)


def _first(now: float, family: Family, listed: Sequence[Candidate]) -> Decision:
    """A new rule takes its traffic at once, by the first choice that is not known to be bad."""
    sound = (c.name for c in listed if c.verdict not in LOST and c.verdict is not Verdict.DOUBTFUL)
    name = next(sound, None)
    return Decision(family, name, name, text=f"{name} is the first choice" if name else NOTHING, at=now, since=now)


def _course(aim: Aim, then: Decision, listed: Sequence[Candidate]) -> Course:
    """The decision as far as what it leads to is up."""
    lost = {candidate.name for candidate in listed if candidate.verdict in LOST}
    new, settled = (None if name in lost and not aim.hold else name for name in (then.active, then.settled))
    return Course(new, settled, common=not aim.restricts and (new is None or settled is None))


# --- in the kernel ---------------------------------------------------------------------------------------------------


def matching(steered: Steered, family: Family) -> list[Rule]:
    """The kernel rules that tell which traffic is meant, in order: each jumps to its aim's place."""
    places = dict(zip(aims(steered.rules), PREFS_AIM, strict=False))
    return [
        aimed(rule, places[one.aim])
        for pref, one in zip(PREFS_MATCH, steered.rules, strict=False)
        if (family, one.aim) in steered.courses
        for rule in selectors(one.match, family, pref)
    ]


def leading(
    steered: Steered, family: Family, members: Iterable[Uplink], sources: Sequence[Rule], lan: Sequence[str]
) -> list[Rule]:
    """What follows a jump. `members`: the uplinks that have tables in this family; `sources`: the rules that keep open
    flows there; `lan`: interfaces whose new flows go as those of the box do."""
    tables = {TABLE_UPLINK + uplink.slot: uplink for uplink in members}
    found = [aimed(Rule(family, PREF_UNMATCHED), PREF_SOURCE_LATE if sources else PREF_ACTIVE)]
    for place, aim in zip(PREFS_AIM, aims(steered.rules), strict=False):
        if course := steered.courses.get((family, aim)):
            refused = course.new is None and not course.common
            open_to = {t for t, u in tables.items() if not refused and aim.allows(u.name, metered=u.metered)}
            held = ((replace(rule, priority=place), rule.table in open_to) for rule in sources)
            found += (aimed(rule, PREF_SOURCE_LATE) if stays else refusing(rule, place) for rule, stays in held)
            found += _ends(family, place, course, {uplink.name: table for table, uplink in tables.items()}, lan)
    return found


def _ends(family: Family, place: int, course: Course, tables: Mapping[str, int], lan: Sequence[str]) -> list[Rule]:
    """New flows of the box and its LAN where they have a way of their own, and all else."""
    if course.common:
        return [aimed(Rule(family, place + 2), PREF_ACTIVE)]
    new, settled = (tables.get(name or "") for name in (course.new, course.settled))
    inward = () if new == settled else ("lo", *lan)
    own = (_going(Rule(family, place + 1, iif=name), new) for name in inward)
    floor = [] if settled is None or family is Family.IPV4 else [refusing(Rule(family, place), place + 3)]
    return [*own, _going(Rule(family, place + 2), settled), *floor]


def _going(rule: Rule, table: int | None) -> Rule:
    return refusing(rule, rule.priority) if table is None else replace(rule, table=table)


def refusing(rule: Rule, pref: int) -> Rule:
    """What answers to the same packets, at this pref, that they cannot leave."""
    return replace(rule, priority=pref, action=RuleAction.UNREACHABLE, table=0)


def selectors(match: Match, family: Family, pref: int) -> Iterator[Rule]:
    """The same in kernel rules, one for each combination of what is listed; none in a family that cannot match."""
    if family not in match.families:
        return
    destinations, sources = ([n for n in networks if Family.of(n) is family] for networks in (match.to, match.sources))
    protocols = [PROTOCOLS[name][family] for name in match.protocols]
    inward = match.lan or (("lo",) if match.uids else ())
    addresses = product(_each(destinations), _each(sources), _each(inward))
    for (to, source, iif), (protocol, ports, uids) in product(
        addresses, product(_each(protocols), _each(match.ports), _each(match.uids))
    ):
        traits = (
            (FRA_UID_RANGE, struct.pack("=II", *uids) if uids else b""),
            (FRA_IP_PROTO, b"" if protocol is None else bytes((protocol,))),
            (FRA_DPORT_RANGE, struct.pack("=HH", *ports) if ports else b""),
            (FRA_DSCP, b"" if match.dscp is None else bytes((match.dscp,))),
        )
        extra = tuple((kind, payload) for kind, payload in traits if payload)
        yield Rule(family, pref, source=source, destination=to, iif=iif, extra=extra)


def _each(listed: Sequence[T]) -> Sequence[T | None]:
    return listed or (None,)


def aimed(rule: Rule, target: int) -> Rule:
    """The rule as a jump to a pref."""
    others = ((kind, payload) for kind, payload in rule.extra if kind != FRA_GOTO)
    extra = tuple(sorted((*others, (FRA_GOTO, struct.pack("=I", target)))))
    return replace(rule, action=RuleAction.GOTO, table=0, extra=extra)
