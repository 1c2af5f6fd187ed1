"""One uplink in one family as probes and the user's traffic show it: silence, doubt, conviction, brownout -> verdict.

Pure. Evidence goes in (`path`, `sent`, `result`, `counted`, `judge` at `deadline`), the verdict and its reason stand in
the attributes. What other uplinks do enters as one number: since when one of them has been heard. Nothing is decided
here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf
from typing import Final, assert_never

from failover.config import Detection
from failover.core import names
from failover.core.flight import LOST_AFTER, Flight, Hindrance, Probe
from failover.core.pages import Pages
from failover.core.passive import LOAD_LINGERS, Passive
from failover.core.record import ANSWERS, Record
from failover.core.silence import FLOWING, Silence
from failover.core.uplinks import Path
from failover.core.verdicts import Sign, after
from failover.facts import Counts, Segments
from failover.model import RECEIVING, Outcome, ProbeKind, ProbeResult, Target, Verdict, clean

RTT_CAP: Final = 1.0
"""Seconds: what is measured in a full queue must not slow the next detection down; and all that is allowed to a way
that never answered yet (a satellite takes 0.6 s)."""
BURST_PATIENCE: Final = 0.1
BURST_RTT_FACTOR: Final = 1.5
REST: Final = 4.5
WAKING: Final = 0.4
"""Seconds without anything received after which a radio may sleep, and that it takes to wake up: an LTE modem that was
idle for ten answers the first packet 0.3 s later."""
RECOUNT: Final = 0.001
"""Seconds until what must not be judged by an old count is due again."""
SENDS_MIN: Final = 2
"""Unanswered sends that a doubt takes."""
_UNCOUNTED: Final = (Verdict.DOUBTFUL, Verdict.DOWN, Verdict.PORTAL)
"""Verdicts under which an unanswered probe says nothing about the link's usual loss."""


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
        """Last answer of any probe, or to the user's traffic."""
        self.receiving_since: float | None = None
        """Since when it has been up or degraded; None while it is neither."""
        self.silence = Silence()
        self.passive = Passive()
        self.pages = Pages()
        self.flight = Flight(self.record)
        self.settled = ""
        """How a silence is called of which just now became known whether it was buffering or loss; mostly empty."""
        self.hindrance = ""
        """What keeps this box from sending any probe at all, in the kernel's words; empty while one gets out."""
        self._hindrance = Hindrance(self.record)
        self._refused: dict[str, int] = {}
        self._targets: Sequence[Target] = ()
        self._judged = now
        self._witness = inf
        self._recount = False
        """What is due must wait until the counters are read once more."""

    # --- evidence ----------------------------------------------------------------------------------------------------

    def aim(self, now: float, targets: Sequence[Target]) -> None:
        """These are the targets from now on; without any, a path that is there counts as up."""
        urls = [target.url for target in targets]
        self._targets = targets
        self.flight.aim(targets)
        self._forget()
        self.pages.keep(urls)
        self.record.keep_targets(urls)
        self.record.clear()
        self._judge_unaimed(now)

    def follow(self, now: float, path: Path) -> bool:
        """The kernel's facts about the way out have become `path`; True for another way out than before."""
        old, self.path = self.path, path
        if path.fault:
            self._forget()
            lost = Sign.CARRIER_LOST if path.certain else Sign.PATH_LOST
            self._sign(now, Sign.PATH_COLD if path.cold else lost, path.fault)
            return False
        if not old.fault and path.leads_like(old):
            return False
        self._forget()
        self.pages.keep(())
        self.record.clear()
        self.record.another_path()
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
        if self.silence.probe_since is None and not self.record.dead_target(target.url):
            self.silence.probe_since = now
        patience = self.suspicion_after() if steady else self._burst_patience()
        if target.kind.is_web:
            patience = max(patience, LOST_AFTER)
        shown = self.verdict not in _UNCOUNTED
        self.flight.send(probe, Probe(target, now, now + patience, steady=steady, shown=shown))

    def result(self, now: float, result: ProbeResult) -> Outcome | None:
        """What came of a probe; returns the outcome as judged (late is judged here), None if it is no news."""
        probe = self.flight.land(result.id, answered=result.outcome in ANSWERS)
        if result.outcome is Outcome.SILENT and result.detail:
            self._add(clean(result.detail))
        if probe is None or (probe.missed and result.outcome is Outcome.SILENT):
            return None
        outcome = result.outcome
        if outcome is Outcome.ANSWERED and probe.overdue:
            outcome = Outcome.LATE
        url = probe.target.url
        self.record.heard(url, outcome, result.rtt)
        match outcome:
            case Outcome.ANSWERED | Outcome.LATE | Outcome.CLOCK:
                self.flight.answered(now, probe)
                self.pages.came(now, probe.target)
                self._answered(now, probe, result.rtt)
            case Outcome.PORTAL:
                self.pages.differed(now, url)
                self._answered(now, probe, result.rtt)
            case Outcome.REFUSED:
                self.flight.overdue(probe)
                self._refused[url] = self._refused.get(url, 0) + 1
                if not probe.missed:
                    self.record.missed(url, outcome)
            case Outcome.SILENT:
                self.flight.overdue(probe)
                self.flight.lost(probe, counts=self._counts)
            case Outcome.LOCAL | Outcome.NAME:
                self.flight.withdraw(probe)
                if not self.flight.late and not self.flight.waiting():
                    self.silence.probe_since = None
            case _:
                assert_never(outcome)
        self._hinder(self._hindrance.met(now, outcome, clean(result.detail), others=len(self.flight) > 0))
        return outcome

    def counted(self, now: float, counts: Counts | None, *, weak: bool) -> bool:
        """The user's traffic was counted (None: here it is not); True if that may change anything."""
        sample = self.passive.take(now, counts, weak=weak)
        if sample is None or self.path.fault or not self._targets:  # nobody could ask whether it is back
            return False
        self.silence.take(sample, self.suspicion_after())
        still = self.last_heard if self.passive.still else None
        self.silence.still(still, now - self.passive.flowing_since >= FLOWING)
        if sample.received and not weak and self.verdict is not Verdict.DOWN:  # servers send again down a dead way up
            self._received(now)
        return bool(sample.received or sample.sent or sample.fresh) or self.silence.user

    def segments(self, segments: Segments) -> None:
        """What this box's TCP sockets had to send over it since they were last asked."""
        if self.verdict not in _UNCOUNTED and segments.sent:
            self.record.outcomes(max(0, segments.sent - segments.resent), segments.resent)

    # --- judgement ---------------------------------------------------------------------------------------------------

    def judge(
        self, now: float, witness: float | None, at_fault: Collection[str] = (), *, resolved: bool = False
    ) -> None:
        """Apply what has come due.

        `witness`: since when another uplink of this family has been receiving, if it was heard after this one fell
        silent. Silence before that may be a tunnel's, and convicts nobody. `at_fault`: URLs that are strange over every
        uplink, which is no portal. `resolved`: names resolve over another uplink.
        """
        self._judged, self._recount = now, False
        self._witness = inf if witness is None else witness
        self.settled = self.flight.settle(now, counts=self._counts)
        if self.settled and self.verdict is Verdict.UP:
            self.text = f"answers again; {self.settled}"
        if self.path.fault:
            return
        self._judge_refusal(now)
        self._judge_silence(now)
        self._judge_service(now, at_fault, resolved=resolved)

    def deadline(self) -> float:
        """When `judge` must be called next, whatever else happens; inf: not before new evidence."""
        due = self._judged + RECOUNT if self._recount else inf
        verdict = self.verdict
        probes = self.flight.deadline(overdue=verdict is not Verdict.DOWN, lost=verdict is not Verdict.DEGRADED)
        return min(due, probes, self._silence_deadline())

    def suspicious(self, now: float) -> bool:
        """Nothing was heard since something went out that is overdue: a burst tells whether the link is silent."""
        since = self.silence.since
        return (
            since is not None
            and now >= since + self.suspicion_after()
            and self.verdict is not Verdict.PORTAL
            and (self.silence.user or bool(self.flight.live_late()))
        )

    @property
    def reached(self) -> bool:
        """Whether a target answered as expected when it was last heard of."""
        return any(seen.last in (Outcome.ANSWERED, Outcome.LATE) for seen in self.record.targets.values())

    @property
    def mute(self) -> int:
        """Questions in a row that no name server has answered, though packets pass."""
        asked = self.flight.unnamed_at > self.flight.named_at
        return names.unanswered(self.record, self._targets) if asked else 0

    def resolved_before(self, at: float) -> bool:
        """Whether names resolve here, and did so before `at`: what both meet later may be a name server's recovery."""
        return self.flight.named_at <= at and self.verdict in RECEIVING and names.resolves(self.record, self._targets)

    @property
    def refused(self) -> bool:
        """The carrier refuses, in so many words, and two targets say so."""
        return self.flight.two(self._refused)

    def unanswered(self) -> int:
        """Overdue probes since the last answer, those of dead targets aside."""
        return sum(self.flight.live_late())

    def silent_for(self, now: float) -> float:
        """Seconds since the first unanswered send after the last reception."""
        since = self.silence.since
        return 0.0 if since is None else now - since

    def numbers(self, now: float) -> dict[str, float]:
        """What this verdict rests on, as far as it is known; units in the names."""
        record = self.record
        seen = {
            "silence_seconds": self.silent_for(now),
            "loss_ratio": record.loss_ratio(),
            "rtt_seconds": record.rtt(),
            "rtt_usual_seconds": record.baseline,
        }
        return {name: value for name, value in seen.items() if value is not None} | record.signs()

    def proven(self, now: float, within: float) -> bool:
        """Its newest probe was answered, and that is at most `within` seconds ago."""
        if self.path.fault or not self._targets:
            return not self.path.fault
        return self.last_heard is not None and now - self.last_heard <= within and not self.flight.live_late()

    def doubt_after(self) -> float:
        """Seconds of silence that raise doubt: max(fixed, factor x smoothed RTT), at most conviction's (DESIGN §3); and
        the time that a radio takes to wake up."""
        wanted = self.detection
        if self.record.srtt is not None:
            patience = wanted.rtt_factor * self.record.srtt
        else:
            patience = RTT_CAP if self.last_heard is None else 0.0
        return max(wanted.doubt, min(wanted.conviction, patience)) + (WAKING if self._rested else 0.0) + self._queue

    def conviction_after(self) -> float:
        """Seconds of silence that convict: the first answer may take its time, which is none of the silence."""
        return self.detection.conviction + (self.record.srtt or 0.0) + self._queue

    def suspicion_after(self) -> float:
        """Seconds after which a steady probe is overdue and a burst begins."""
        return self.doubt_after() - (self.detection.doubt - self.detection.suspicion)

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _queue(self) -> float:
        """Seconds that a lone probe may wait behind what the user sends, if need be in the other family."""
        return LOAD_LINGERS if self.record.loaded and not self.silence.user else 0.0

    @property
    def _rested(self) -> bool:
        """Whether the silence began, or would begin now, after a rest."""
        since = self.silence.since
        return self.last_heard is not None and (self._judged if since is None else since) - self.last_heard >= REST

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
        elif sign in (Sign.PATH_LOST, Sign.CARRIER_LOST, Sign.PATH_COLD):
            self.text = text

    def _judge_unaimed(self, now: float) -> None:
        if not self._targets and not self.path.fault:
            self._sign(now, Sign.ANSWER, "no target in this family: judged by the kernel's facts only")

    def _forget(self) -> None:
        self.flight.forget()
        self._refused.clear()
        self.silence.clear()
        self.passive = Passive()
        self._hindrance.clear()
        self._hinder("")

    def _answered(self, now: float, probe: Probe, rtt: float | None) -> None:
        if rtt is not None:
            self.record.smooth(min(rtt, RTT_CAP), probe.target.kind)
        if probe.entry is not None:
            self.record.repair(probe.entry)
        elif probe.steady and self._counts:
            self.record.add(probe.target.url, lost=False, sent=probe.sent, shown=probe.shown)
        if probe.steady and probe.shown and rtt is not None and probe.target.kind is ProbeKind.ICMP:
            self.record.latency(rtt)
        since = self.silence.user_since
        if since is not None and since <= probe.sent and now >= since + self.suspicion_after():
            self.silence.refuted(now)
        self._refused.clear()
        self._received(now, late=int(probe.overdue))

    def _received(self, now: float, late: int = 0) -> None:
        """Something came in, whatever it was; `late`: so many overdue answers."""
        since = self.silence.since
        if self.verdict in (Verdict.DOUBTFUL, Verdict.DOWN) and since is not None:
            self.flight.ended(now, since, late)
        self.last_heard = now
        self.flight.heard()
        self.silence.heard(now, self.flight.waiting())
        self._sign(now, Sign.ANSWER, "answers")

    @property
    def _counts(self) -> bool:
        """Whether what is unanswered says anything about the link's usual loss."""
        return self.verdict not in (Verdict.DOWN, Verdict.PORTAL)

    def _add(self, words: str) -> None:
        """What else is known of a silence."""
        if self.verdict in (Verdict.DOUBTFUL, Verdict.DOWN) and "; " not in self.text:
            self.text = f"{self.text}; {words}"

    def _hinder(self, why: str) -> None:
        if why == self.hindrance:
            return
        self.hindrance = why
        if self.verdict is Verdict.UNKNOWN:
            self.text = f"this box cannot probe: {why}" if why else "not yet answered"

    def _silence_deadline(self) -> float:
        """A burst, doubt and conviction fall due by time alone once each; else by evidence, which is judged at once."""
        since, grave = self.silence.since, self.silence.grave_since
        if since is None or not (self.silence.user or self.flight.late):
            return inf
        if self.verdict in (Verdict.DOWN, Verdict.PORTAL):
            return inf
        doubt = self.doubt_after()
        dues = [since + doubt - (self.detection.doubt - self.detection.suspicion), since + doubt]
        if self.verdict is Verdict.DOUBTFUL and grave is not None:
            dues.append(self._alone_since(grave) + self.conviction_after())
        return min((due for due in dues if due > self._judged), default=inf)

    def _alone_since(self, since: float) -> float:
        """Since when this link is silent while another one receives; inf while none does."""
        return max(since, self._witness)

    def _judge_refusal(self, now: float) -> None:
        if self._refused and self.refused:
            self._sign(now, Sign.REFUSAL, "the carrier answers that it refuses")

    def _judge_silence(self, now: float) -> None:
        since = self.silence.since
        if self.verdict in (Verdict.DOWN, Verdict.PORTAL):
            self.record.clear()
        elif since is not None and now >= since + self.doubt_after() and self._convincing():
            convicted = self._conviction(now)
            if self.verdict is Verdict.DOUBTFUL and not convicted:
                return
            self._recount = self.passive.stale(now)
            if not self._recount:
                self._doubt(now, since)
                if convicted:
                    self._sign(now, Sign.CONVICTION, convicted)

    def _convincing(self) -> bool:
        """Whether what waits for an answer says that the link is silent, and not one target, server or flow."""
        silence = self.silence
        sent = silence.sent.since(-inf)
        if sent >= SENDS_MIN and silence.answered_before():
            return True
        if not silence.user:
            return self.flight.silent_targets()
        total = sent + silence.fresh.since(-inf) + silence.quiet.since(-inf) + self.unanswered()
        return total >= SENDS_MIN and self.flight.asked_in_vain()

    def _doubt(self, now: float, since: float) -> None:
        if self.verdict is not Verdict.DOUBTFUL:
            self._sign(now, Sign.SILENCE, f"silent for {now - since:.2f} s, {self._unanswered_text()} unanswered")
            self.flight.doubt()

    def _conviction(self, now: float) -> str:
        """Why it is convicted, in words; empty while it is not."""
        grave = self.silence.grave_since
        since = inf if grave is None else self._alone_since(grave)
        if now < since + self.conviction_after():
            return ""
        probes, packets = self.flight.overdue_since(since), self.silence.sent.since(since)
        if probes + packets < self.detection.conviction_sends:
            return ""
        what = " and ".join(_told(probes, "probe", packets, "packet"))
        return f"silent for {now - since:.1f} s, {what} unanswered while another uplink receives"

    def _unanswered_text(self) -> str:
        packets = self.silence.sent.since(-inf) + self.silence.fresh.since(-inf)
        return " and ".join(_told(packets, "packet", len(self.flight.live_late()), "target")) or "0 targets"

    def _judge_service(self, now: float, at_fault: Collection[str], *, resolved: bool) -> None:
        """What goes beyond silence: portal, brownout and dead name servers, for a link that answers."""
        if self.pages.walled(at_fault):
            self._sign(now, Sign.PORTAL, "a portal answers in the target's place")
        elif self.verdict is Verdict.PORTAL:
            blamed = next((f"no portal: it is {url} that answers strangely" for url in self.pages.strange), "")
            self._sign(now, Sign.PORTAL_OVER, blamed or "the portal is gone")
        self.record.judge()
        if self.record.brownout:
            if self.verdict is Verdict.UP:  # only then is it news; the text costs a walk
                self._sign(now, Sign.BROWNOUT, self.record.brownout_text())
        elif resolved and self.mute >= names.MUTE_STREAK:
            self._sign(now, Sign.BROWNOUT, "names do not resolve, though packets pass; over another uplink they do")
        elif self.verdict is Verdict.DEGRADED:
            self._sign(now, Sign.RECOVERY, "loss, latency and names are normal again")


def _told(first: int, one: str, second: int, other: str) -> list[str]:
    return [_plural(count, what) for count, what in ((first, one), (second, other)) if count]


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
