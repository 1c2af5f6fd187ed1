"""One uplink in one family: its health, its probe schedule and its hold-down, kept together.

Pure. Only what needs two of the three at once lives here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from failover.config import Config
from failover.core.damping import Standing
from failover.core.health import Health
from failover.core.policy import PROOF_AGE, Candidate
from failover.core.schedule import METERED_FACTOR, PORTAL_INTERVAL, STANDBY_FACTOR, Schedule
from failover.core.uplinks import Uplink
from failover.core.verdicts import LOST, RECEIVING
from failover.model import Decision, Family, Reason, Target, Verdict
from failover.picture import FamilyView

WATCHED: Final = 60.0
"""Seconds for which an uplink that fell silent is probed as if it were active."""
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
    verdict: Verdict = Verdict.UNKNOWN
    """The verdict last acted upon."""
    targets: tuple[Target, ...] = ()
    deadline: float = field(default=0.0)

    @classmethod
    def open(cls, now: float, uplink: Uplink, family: Family, config: Config, random: Callable[[], float]) -> Lane:
        """A lane that has seen nothing but the kernel's facts; how it starts is no relapse."""
        standing = Standing(wait=config.detection.return_after)
        lane = cls(uplink, family, Health(config.detection, now), Schedule(random()), standing)
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

    def resumed(self, now: float) -> None:
        """The machine slept."""
        self.health.resumed(now)
        if not self.health.path.fault:
            self.schedule.start(now)

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
        wronged = self.verdict is Verdict.PORTAL and bool(self.health.strange)
        self.verdict = verdict
        if wronged and verdict in RECEIVING:
            self.standing.acquit(now, config.detection.return_after)
        self.standing.turn(now, verdict, config.policy.failback_after, config.detection.return_after)
        if verdict is Verdict.UP and self.standing.convicted:
            self.schedule.others_within(now, max(0.0, self.standing.until() - CHECK_BEFORE_RETURN - now))
        elif verdict is Verdict.DOWN:
            self.schedule.others_within(now, 0.0)
        return True

    def pardon(self) -> None:
        """The operator's word pays what the uplink owes, now or when it answers again; no later conviction."""
        if self.verdict in LOST:
            self.standing.pardoned = True
        else:
            self.standing.served()

    def pace(self, now: float, decision: Decision) -> None:
        """Probe in proportion to who would notice."""
        watched = self.verdict in (Verdict.DOUBTFUL, Verdict.DOWN) and now - self.health.since < WATCHED
        returning = self.verdict is Verdict.UP and now < self.standing.until() < now + 2 * WATCHED
        in_use = self.uplink.name in (decision.active, decision.settled)
        factor = 1.0 if in_use or watched or returning or self.verdict is Verdict.UNKNOWN else STANDBY_FACTOR
        if self.uplink.metered and self.verdict not in (Verdict.DOUBTFUL, Verdict.UNKNOWN):
            factor *= METERED_FACTOR
        self.schedule.pace(now, factor)
        if self.verdict is Verdict.PORTAL:
            self.schedule.others_within(now, PORTAL_INTERVAL)

    def candidate(self, now: float, preference: int) -> Candidate:
        """As policy sees it; `preference` 0 is the first choice."""
        health = self.health
        return Candidate(
            name=self.uplink.name,
            preference=preference,
            verdict=health.verdict,
            text=health.text,
            due=self.standing.until(),
            proven=health.proven(now, PROOF_AGE),
            heard_ago=now - health.last_heard if health.last_heard is not None else float("inf"),
            numbers=lambda: health.numbers(now),
            returns=self.standing.returns,
            pardoned=self.standing.pardoned,
            cause=self._cause(),
        )

    def _cause(self) -> Reason:
        match self.health.verdict:
            case Verdict.PORTAL:
                return Reason.PORTAL
            case Verdict.ABSENT:
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
        )
