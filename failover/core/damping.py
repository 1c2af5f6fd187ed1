"""When an uplink that was left may carry traffic again: hold-down, doubled by each relapse.

Pure. One Standing per uplink and family; it follows the verdicts and says from when on a return is due. The shape is
RFC 2439's: a penalty of one for each conviction, which halves with time; what it comes to says for how long the uplink
is kept from traffic. A doubt costs none, and an outage counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log2
from typing import Final

from failover.core.verdicts import LOST
from failover.memory import Debt
from failover.model import Reason, Verdict
from failover.picture import Penalty

HALF_LIFE: Final = 900.0
"""Seconds in which half of the relapses are forgiven."""
LONGEST: Final = 3600.0
"""Seconds; no failback waits longer."""
FORGIVEN: Final = 0.05
"""A penalty that makes no difference any more: the next conviction waits for 2^0.05 times as long as a first one, which
is two seconds more than a minute."""


@dataclass(slots=True)
class Standing:
    """Hold-down of one uplink in one family.

    wait: seconds of unbroken health owed before traffic returns; healthy_since: when that health began (None: not
    healthy); returns: as what traffic would return: FAILBACK after a conviction, ACQUITTAL after a doubt; where it
    waits for no health, OPERATOR or CONFIG, whose word would bring it; FIRST where no agent has chosen yet.
    """

    wait: float
    returns: Reason = Reason.ACQUITTAL
    healthy_since: float | None = None
    relapses: float = 0.0
    pardoned: bool = False
    """The operator's word pays what it owes, once that brings traffic here."""
    _relapsed_at: float = 0.0
    _chargeable: bool = True
    """An outage counts once: not again before the uplink was healthy for a while."""

    @property
    def convicted(self) -> bool:
        """What it owes comes from a conviction."""
        return self.returns is Reason.FAILBACK

    def turn(self, now: float, verdict: Verdict, failback: float, after_doubt: float) -> None:
        """The verdict has become `verdict`; `failback` and `after_doubt` are the configured waits in seconds."""
        if verdict is Verdict.UP:
            self.healthy_since = now
            return
        if self.healthy_since is not None and now - self.healthy_since >= after_doubt:
            self._chargeable = True
        if self.until() <= now or self.returns is Reason.FIRST:
            self.wait, self.returns = after_doubt, Reason.ACQUITTAL
        self.healthy_since = None
        if verdict in LOST and verdict is not Verdict.COLD:
            self._convict(now, failback)
        elif verdict not in (Verdict.UNKNOWN, Verdict.COLD):
            self.wait = max(self.wait, after_doubt)

    def acquit(self, now: float, after_doubt: float) -> None:
        """The last conviction was a mistake: it counts as a doubt."""
        self.wait, self.returns, self._chargeable = after_doubt, Reason.ACQUITTAL, True
        self.relapses, self._relapsed_at = max(0.0, self.relapses_now(now) - 1), now

    def _convict(self, now: float, failback: float) -> None:
        least = 0.0
        if self._chargeable:
            self.relapses = self.relapses_now(now) + 1
            self._relapsed_at = now
            self._chargeable = False
        elif self.convicted:
            least = self.wait
        self.wait = max(least, self._sentence(failback))
        self.returns = Reason.FAILBACK

    def _sentence(self, failback: float) -> float:
        """The whole hold-down after so many relapses, seconds."""
        return float(min(LONGEST, failback * 2 ** max(0.0, self.relapses - 1)))

    def relapses_now(self, now: float) -> float:
        """Convictions, each halved every HALF_LIFE seconds (RFC 2439's decay)."""
        return self.penalty().left(now)

    def penalty(self) -> Penalty:
        """The same for whoever looks at it later."""
        return Penalty(self.relapses, self._relapsed_at, HALF_LIFE, self.forgiven_at())

    def forgiven_at(self) -> float:
        """Monotonic time from which the next conviction waits no longer than a first one would, by FORGIVEN:
        last conviction + HALF_LIFE x log2(penalty then / FORGIVEN); -inf where there is nothing to forgive."""
        if self.relapses <= FORGIVEN:
            return -inf
        return self._relapsed_at + HALF_LIFE * log2(self.relapses / FORGIVEN)

    def recall(self, now: float, debt: Debt, failback: float, after_doubt: float) -> None:
        """As it was before a restart. An outage that may have been under way then is the same one still."""
        self.relapses, self._relapsed_at = debt.relapses, now
        if debt.owed > 0:
            self.wait, self.returns = debt.owed, Reason.FAILBACK if debt.convicted else Reason.ACQUITTAL
            self._chargeable = not debt.convicted or debt.owed + after_doubt <= self._sentence(failback)

    def slept(self, seconds: float) -> None:
        """So much of the penalty's time has passed unseen."""
        self._relapsed_at -= seconds

    def shorten(self, failback: float, after_doubt: float) -> None:
        """Shorter waits are configured: what is owed becomes what it would be now, if that is less."""
        self.wait = min(self.wait, self._sentence(failback) if self.convicted else after_doubt)

    def owed(self, now: float) -> float:
        """Seconds of unbroken health still to come before traffic may return."""
        return self.wait if self.healthy_since is None else max(0.0, self.healthy_since + self.wait - now)

    def until(self) -> float:
        """Monotonic time from which traffic may return; inf while the uplink is not healthy."""
        return float("inf") if self.healthy_since is None else self.healthy_since + self.wait

    def served(self, returns: Reason = Reason.CONFIG) -> None:
        """The debt is paid: traffic is back, or only the operator or another config would bring it (`returns`)."""
        self.wait, self.returns, self.pardoned = 0.0, returns, False
