"""One uplink in one family: its health, its probe schedule and its hold-down, kept together.

Pure. Only what needs two of the three at once lives here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

from failover.config import Config
from failover.core.budget import Budget
from failover.core.candidate import Candidate
from failover.core.damping import Standing
from failover.core.fate import AILING
from failover.core.health import Health
from failover.core.policy import PROOF_AGE
from failover.core.schedule import METERED_ACTIVE, METERED_STANDBY, PORTAL_INTERVAL, STANDBY_FACTOR, Schedule
from failover.core.uplinks import Uplink
from failover.core.verdicts import LOST
from failover.facts import Counts
from failover.model import FAMILIES, RECEIVING, Decision, Family, Reason, Target, Verdict
from failover.picture import FamilyView

WATCH: Final = ((5.0, 0.3), (60.0, 1.0))
WATCH_STANDBY: Final = ((10.0, 1.0), (60.0, 5.0))
"""Until so many seconds of silence, so many seconds from one probe to the next, where traffic has left and where there
was none."""
HINT_LASTS, HINT_INTERVAL = 30.0, 1.0
"""Seconds for which a hint of its modem's has an uplink watched, and from one probe to the next meanwhile."""
WATCHED: Final = 60.0
"""Seconds for which an uplink that fell silent is watched so closely; the same before it may carry traffic again."""
LOSS_SUSPECTED: Final = 0.4
"""Share of the evidence that makes a brownout: one event of two losses is as much as 0.47."""
BURST_FACTOR: Final = 2.5
"""So much slower is a burst where nobody waits for the answer: six probes in 1.5 s, as a conviction needs."""
ASK_OTHERS: Final = 2.0
"""Seconds between two questions of another kind while pings are lost and the user's traffic is not."""
WATCH_LATE: Final = 5.0
WATCH_LOSSY: Final = 1.0
WATCH_POOR: Final = 2.0
"""Seconds from one probe to the next where it is still silent, loses some, or has little left of its budget."""
WATCH_SPARE: Final = 30.0
"""The same with nothing left but the reserve: as often as 5 MB a month pay for a ping, and twice in a hold-down."""
CHECK_BEFORE_RETURN: Final = 5.0
"""Seconds before a hold-down ends in which every kind of target is asked once more."""


