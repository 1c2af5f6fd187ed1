"""One uplink in one family as its probes see it: silence, doubt, conviction, brownout -> verdict.

Pure. Evidence goes in (`path`, `sent`, `result`, `judge` at `deadline`), the verdict and its reason stand in the
attributes. What other uplinks do enters as one number: since when one of them has been heard. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf
from typing import Final, assert_never

from failover.config import Detection
from failover.core.record import Entry, Record
from failover.core.uplinks import Path
from failover.core.verdicts import RECEIVING, Sign, after
from failover.model import Outcome, ProbeKind, ProbeResult, Target, Verdict, clean

RTT_CAP: Final = 1.0
"""Seconds: what is measured in a full queue must not slow the next detection down; and all that is allowed to a way
that never answered yet (a satellite takes 0.6 s)."""
BURST_PATIENCE: Final = 0.1
BURST_RTT_FACTOR: Final = 1.5
LOST_AFTER: Final = 1.0
"""Seconds without an answer after which a steady probe counts as lost for now (a request is bad after 1 s)."""
PENDING_MAX: Final = 400
"""Open probes remembered: 15 s of patience at the fastest pace, twice."""
_UNCOUNTED: Final = (Verdict.DOUBTFUL, Verdict.DOWN, Verdict.PORTAL)
"""Verdicts under which an unanswered probe says nothing about the link's usual loss."""
_UNSENT: Final = (Outcome.LOCAL, Outcome.NAME, None)
"""What may have come of a probe that never left the box."""


@dataclass(slots=True)
class _Pending:
    target: Target
    sent: float
    overdue_at: float
    steady: bool
    overdue: bool = False
    missed: bool = False
    entry: Entry | None = None