@dataclass(slots=True)
class Lane:
    """See the module; `rearm` after every change keeps `deadline` true."""

    uplink: Uplink
    family: Family
    health: Health
    schedule: Schedule
    standing: Standing
    budget: Budget
    verdict: Verdict = Verdict.UNKNOWN
    """The verdict last acted upon."""
    targets: tuple[Target, ...] = ()
    deadline: float = field(default=0.0)
    asked: float = -inf
    """When a probe left last."""
    hinted: float = -inf
    """When its modem said last that something is amiss."""
    ailed: float = -inf
    """When it fell into doubt or was convicted last, or was rid of that."""
    mute: int = 0
    """Questions in a row that no name server has answered, when that was looked at last."""
    _in_use: bool = True
    """New flows, or settled ones, go here."""
    _left: bool = True
    """Traffic would come back here, or some of it still is."""

    @classmethod
    def open(cls, now: float, uplink: Uplink, family: Family, config: Config, budget: Budget, phase: float) -> Lane:
        """A lane that has seen nothing but the kernel's facts; how it starts is no relapse. `phase`: see Schedule."""
        standing = Standing(wait=config.detection.return_after)
        lane = cls(uplink, family, Health(config.detection, now), Schedule(phase), standing, budget)
        lane.follow(now, uplink)
        lane.verdict = lane.health.verdict
        standing.healthy_since = now if lane.verdict is Verdict.UP else None
        return lane

    def follow(self, now: float, uplink: Uplink) -> None:
        """Take over the kernel's facts and the config's targets."""
        targets = tuple(t for t in uplink.targets if t.family in (None, self.family))
        self.uplink = uplink
        if targets != self.targets:
            self.targets = targets
            self.health.aim(now, targets)
            self.schedule.aim(now, targets)
        addresses = set(self.health.path.addresses)
        if self.health.follow(now, uplink.paths[self.family]):
            self.schedule.start(now)
        elif self.health.path.fault:
            self.schedule.stop()
        elif addresses != set(self.health.path.addresses):
            self.schedule.others_within(now, 0.0)

    def resumed(self, now: float, seconds: float) -> None:
        """The machine slept for so long."""
        self.standing.slept(seconds)
        self.health.resumed(now)
        if not self.health.path.fault:
            self.schedule.start(now)

    def hint(self, now: float) -> None:
        """What its modem says is worth a probe now, and that it is watched for a while."""
        if not self.health.path.fault:
            self.hinted = now
            self.schedule.soon(now)
            self.rearm()

    def probe_all(self, now: float) -> None:
        """Every target at once, if there is a way out."""
        if not self.health.path.fault:
            self.schedule.everything(now)

    def counterpart(self, target: Target) -> Target:
        """What to ask here when another uplink asks `target` in a burst: the same, if it is one of ours and answers."""
        dead = self.health.record.dead_target
        return target if target in self.targets and not dead(target.url) else self.schedule.another(dead)

    def turned(self, now: float, config: Config) -> bool:
        """Whether the verdict has changed since this was asked last; the hold-down follows it."""
        verdict = self.health.verdict
        if verdict is self.verdict:
            return False
        wronged = self.verdict is Verdict.PORTAL and bool(self.health.pages.strange)
        if verdict in AILING or self.verdict in AILING:
            self.ailed = now
        self.verdict = verdict
        if wronged and verdict in RECEIVING:
            self.standing.acquit(now, config.detection.return_after)
        self.standing.turn(now, verdict, config.policy.failback_after, config.detection.return_after)
        if verdict is Verdict.UP and self.standing.convicted:
            self.schedule.others_within(now, max(0.0, self.standing.until() - CHECK_BEFORE_RETURN - now))
        elif verdict is Verdict.DOWN:
            self.schedule.others_within(now, 0.0, web=not self.uplink.metered)
        return True

    def pardon(self) -> None:
        """The operator's word pays what the uplink owes, now or when it answers again; no later conviction."""
        if self.verdict in LOST:
            self.standing.pardoned = True
        else:
            self.standing.served()

    def counted(self, now: float, counts: Counts | None, *, weak: bool) -> bool:
        """The user's traffic was counted; True if that may change anything."""
        stirred = self.health.counted(now, counts, weak=weak)
        proof = self.uplink.metered and self.health.passive.replied == now and self.verdict is Verdict.UP
        if proof and not self._lossy:
            self.schedule.proven(now, self.health.passive.opened)
        return stirred

    def pace(self, now: float, decision: Decision, *, left: bool, ruled: bool = False) -> None:
        """Probe in proportion to who would notice; `left`: traffic would come back here, or some of it still is;
        `ruled`: a rule of the operator's brings some here."""
        self._in_use, self._left = ruled or self.uplink.name in (decision.active, decision.settled), left
        role = self._role_factor()
        hinted = now < self.hinted + HINT_LASTS and not self.budget.poor(now)
        self.schedule.pace(now, min(role, HINT_INTERVAL if hinted else inf, self._watch_interval(now)), role)
        if self.verdict is Verdict.PORTAL:
            self.schedule.others_within(now, PORTAL_INTERVAL)
        elif left and self.verdict is Verdict.UP and self.health.record.pings_lost and not self.budget.poor(now):
            self.schedule.others_within(now, ASK_OTHERS, web=False)

    def _role_factor(self) -> float:
        """How many times longer its intervals are than those of an active uplink that costs nothing."""
        if not self.uplink.metered:
            return 1.0 if self._in_use else STANDBY_FACTOR
        return (METERED_ACTIVE if self._in_use else METERED_STANDBY) * self.families

    @property
    def families(self) -> int:
        """In how many families the uplink has a way out and something to ask: a metered one probes them in turn."""
        asked = {family for family in FAMILIES for target in self.uplink.targets if target.family in (None, family)}
        return max(1, sum(not self.uplink.paths[family].fault for family in asked))

    def burst(self, now: float) -> bool:
        """It is suspicious: ask, the sooner the more depend on it; True when that begins."""
        return self.schedule.burst(now, 1.0 if self._in_use else BURST_FACTOR)

    @property
    def _lossy(self) -> bool:
        """Whether loss is suspected: then probes are wanted that no congestion control holds back."""
        return self.health.record.loss_evidence() >= LOSS_SUSPECTED

    def _watch_interval(self, now: float) -> float:
        """Seconds from one probe to the next while it is watched closely; inf: it is not."""
        match self.verdict:
            case Verdict.UP:
                if self._lossy and self._left and self.uplink.metered and not self.budget.poor(now):
                    return WATCH_LOSSY
                returning = self._left and now < self.standing.until() < now + 2 * WATCHED
                return inf if not returning else WATCH_POOR if self.budget.poor(now) else 1.0
            case Verdict.DEGRADED if self._left:
                return WATCH_POOR if self.budget.poor(now) else 1.0  # it takes 84 answers to be over
            case Verdict.UNKNOWN:
                return 1.0 if now - self.health.since < WATCHED else WATCH_LATE
            case Verdict.DOUBTFUL | Verdict.DOWN:
                wanted = self._left or now - self.health.passive.replied < WATCH_LATE
                silent, steps = self.health.silent_for(now), WATCH if wanted else WATCH_STANDBY
                return next((interval for until, interval in steps if silent < until), WATCH_LATE if wanted else inf)
            case _:
                return inf

    def worth_the_reserve(self, now: float) -> bool:
        """Whether a steady probe may take what is kept for doubt: nothing is known of it, or traffic waits for its
        return and it was not asked for long."""
        waits = self._left and (not self._in_use or self.verdict in (Verdict.DOUBTFUL, Verdict.DOWN))
        return self.verdict is Verdict.UNKNOWN or (waits and now - self.asked >= WATCH_SPARE)

    def proven(self, now: float) -> bool:
        """Its newest probe was answered, lately enough to take traffic over on doubt."""
        return self.health.proven(now, PROOF_AGE * (self.families if self.uplink.metered else 1))

    def shunned(self, now: float) -> bool:
        """Whether it is lost, or was and still owes its hold-down."""
        return self.verdict in LOST or (self.standing.convicted and self.standing.owed(now) > 0)

    def candidate(self, now: float, preference: int) -> Candidate:
        """As policy sees it; `preference` 0 is the first choice."""
        health = self.health
        return Candidate(
            name=self.uplink.name,
            preference=preference,
            verdict=health.verdict,
            text=health.text,
            due=self.standing.until(),
            proven=self.proven(now),
            heard_ago=now - health.last_heard if health.last_heard is not None else float("inf"),
            numbers=lambda: health.numbers(now),
            returns=self.standing.returns,
            pardoned=self.standing.pardoned,
            cause=self._cause(),
            rtt=health.record.rtt(),
            slow=health.record.slow,
            lossy=health.record.lossy,
            loss_evidence=health.record.loss_evidence(),
            foreign=self.uplink.foreign,
            fate={one.other: one.what for one in reversed(self.uplink.fate)},
            ailed=self.ailed,
        )

    def _cause(self) -> Reason:
        match self.health.verdict:
            case Verdict.PORTAL:
                return Reason.PORTAL
            case Verdict.ABSENT | Verdict.COLD:
                return Reason.ABSENT
            case _ if self.health.path.certain:
                return Reason.LINK_DOWN
            case _:
                return Reason.REFUSED if self.health.refused else Reason.CONVICTION

    def rearm(self) -> None:
        """Work out when this lane must be looked at next."""
        self.deadline = min(self.health.deadline(), self.schedule.deadline())

    def view(self) -> FamilyView:
        """For the snapshot."""
        health, until = self.health, self.standing.until()
        stalls = health.record.stalls
        return FamilyView(
            verdict=health.verdict,
            text=health.text,
            since=health.since,
            loss_ratio=health.record.loss_ratio(),
            rtt_seconds=health.record.rtt(),
            last_proven=health.last_heard,
            hold_until=until if until != float("inf") else None,
            targets=health.record.views(),
            hold_down=self.standing.wait,
            cause=str(self._cause()) if health.verdict in LOST else "",
            penalty=self.standing.penalty(),
            silences_buffered=stalls.buffered,
            silences_lost=stalls.broken,
            last_silence=stalls.last,
        )