class Health:
    """Verdict of one uplink in one family. Times are monotonic seconds."""

    def __init__(self, detection: Detection, now: float) -> None:
        self.detection = detection
        self.verdict = Verdict.UNKNOWN
        self.text = "not yet probed"
        self.since = now
        self.record = Record()
        self.path = Path()
        self.last_heard: float | None = None
        """Last answer of any probe."""
        self.receiving_since: float | None = None
        """Since when it has been up or degraded; None while it is neither."""
        self.silent_since: float | None = None
        """First unanswered send after the last answer; what is sent to a dead target does not count."""
        self.hindrance = ""
        """What keeps this box from sending any probe at all, in the kernel's words; empty while one gets out."""
        self._local = inf, ""
        self._pending: dict[int, _Pending] = {}
        self._late: dict[str, int] = {}
        """Overdue probes since the last answer, by target."""
        self._refused: dict[str, int] = {}
        self.strange: dict[str, float] = {}
        """Pages in whose place something else came when they were last heard of, and since when it does."""
        self.fine: dict[str, float] = {}
        """Pages that came as expected, and when they did last."""
        self._targets: Sequence[Target] = ()
        self._quick: frozenset[str] = frozenset()
        """Targets that a burst can ask."""
        self._judged = now
        self._witness = inf

    # --- evidence ----------------------------------------------------------------------------------------------------

    def aim(self, now: float, targets: Sequence[Target]) -> None:
        """These are the targets from now on; without any, a path that is there counts as up."""
        urls = [target.url for target in targets]
        self._targets = targets
        self._quick = frozenset([t.url for t in targets if not t.kind.is_web] or urls)
        self._forget()
        self.void(self.strange.keys() - urls, self.fine.keys() - urls)
        self.record.keep_targets(urls)
        self.record.clear()
        self._judge_unaimed(now)

    def follow(self, now: float, path: Path) -> bool:
        """The kernel's facts about the way out have become `path`; True for another way out than before."""
        old, self.path = self.path, path
        if path.fault:
            self._forget()
            self._sign(now, Sign.CARRIER_LOST if path.certain else Sign.PATH_LOST, path.fault)
            return False
        if not old.fault and not _differs(old, path):
            return False
        self._forget()
        self.strange.clear()
        self.fine.clear()
        self.record.clear()
        self.record.srtt = self.record.baseline = None
        self.last_heard = None
        self._sign(now, Sign.PATH_BACK, "not yet probed")
        self._judge_unaimed(now)
        return True

    def resumed(self, now: float) -> None:
        """The machine slept: open probes are unknown, not lost, and nothing is proven."""
        self._forget()
        self.record.clear()
        self.last_heard = None
        self._sign(now, Sign.RESUME, "the machine slept; not yet probed")
        self._judge_unaimed(now)

    def sent(self, now: float, probe: int, target: Target, *, steady: bool) -> None:
        """A probe leaves now; `steady`: by the clock, not in a burst."""
        if self.silent_since is None and not self.record.dead_target(target.url):
            self.silent_since = now
        patience = self.suspicion_after() if steady else self._burst_patience()
        if target.kind.is_web:
            patience = max(patience, LOST_AFTER)
        steady = steady and self.verdict not in _UNCOUNTED
        self._pending[probe] = _Pending(target, now, now + patience, steady)
        if len(self._pending) > PENDING_MAX:
            del self._pending[next(iter(self._pending))]

    def result(self, now: float, result: ProbeResult) -> Outcome | None:
        """What came of a probe; returns the outcome as judged (late is judged here), None if the probe is unknown."""
        pending = self._pending.pop(result.id, None)
        if pending is None:
            return None
        outcome = result.outcome
        if outcome is Outcome.ANSWERED and pending.overdue:
            outcome = Outcome.LATE
        url = pending.target.url
        self.record.heard(url, outcome, result.rtt)
        match outcome:
            case Outcome.ANSWERED | Outcome.LATE | Outcome.CLOCK:
                self.strange.pop(url, None)
                if pending.target.kind.is_web:
                    self.fine[url] = now
                self._answered(now, pending, result.rtt)
            case Outcome.PORTAL:
                self.fine.pop(url, None)
                self.strange.setdefault(url, now)
                self._answered(now, pending, result.rtt)
            case Outcome.REFUSED:
                self._overdue(pending)
                self._refused[url] = self._refused.get(url, 0) + 1
                if not pending.missed:
                    self.record.missed(url, outcome)
            case Outcome.SILENT:
                self._overdue(pending)
                self._lost(pending)
            case Outcome.LOCAL | Outcome.NAME:
                self._withdraw(pending)
            case _:
                assert_never(outcome)
        self._judge_hindrance(now, outcome, result.detail)
        return outcome

    # --- judgement ---------------------------------------------------------------------------------------------------

    def judge(self, now: float, witness: float | None, at_fault: Collection[str] = ()) -> None:
        """Apply what has come due.

        `witness`: since when another uplink of this family has been receiving, if it was heard after this one fell
        silent. Silence before that may be a tunnel's, and convicts nobody. `at_fault`: URLs that are strange over every
        uplink, which is no portal.
        """
        self._judged = now
        self._witness = inf if witness is None else witness
        for pending in self._pending.values():
            if not pending.overdue and pending.overdue_at <= now:
                self._overdue(pending)
            if not pending.missed and pending.sent + LOST_AFTER <= now:
                self._lost(pending)
        if self.path.fault:
            return
        self._judge_refusal(now)
        self._judge_silence(now)
        self._judge_service(now, at_fault)

    def deadline(self) -> float:
        """When `judge` must be called next, whatever else happens; inf: not before new evidence."""
        due = inf
        for pending in self._pending.values():
            if not pending.overdue:
                due = min(due, pending.overdue_at)
            if not pending.missed:
                due = min(due, pending.sent + LOST_AFTER)
        return min(due, self._silence_deadline())

    def suspicious(self, now: float) -> bool:
        """Nothing was heard since a probe went out that is overdue: a burst tells whether the link is silent."""
        since = self.silent_since
        return (
            since is not None
            and now >= since + self.suspicion_after()
            and self.verdict is not Verdict.PORTAL
            and bool(self._live(self._late))
        )

    @property
    def reached(self) -> bool:
        """Whether a target answered as expected when it was last heard of."""
        return any(seen.last in (Outcome.ANSWERED, Outcome.LATE) for seen in self.record.targets.values())

    def void(self, strange: AbstractSet[str], fine: AbstractSet[str]) -> bool:
        """Forget that these pages were strange, and that these were fine; True if there was any."""
        before = len(self.strange) + len(self.fine)
        for url in strange:
            self.strange.pop(url, None)
        for url in fine:
            self.fine.pop(url, None)
        return len(self.strange) + len(self.fine) < before

    @property
    def refused(self) -> bool:
        """The carrier refuses, in so many words, and two targets say so."""
        return self._two_targets(self._refused)

    def overdue_targets(self) -> Collection[str]:
        """Targets that have not answered in time since the last answer."""
        return self._late.keys()

    def unanswered(self) -> int:
        """Overdue probes since the last answer, those of dead targets aside."""
        return sum(self._live(self._late))

    def silence(self, now: float) -> float:
        """Seconds since the first unanswered send after the last answer."""
        return 0.0 if self.silent_since is None else now - self.silent_since

    def numbers(self, now: float) -> dict[str, float]:
        """What this verdict rests on, as far as it is known; units in the names."""
        record = self.record
        seen = {
            "silence_seconds": self.silence(now),
            "loss_ratio": record.loss_ratio(),
            "rtt_seconds": record.rtt(),
            "rtt_usual_seconds": record.baseline,
        }
        return {name: value for name, value in seen.items() if value is not None}

    def proven(self, now: float, within: float) -> bool:
        """Its newest probe was answered, and that is at most `within` seconds ago."""
        if not self._targets:
            return True
        return self.last_heard is not None and now - self.last_heard <= within and not self._live(self._late)

    def doubt_after(self) -> float:
        """Seconds of silence that raise doubt: max(fixed, factor x smoothed RTT), at most conviction's (DESIGN §3)."""
        wanted = self.detection
        if self.record.srtt is not None:
            patience = wanted.rtt_factor * self.record.srtt
        else:
            patience = RTT_CAP if self.last_heard is None else 0.0
        return max(wanted.doubt, min(wanted.conviction, patience))

    def suspicion_after(self) -> float:
        """Seconds after which a steady probe is overdue and a burst begins."""
        return self.doubt_after() - (self.detection.doubt - self.detection.suspicion)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _burst_patience(self) -> float:
        return max(BURST_PATIENCE, BURST_RTT_FACTOR * (self.record.srtt or 0.0))

    def _sign(self, now: float, sign: Sign, text: str) -> None:
        then = after(self.verdict, sign)
        if then is not self.verdict:
            if then not in RECEIVING:
                self.receiving_since = None
            elif self.receiving_since is None:
                self.receiving_since = now
            self.verdict, self.since, self.text = then, now, text
        elif sign in (Sign.PATH_LOST, Sign.CARRIER_LOST):
            self.text = text

    def _judge_unaimed(self, now: float) -> None:
        if not self._targets and not self.path.fault:
            self._sign(now, Sign.ANSWER, "no target in this family: judged by the kernel's facts only")

    def _forget(self) -> None:
        self._pending.clear()
        self._late.clear()
        self._refused.clear()
        self.silent_since = None
        self._local = inf, ""
        self._hinder("")

    def _answered(self, now: float, pending: _Pending, rtt: float | None) -> None:
        if rtt is not None and pending.target.kind is ProbeKind.ICMP:
            self.record.smooth(min(rtt, RTT_CAP))
        if pending.entry is not None:
            self.record.repair(pending.entry)
        elif pending.steady:
            self.record.add(pending.target.url, lost=False)
        if pending.steady and rtt is not None and pending.target.kind is ProbeKind.ICMP:
            self.record.latency(rtt)
        self.last_heard = now
        self._late.clear()
        self._refused.clear()
        self.silent_since = now if self._waiting() else None
        self._sign(now, Sign.ANSWER, "answers")

    def _overdue(self, pending: _Pending) -> None:
        if not pending.overdue:
            pending.overdue = True
            self._late[pending.target.url] = self._late.get(pending.target.url, 0) + 1

    def _lost(self, pending: _Pending) -> None:
        if pending.missed:
            return
        pending.missed = True
        self.record.missed(pending.target.url)
        if pending.steady and self.verdict not in _UNCOUNTED:
            pending.entry = self.record.add(pending.target.url, lost=True)

    def _withdraw(self, pending: _Pending) -> None:
        """A probe that never left the box is no evidence."""
        url = pending.target.url
        if pending.overdue and self._late.get(url, 0) > 1:
            self._late[url] -= 1
        elif pending.overdue:
            self._late.pop(url, None)
        if pending.missed:
            self.record.withdraw(url, pending.entry)
        if not self._late and not self._waiting():
            self.silent_since = None

    def _judge_hindrance(self, now: float, outcome: Outcome, detail: str) -> None:
        """Whether this box can send at all, again and again: no evidence about the link, but somebody should know."""
        if outcome is Outcome.LOCAL:
            self._local = min(self._local[0], now), clean(detail) or "no reason given"
        if outcome not in _UNSENT:
            self._local = inf, ""
            self._hinder("")
        elif self._local[0] < now and not self._pending and self.record.ends_in(_UNSENT):
            self._hinder(self._local[1])

    def _hinder(self, why: str) -> None:
        if why == self.hindrance:
            return
        self.hindrance = why
        if self.verdict is Verdict.UNKNOWN:
            self.text = f"this box cannot probe: {why}" if why else "not yet answered"

    def _waiting(self) -> bool:
        dead = self.record.dead_target
        return any(not pending.overdue and not dead(pending.target.url) for pending in self._pending.values())

    def _live(self, unanswered: Mapping[str, int]) -> list[int]:
        """How often each target did not answer; a dead target says nothing about the link."""
        return [count for url, count in unanswered.items() if not self.record.dead_target(url)]

    def _two_targets(self, unanswered: Mapping[str, int]) -> bool:
        """Whether two targets did not answer; where there is only one, that one twice."""
        counts = self._live(unanswered)
        return len(counts) >= 2 or (sum(counts) >= 2 and self._only_target())

    def _only_target(self) -> bool:
        return sum(not self.record.dead_target(url) for url in self._quick) < 2

    def _silence_deadline(self) -> float:
        """A burst, doubt and conviction fall due by time alone once each; else by evidence, which is judged at once."""
        if self.silent_since is None or not self._late or self.verdict in (Verdict.DOWN, Verdict.PORTAL):
            return inf
        dues = [self.silent_since + self.suspicion_after(), self.silent_since + self.doubt_after()]
        if self.verdict is Verdict.DOUBTFUL:
            dues.append(self._alone_since(self.silent_since) + self.detection.conviction)
        return min((due for due in dues if due > self._judged), default=inf)

    def _alone_since(self, since: float) -> float:
        """Since when this link is silent while another one receives; inf while none does."""
        return max(since, self._witness)

    def _judge_refusal(self, now: float) -> None:
        if self._refused and self.refused:
            self._sign(now, Sign.REFUSAL, "the carrier answers that it refuses")

    def _judge_silence(self, now: float) -> None:
        since = self.silent_since
        if self.verdict in (Verdict.DOWN, Verdict.PORTAL):
            self.record.clear()
        elif since is not None and now >= since + self.doubt_after() and self._two_targets(self._late):
            self._judge_doubt(now, since)
            self._judge_conviction(now, self._alone_since(since))

    def _judge_doubt(self, now: float, since: float) -> None:
        if self.verdict is not Verdict.DOUBTFUL:
            self._sign(
                now, Sign.SILENCE, f"silent for {now - since:.2f} s, {_targets(len(self._live(self._late)))} unanswered"
            )
            for pending in self._pending.values():
                pending.steady = False

    def _judge_conviction(self, now: float, since: float) -> None:
        if now < since + self.detection.conviction:
            return
        late = [p for p in self._pending.values() if p.overdue and p.sent >= since]
        unanswered = sum(not self.record.dead_target(pending.target.url) for pending in late)
        if unanswered >= self.detection.conviction_sends:
            text = f"silent for {now - since:.1f} s, {unanswered} probes unanswered while another uplink receives"
            self._sign(now, Sign.CONVICTION, text)

    def _judge_service(self, now: float, at_fault: Collection[str]) -> None:
        """What goes beyond silence: portal and brownout, for a link that answers."""
        if self._walled(at_fault):
            self._sign(now, Sign.PORTAL, "a portal answers in the target's place")
        elif self.verdict is Verdict.PORTAL:
            blamed = next((f"no portal: it is {url} that answers strangely" for url in self.strange), "")
            self._sign(now, Sign.PORTAL_OVER, blamed or "the portal is gone")
        self.record.judge()
        if self.record.brownout:
            self._sign(now, Sign.BROWNOUT, self._brownout_text())
        elif self.verdict is Verdict.DEGRADED:
            self._sign(now, Sign.RECOVERY, "loss and latency are normal again")

    def _walled(self, at_fault: Collection[str]) -> bool:
        """Whether something answers in a page's place, and since it does, no other page came as it should."""
        if not self.strange:
            return False
        fine = max(self.fine.values(), default=-inf)
        return any(since > fine and url not in at_fault for url, since in self.strange.items())

    def _brownout_text(self) -> str:
        lost, count = self.record.loss()
        rtt, baseline = self.record.rtt(), self.record.baseline
        usually = "" if baseline is None else f" (usually {baseline * 1000:.0f} ms)"
        return f"{lost} of {count} probes lost" + ("" if rtt is None else f", rtt {rtt * 1000:.0f} ms{usually}")


def _differs(old: Path, new: Path) -> bool:
    """Another way out: what was proven of the old one does not hold."""
    if old.route is None or new.route is None:
        return old.route is not new.route
    return (old.route.interface, old.route.gateway) != (new.route.interface, new.route.gateway) or not (
        set(old.addresses) & set(new.addresses)
    )


def _targets(count: int) -> str:
    return "1 target" if count == 1 else f"{count} targets"
